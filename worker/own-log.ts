import type { Context } from "hono";
import type { NewAuditLog } from "../events/audit-log.ts";
import { ownRecorder } from "../events/own-actions.ts";
import { type OwnEvent, ownLog } from "../events/own-log.ts";
import type { TenantSettings } from "../events/tenant-settings.ts";
import type { AppEnv } from "./env.ts";
import { publishLogs } from "./logs/publish-logs.ts";
import { recordingOf } from "./logs/recording.ts";

/** The log of what a request does, for the tenant that it is done to, masked by its rules. */
export function ownLogOf(
  c: Context<AppEnv>,
  tenantId: string,
  settings: TenantSettings,
  event: OwnEvent,
): NewAuditLog {
  const { actor, config, requestId } = c.var;
  const requester = {
    user_id: actor.sub,
    actor_type: actor.isKey ? "api_key" : "user",
    // Cloudflare's own: a client cannot set it.
    ip_address: c.req.header("CF-Connecting-IP") ?? null,
    user_agent: c.req.header("User-Agent") ?? null,
    request_id: requestId,
  } as const;
  return ownLog(event, requester, recordingOf({ tenantId, sub: ownRecorder }, config, settings));
}

/** After the answer: tells the indexer of an own log, where one was stored. */
export function publishOwnLog(
  c: Context<AppEnv>,
  tenantId: string,
  ownId: string | undefined,
): void {
  if (ownId !== undefined) publishLogs(c, tenantId, [ownId]);
}
