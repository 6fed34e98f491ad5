import type { Context } from "hono";
import { connectDatabase } from "../../db/client.ts";
import { mergeMs, recordRead } from "../../db/read-audits.ts";
import { repeatable } from "../../db/repeatable.ts";
import { compareMac } from "../../events/idempotency-key.ts";
import type { OwnEvent } from "../../events/own-log.ts";
import { isRecorded, type ReadAuditLevel } from "../../events/read-audit.ts";
import type { TenantMask } from "../../events/tenant-mask.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf } from "../own-log.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { tellIndexer } from "./publish-logs.ts";
import { recordingOf } from "./recording.ts";

const maxKept = 10_000;
/** Until when this isolate knows that a read needs no log, by its MAC; in milliseconds since 1970. */
const mergedUntil = new Map<string, number>();

export type Read = {
  action: OwnEvent["action"];
  /** Made only where it is stored. */
  event: (mask: TenantMask) => Omit<OwnEvent, "action">;
  /** What makes two reads by one caller the same. It is kept as a keyed hash only. */
  what: unknown;
  /** The least level at which it is recorded. */
  from: ReadAuditLevel;
};

/**
 * Records a read, beside the answer, which does not wait for it and does not fail with it. The same read by the
 * same caller is recorded once a minute, whichever isolates it meets.
 *
 * @param level the tenant's own, as the read found it: where it says no, the database is not asked again
 */
export function auditRead(
  c: Context<AppEnv>,
  scope: TenantScope,
  level: ReadAuditLevel | null,
  read: Read,
): void {
  if (!isRecorded(read.from, level ?? defaultLevel(c.var.config))) return;
  c.executionCtx.waitUntil(record(c, scope, read));
}

async function record(c: Context<AppEnv>, scope: TenantScope, read: Read): Promise<void> {
  const { config, logger } = c.var;
  const { tenantId } = scope;
  const { action, event, from } = read;
  let mac = "";
  try {
    mac = macOf(c, scope, read);
    const left = (mergedUntil.get(mac) ?? 0) - Date.now();
    // Beyond a minute the clock was set back.
    if (left > 0 && left <= mergeMs) return;
    // At once, so that others of this isolate do not ask as well.
    merge(mac, mergeMs);
    const db = connectDatabase(requireSection(config, "database"));
    const { id, leftMs } = await withSettings(scope, async (settings, scope) => {
      const { mask } = recordingOf(c.var.caller, config, settings);
      const log = ownLogOf(c, tenantId, settings, { action, ...event(mask) });
      const toRecord = { log, mac, from, defaultLevel: defaultLevel(config) };
      return repeatable(() => recordRead(db, scope, toRecord));
    });
    merge(mac, leftMs ?? 0);
    if (id !== undefined) await tellIndexer(c, tenantId, [id]);
  } catch (error) {
    mergedUntil.delete(mac);
    logger.warning("read_not_audited", {
      tenant_id: tenantId,
      action,
      reason: reasonOf(error),
    });
  }
}

function macOf(c: Context<AppEnv>, { tenantId, userId }: TenantScope, read: Read): string {
  const { actor, config } = c.var;
  const { hashSecret } = requireSection(config, "masking");
  const text = JSON.stringify([read.action, actor.sub, actor.isKey, userId, read.what]);
  return compareMac("read", tenantId, text, hashSecret);
}

function merge(mac: string, ms: number): void {
  if (mergedUntil.size >= maxKept) mergedUntil.clear();
  mergedUntil.set(mac, Date.now() + ms);
}

/** A wrong variable is told at the start, and records no less than none. */
const defaultLevel = (config: Config): ReadAuditLevel =>
  config.sections.readAudit?.defaultLevel ?? "searches";
