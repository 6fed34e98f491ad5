import type { NewAuditLog } from "./audit-log.ts";
import { type ownActions, ownRecorder } from "./own-actions.ts";

/** An own log of what the service does by itself. Nothing in it came from anyone, so that nothing is masked. */
export const serviceLog = (
  action: (typeof ownActions)[number],
  resourceType: string,
): NewAuditLog => ({
  action,
  severity: "INFO",
  outcome: "success",
  actor_type: "system",
  actor_name: null,
  user_id: null,
  email: null,
  email_hash: null,
  session_id: null,
  request_id: null,
  ip_address: null,
  user_agent: null,
  resource_type: resourceType,
  resource_id: "*",
  resource_name: null,
  description: null,
  event_id: null,
  recorded_by: ownRecorder,
  occurred_at: null,
  metadata: "{}",
  before_state: "{}",
  after_state: "{}",
  targets: "[]",
  truncated_fields: null,
  masked_fields: null,
});
