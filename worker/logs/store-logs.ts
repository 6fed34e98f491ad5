import type { Context } from "hono";
import { connectDatabase } from "../../db/client.ts";
import { type StoredLog, writeLogs } from "../../db/write-logs.ts";
import { type LogOnce, type WrittenOnce, writeLogsOnce } from "../../db/write-logs-once.ts";
import type { NewAuditLog, SentAuditLog } from "../../events/audit-log.ts";
import { eventContent } from "../../events/event-content.ts";
import { compareMac } from "../../events/idempotency-key.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { idempotencyKeyOf, refuseUndone } from "../idempotency-key.ts";
import { publishLogs } from "./publish-logs.ts";

/** An entry of a request: as it was sent, its JSON text, what is stored of it, and its place in the body. */
export type Entry = { sent: SentAuditLog; text: string; log: NewAuditLog; at: string };

/** The entries' logs in their order, and how many of them were stored by this request, or the one it repeats. */
export type StoredEntries = { logs: StoredLog[]; made: number };

/**
 * Stores a request's entries: once for its idempotency key and for each event_id, where it has any. Without
 * them it costs nothing to know that there could be.
 *
 * @param path the route's
 * @throws ApiError for a key or an event_id that was used for something else, and for a request that is still
 *   running
 */
export async function storeLogs(
  c: Context<AppEnv>,
  scope: TenantScope,
  path: string,
  entries: readonly Entry[],
): Promise<StoredEntries> {
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const key = await idempotencyKeyOf(c, path);
  if (key === undefined && entries.every(({ log }) => log.event_id === null)) {
    const logs = entries.map(({ log }) => log);
    const stored = await writeLogs(db, scope, logs);
    return publish(c, { logs: stored, made: stored.length });
  }
  const { unique, numbers } = oncePerEvent(c, entries);
  const written = await writeLogsOnce(db, scope, unique, key);
  if (written.outcome !== "done") throw refusal(written, entries, numbers);
  if (written.isReplay) c.header("Idempotency-Replayed", "true");
  const logs = numbers.flatMap((n) => written.logs[n] ?? []);
  return publish(c, { logs, made: written.made });
}

/** Also what an earlier request stored: it may have been cut off before it could tell the indexer. */
function publish(c: Context<AppEnv>, stored: StoredEntries): StoredEntries {
  const ids = new Set(stored.logs.map(({ id }) => id));
  publishLogs(c, c.var.caller.tenantId, [...ids]);
  return stored;
}

/**
 * An event that stands in one request twice is stored once.
 *
 * @returns the logs to store, and for each entry which of them is its own
 * @throws ApiError `event_id_reused` where it has another content the second time
 */
function oncePerEvent(
  c: Context<AppEnv>,
  entries: readonly Entry[],
): { unique: LogOnce[]; numbers: number[] } {
  const { caller, config } = c.var;
  const { hashSecret } = requireSection(config, "masking");
  const unique: LogOnce[] = [];
  const first = new Map<string, number>();
  const different: string[] = [];
  const numbers = entries.map(({ sent, text, log, at }) => {
    if (log.event_id === null) return unique.push({ log, contentMac: null }) - 1;
    const content = eventContent(sent, text);
    const contentMac = compareMac("event", caller.tenantId, content, hashSecret);
    const known = first.get(log.event_id);
    if (known === undefined) {
      const n = unique.push({ log, contentMac }) - 1;
      first.set(log.event_id, n);
      return n;
    }
    if (unique[known]?.contentMac !== contentMac) different.push(at);
    return known;
  });
  if (different.length > 0) throw eventReused(different);
  return { unique, numbers };
}

function refusal(
  written: Exclude<WrittenOnce, { outcome: "done" }>,
  entries: readonly Entry[],
  numbers: readonly number[],
): ApiError {
  switch (written.outcome) {
    case "other body":
    case "in progress":
      return refuseUndone(written.outcome);
    case "other content": {
      const places = new Set(written.places);
      return eventReused(
        entries.filter((_, n) => places.has(numbers[n] ?? -1)).map(({ at }) => at),
      );
    }
  }
}

const eventReused = (places: readonly string[]): ApiError =>
  new ApiError(
    "event_id_reused",
    "Nothing is stored: an event_id was used with other content in the last 7 days. See errors.",
    {
      errors: places.map((at) => ({
        path: `${at}/event_id`,
        message: "was used with other content",
      })),
    },
  );
