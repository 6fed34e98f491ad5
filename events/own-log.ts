import type { actorTypes, NewAuditLog, SentAuditLog } from "./audit-log.ts";
import { newAuditLog, type Recording } from "./new-audit-log.ts";
import type { ownActions } from "./own-actions.ts";

export type OwnEvent = {
  action: (typeof ownActions)[number];
  resource_type: string;
  /** Where the database makes it, what stands in its place is not stored. */
  resource_id?: string;
  resource_name?: string;
  metadata?: object;
};

/** Who caused an own log, and by what request. */
export type Requester = Required<
  Pick<SentAuditLog, "user_id" | "ip_address" | "user_agent" | "request_id">
> & { actor_type: (typeof actorTypes)[number] };

/** An own log, masked, cleaned and cut as any other. */
export function ownLog(
  { resource_id = "*", ...event }: OwnEvent,
  requester: Requester,
  recording: Recording,
): NewAuditLog {
  const sent = {
    ...event,
    ...requester,
    resource_id,
    severity: "INFO",
    outcome: "success",
  } as const;
  const log = { ...sent, metadata: { ...event.metadata } };
  return newAuditLog(log, JSON.stringify(log), recording);
}
