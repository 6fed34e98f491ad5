import { isObject, listAt, objectAt, textAt, textsAt, valueAt } from "./webhook-payload.ts";
import type { JsonObject, Webhook } from "./webhook-payload.ts";

/** Plain values of the object that someone filters by or asks about; addresses, counters and settings stay out. */
const OF_OBJECT = [
  "number",
  "state",
  "state_reason",
  "status",
  "conclusion",
  "html_url",
  "ref",
  "task",
  "environment",
  "sha",
  "commit_id",
  "head_sha",
  "head_branch",
  "head_ref",
  "base_ref",
  "tag_name",
  "target_commitish",
  "prerelease",
  "draft",
  "merged",
  "additions",
  "deletions",
  "changed_files",
  "locked",
  "active_lock_reason",
  "path",
  "line",
  "event",
  "run_number",
  "run_attempt",
  "run_id",
  "runner_name",
  "privacy",
  "permission",
  "visibility",
  "private",
  "archived",
  "color",
  "read_only",
  "severity",
  "ghsa_id",
  "cve_id",
  "affected_range",
  "fixed_in",
  "dismissed_reason",
  "content_type",
  "package_type",
  "ecosystem",
  "repository_selection",
] as const;

const OF_PAYLOAD = [
  "ref",
  "ref_type",
  "base_ref",
  "compare",
  "created",
  "deleted",
  "forced",
  "master_branch",
  "branch",
  "commit_oid",
  "environment",
  "sha",
  "state",
  "status",
  "context",
  "target_url",
  "scope",
  "starred_at",
  "effective_date",
  "repository_selection",
  "zen",
] as const;

const MAX_COMMITS = 20;

/** Where it happened and the facts of the event, flat, so that `metadata.repository=…` filters; never a whole nested payload. */
export function metadataOf({ name, payload }: Webhook, object: JsonObject): JsonObject {
  const found: Record<string, unknown> = {
    event: name,
    repository: textAt(payload, "repository.full_name"),
    repository_private: valueAt(payload, "repository.private"),
    organization: textAt(payload, "organization.login"),
    enterprise: textAt(payload, "enterprise.slug"),
    installation_id: valueAt(payload, "installation.id"),
    author: textAt(object, "user.login", "author.login", "creator.login"),
    app: textAt(object, "app.slug", "app.name", "app_slug"),
    base: textAt(object, "base.ref"),
    head: textAt(object, "head.ref"),
    rule: textAt(object, "rule.id"),
    tool: textAt(object, "tool.name"),
    plan: textAt(payload, "marketplace_purchase.plan.name", "sponsorship.tier.name"),
    role: textAt(payload, "membership.role", "invitation.role"),
    version: textAt(object, "package_version.version"),
    milestone: textAt(object, "milestone.title"),
    category: textAt(object, "category.name"),
    labels: textsAt(object, "labels", "name"),
    assignees: textsAt(object, "assignees", "login"),
    branches: textsAt(payload, "branches", "name"),
    pages: textsAt(payload, "pages", "page_name"),
    hook_events: valueAt(payload, "hook.events"),
    packages: textsAt(object, "vulnerabilities", "package.name"),
    identifiers: textsAt(object, "identifiers", "value"),
    permissions: name === "installation" ? objectAt(object, "permissions") : undefined,
    inputs: objectAt(payload, "inputs"),
    client_payload: objectAt(payload, "client_payload"),
    commits: listAt(payload, "commits").slice(0, MAX_COMMITS).map(commit),
  };
  for (const field of OF_OBJECT) found[field] ??= valueAt(object, field);
  for (const field of OF_PAYLOAD) found[field] ??= valueAt(payload, field);
  return Object.fromEntries(Object.entries(found).filter(([, value]) => !isEmpty(value)));
}

function commit(value: unknown): JsonObject {
  return {
    id: valueAt(value, "id"),
    message: valueAt(value, "message"),
    author: textAt(value, "author.username", "author.name"),
    added: listAt(value, "added").length,
    modified: listAt(value, "modified").length,
    removed: listAt(value, "removed").length,
  };
}

function isEmpty(value: unknown): boolean {
  if (Array.isArray(value)) return value.length === 0;
  if (isObject(value)) return Object.keys(value).length === 0;
  return value === undefined || value === null || value === "";
}
