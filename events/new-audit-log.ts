import { ApiError } from "../platform/errors.ts";
import { maxDepth, maxEntryBytes, type NewAuditLog, type SentAuditLog } from "./audit-log.ts";
import { cleanText, cutText } from "./clean-text.ts";
import { hashEmail, maskEmail } from "./email.ts";
import { isTextDeeperThan, memberText } from "./json-text.ts";
import { maskJson } from "./mask-json.ts";
import type { MaskedField } from "./masking.ts";
import type { TenantMask } from "./tenant-mask.ts";

/** More paths than this are not listed: an entry full of secrets must not grow by naming them all. */
const maxListedPaths = 100;
/** Of a longer path, what leads to it is listed. */
const maxPathLength = 500;

export type Recording = {
  tenantId: string;
  /** Who hands the log in: the token's `sub`. */
  recordedBy: string;
  mask: TenantMask;
  hashSecret: string;
};

/** UTF-8 bytes of an entry's JSON text. */
export function isTooLarge(entryText: string): boolean {
  return (
    entryText.length > maxEntryBytes || new TextEncoder().encode(entryText).length > maxEntryBytes
  );
}

/**
 * Makes of a validated entry what may be stored: everything masked, cleaned and cut. Nothing of the
 * entry goes further in any other form.
 *
 * @param entryText the entry's own JSON text, from which the objects are taken as they were sent
 * @param at where the entry stands in the body, as a JSON Pointer
 * @throws ApiError `validation_failed` for an object that is nested too deep under a key that stands twice
 */
export function newAuditLog(
  sent: SentAuditLog,
  entryText: string,
  recording: Recording,
  at = "",
): NewAuditLog {
  const { mask } = recording;
  const truncated: string[] = [];
  const masked: string[] = [];

  const cut = (path: string, value: string): string => {
    const clean = cleanText(value);
    const kept = cutText(clean);
    if (kept !== clean) truncated.push(path);
    return kept;
  };
  /** A field that the tenant may have masked. It is cut before: what is hashed is what filters ask for. */
  const own = (field: MaskedField, value: string, path = `/${field}`): string => {
    const kept = cut(path, value);
    const how = mask.fields[field];
    if (how === undefined) return kept;
    masked.push(path);
    return mask.hide(how, kept);
  };
  const free = (field: MaskedField, value: string | null | undefined) =>
    value == null ? null : own(field, value);
  const object = (field: "metadata" | "before_state" | "after_state"): string | null => {
    if (sent[field] === null) return null;
    const text = memberText(entryText, field) ?? "{}";
    if (isTextDeeperThan(text, maxDepth)) throw tooDeep(`${at}/${field}`);
    const rewritten = maskJson(text, `/${field}`, mask);
    masked.push(...rewritten.masked.slice(0, maxListedPaths));
    return rewritten.text;
  };
  const described = (value: string | null | undefined): string | null => {
    if (value == null || mask.fields.description !== undefined) return free("description", value);
    const clean = cleanText(value);
    const shown = mask.maskText(clean);
    if (shown !== clean) masked.push("/description");
    return cut("/description", shown);
  };

  const address = (value: string): string => {
    const clean = cleanText(value);
    if (mask.isEmailClear) return cut("/email", clean);
    masked.push("/email");
    return cut("/email", maskEmail(clean));
  };
  /** Who records its own log is not named beside a user_id that is masked. */
  const recorder = (): string => {
    const { recordedBy } = recording;
    const how = sent.user_id === recordedBy ? mask.fields.user_id : undefined;
    if (how === undefined) return recordedBy;
    masked.push("/recorded_by");
    return mask.hide(how, cutText(cleanText(recordedBy)));
  };

  const targets = (sent.targets ?? []).map((target, n) => ({
    type: cleanText(target.type),
    id: own("target_id", target.id, `/targets/${n}/id`),
    ...(target.name == null ? {} : { name: own("target_name", target.name, `/targets/${n}/name`) }),
  }));

  const log = {
    action: cleanText(sent.action),
    severity: sent.severity,
    outcome: sent.outcome ?? null,
    actor_type: sent.actor_type,
    actor_name: free("actor_name", sent.actor_name),
    user_id: free("user_id", sent.user_id),
    email: sent.email ? address(sent.email) : null,
    email_hash: sent.email ? hashEmail(sent.email, recording.tenantId, recording.hashSecret) : null,
    session_id: free("session_id", sent.session_id),
    request_id: free("request_id", sent.request_id),
    ip_address: free("ip_address", sent.ip_address),
    user_agent: free("user_agent", sent.user_agent),
    resource_type: cleanText(sent.resource_type),
    resource_id: own("resource_id", sent.resource_id),
    resource_name: free("resource_name", sent.resource_name),
    description: described(sent.description),
    event_id: sent.event_id == null ? null : cleanText(sent.event_id),
    recorded_by: recorder(),
    occurred_at: sent.occurred_at == null ? null : new Date(sent.occurred_at).toISOString(),
    metadata: object("metadata"),
    before_state: object("before_state"),
    after_state: object("after_state"),
    targets: JSON.stringify(targets),
  };
  return { ...log, truncated_fields: pathList(truncated), masked_fields: pathList(masked) };
}

function tooDeep(path: string): ApiError {
  const errors = [{ path, message: `must be nested at most ${maxDepth} deep` }];
  return new ApiError("validation_failed", "The request is not valid: see errors.", { errors });
}

function pathList(paths: string[]): string | null {
  if (paths.length === 0) return null;
  return JSON.stringify([...new Set(paths.slice(0, maxListedPaths).map(shortPath))]);
}

function shortPath(path: string): string {
  return path.length <= maxPathLength ? path : path.slice(0, path.lastIndexOf("/", maxPathLength));
}
