import { isObject, listAt, objectAt, textAt, valueAt } from "./webhook-payload.ts";
import type { JsonObject, Webhook } from "./webhook-payload.ts";

export type Reference = { type: string; id: string; name?: string };

/** Where an event keeps the object it is about, when that is not under the event's own name: [resource type, path]. */
const RESOURCES: { readonly [event: string]: readonly [type: string, path: string] } = {
  branch_protection_rule: ["branch_protection_rule", "rule"],
  code_scanning_alert: ["code_scanning_alert", "alert"],
  commit_comment: ["commit_comment", "comment"],
  dependabot_alert: ["dependabot_alert", "alert"],
  deploy_key: ["deploy_key", "key"],
  deployment_review: ["workflow_run", "workflow_run"],
  discussion_comment: ["discussion_comment", "comment"],
  fork: ["repository", "repository"],
  github_app_authorization: ["app_authorization", "sender"],
  gollum: ["wiki_page", "pages.0"],
  installation_repositories: ["installation", "installation"],
  issue_comment: ["issue_comment", "comment"],
  issues: ["issue", "issue"],
  marketplace_purchase: ["marketplace_purchase", "marketplace_purchase.account"],
  membership: ["team", "team"],
  meta: ["webhook", "hook"],
  org_block: ["user", "blocked_user"],
  page_build: ["page_build", ""],
  ping: ["webhook", "hook"],
  public: ["repository", "repository"],
  pull_request_review: ["pull_request_review", "review"],
  pull_request_review_comment: ["pull_request_review_comment", "comment"],
  pull_request_review_thread: ["pull_request_review_thread", "thread"],
  repository_dispatch: ["repository", "repository"],
  repository_import: ["repository", "repository"],
  repository_vulnerability_alert: ["repository_vulnerability_alert", "alert"],
  star: ["repository", "repository"],
  status: ["commit", "commit"],
  team_add: ["team", "team"],
  watch: ["repository", "repository"],
};

/** Where payloads keep the other objects an event touches. A list gives one target for each element. */
const TARGETS: readonly (readonly [path: string, type: string])[] = [
  ["assignee", "user"],
  ["member", "user"],
  ["user", "user"],
  ["membership.user", "user"],
  ["invitation", "invitation"],
  ["requester", "user"],
  ["requestor", "user"],
  ["requested_reviewer", "user"],
  ["requested_team", "team"],
  ["reviewers", "reviewer"],
  ["sponsorship.sponsorable", "user"],
  ["sponsorship.sponsor", "user"],
  ["label", "label"],
  ["milestone", "milestone"],
  ["answer", "discussion_comment"],
  ["old_answer", "discussion_comment"],
  ["changes.new_issue", "issue"],
  ["changes.old_issue", "issue"],
  ["changes.new_discussion", "discussion"],
  ["changes.new_repository", "repository"],
  ["changes.old_repository", "repository"],
  ["issue", "issue"],
  ["pull_request", "pull_request"],
  ["discussion", "discussion"],
  ["team", "team"],
  ["deployment", "deployment"],
  ["check_run", "check_run"],
  ["workflow_run", "workflow_run"],
  ["workflow", "workflow"],
  ["forkee", "repository"],
  ["pages", "wiki_page"],
  ["repositories", "repository"],
  ["repositories_added", "repository"],
  ["repositories_removed", "repository"],
  ["repository", "repository"],
  ["organization", "organization"],
];

const MAX_TARGETS = 20;

/** A person is known by the login everywhere, so that `user_id=` and `target_id=` of one person are the same. */
const PEOPLE = new Set(["user", "member"]);

export function resourceObject({ name, payload }: Webhook): JsonObject {
  return objectAt(payload, RESOURCES[name]?.[1] ?? name) ?? {};
}

/** The object that the event is about. Never without an id: at worst the repository's, the organization's or the sender's. */
export function resourceOf(webhook: Webhook): Reference {
  const { name, payload } = webhook;
  const repository = textAt(payload, "repository.full_name");
  const ref = textAt(payload, "ref");
  if (ref !== undefined && (name === "push" || name === "create" || name === "delete")) {
    const short = ref.replace(/^refs\/(heads|tags)\//, "");
    const type = textAt(payload, "ref_type") ?? (ref.startsWith("refs/tags/") ? "tag" : "branch");
    return { type, id: `${repository ?? ""}:${short}`, name: short };
  }
  const workflow = name === "workflow_dispatch" ? textAt(payload, "workflow") : undefined;
  if (workflow !== undefined) {
    return { type: "workflow", id: `${repository ?? ""}:${workflow}`, name: workflow };
  }
  const type = RESOURCES[name]?.[0] ?? name;
  return (
    refer(type, resourceObject(webhook), repository) ?? {
      type,
      id: textAt(payload, "repository.id", "organization.id", "sender.id") ?? name,
    }
  );
}

/** The other objects it touches, at most 20: the member added to a team, the label put on an issue, the repository around it. */
export function targetsOf({ payload }: Webhook, resource: Reference): Reference[] {
  const repository = textAt(payload, "repository.full_name");
  const seen = new Set([`${resource.type} ${resource.id}`]);
  if (PEOPLE.has(resource.type)) seen.add(`user ${resource.id}`);
  const targets: Reference[] = [];
  for (const [path, type] of TARGETS) {
    const found = valueAt(payload, path);
    for (const item of isObject(found) ? [found] : listAt(payload, path)) {
      const target = refer(type, item, repository);
      if (target === undefined || seen.has(`${target.type} ${target.id}`)) continue;
      seen.add(`${target.type} ${target.id}`);
      targets.push(target);
    }
  }
  return targets.slice(0, MAX_TARGETS);
}

function refer(
  type: string,
  object: unknown,
  repository: string | undefined,
): Reference | undefined {
  if (type === "reviewer") {
    const kind = textAt(object, "type")?.toLowerCase();
    return kind === undefined ? undefined : refer(kind, valueAt(object, "reviewer"), repository);
  }
  const id = idOf(type, object, repository);
  if (id === undefined) return undefined;
  const name = nameOf(type, object);
  return name === undefined ? { type, id } : { type, id, name };
}

function idOf(type: string, object: unknown, repository: string | undefined): string | undefined {
  if (PEOPLE.has(type)) return textAt(object, "login", "id");
  const within = type === "wiki_page" ? textAt(object, "page_name") : undefined;
  const id = within ?? textAt(object, "id", "ghsa_id", "sha", "head_sha", "node_id");
  if (within === undefined && id !== undefined) return id;
  // A page's name and an alert's number are unique in their repository only.
  const local = within ?? textAt(object, "number");
  return local === undefined ? undefined : `${repository ?? ""}:${local}`;
}

function nameOf(type: string, object: unknown): string | undefined {
  if (PEOPLE.has(type)) return textAt(object, "name");
  return textAt(
    object,
    "full_name",
    "display_title",
    "title",
    "name",
    "tag_name",
    "head_ref",
    "note",
    "environment",
    "account.login",
    "login",
    "sponsorable.login",
    "affected_package_name",
    "dependency.package.name",
    "rule.description",
    "summary",
    "content_type",
  );
}
