/**
 * Which of its reads a tenant has recorded. `changes`: what takes logs out or changes something, which is
 * recorded always; `searches`: and lists, searches and counts; `all`: and each log that is read by its id.
 */
export const readAuditLevels = ["changes", "searches", "all"] as const;
export type ReadAuditLevel = (typeof readAuditLevels)[number];

/** Whether what is recorded from one level on is recorded at another. */
export function isRecorded(from: ReadAuditLevel, at: ReadAuditLevel): boolean {
  return readAuditLevels.indexOf(at) >= readAuditLevels.indexOf(from);
}
