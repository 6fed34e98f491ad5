import type { SentAuditLog } from "./audit-log.ts";
import { compactJson, memberText } from "./json-text.ts";

/**
 * What makes two entries with one event_id the same: all that was sent. How an entry is written does not
 * count where it means nothing (the order of its own fields, spaces, a default that is named or left out, the
 * letter case of the severity), since a sender may cut its batches differently. Inside the objects the order
 * of keys and every digit do: they are kept, so one who sends another order would miss it.
 *
 * Not of what is stored: two entries that differ only in what is masked or cut are different events, and a
 * masking rule that was changed in between does not make one event two.
 *
 * @param entryText the entry's own JSON text
 */
export function eventContent(sent: SentAuditLog, entryText: string): string {
  const object = (field: "metadata" | "before_state" | "after_state") =>
    sent[field] === null ? null : compactJson(memberText(entryText, field) ?? "{}");
  return JSON.stringify([
    sent.action,
    sent.resource_type,
    sent.resource_id,
    sent.resource_name ?? null,
    sent.user_id ?? null,
    sent.actor_type,
    sent.actor_name ?? null,
    sent.email ?? null,
    sent.session_id ?? null,
    sent.request_id ?? null,
    sent.ip_address ?? null,
    sent.user_agent ?? null,
    sent.severity,
    sent.outcome ?? null,
    sent.description ?? null,
    object("metadata"),
    object("before_state"),
    object("after_state"),
    (sent.targets ?? []).map(({ type, id, name }) => [type, id, name ?? null]),
    sent.occurred_at ?? null,
  ]);
}
