/** `recorded_by` of the logs that the service writes about itself. Their actions begin with `audit_log.`. */
export const ownRecorder = "audit-log-service";

/** What the service writes about itself. */
export const ownActions = [
  "audit_log.searched",
  "audit_log.counted",
  "audit_log.read",
  "audit_log.export_started",
  "audit_log.export_cancelled",
  "audit_log.export_retried",
  "audit_log.export_link_given",
  "audit_log.cleanup_started",
  "audit_log.logs_removed",
  "audit_log.settings_changed",
  "audit_log.tenant_created",
  "audit_log.key_created",
  "audit_log.key_revoked",
  "audit_log.dead_letters_redriven",
] as const;

/**
 * Whether an action is, or looks like, one of the service's own: in any letter case, in other widths of its
 * letters, and with spaces and invisible characters in it.
 */
export function isReserved(action: string): boolean {
  const plain = action.normalize("NFKC").toLowerCase();
  return plain
    .replaceAll(/[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\s]/gu, "")
    .startsWith("audit_log.");
}
