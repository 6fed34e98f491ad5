/** What a caller may see: every query of Postgres and of OpenSearch takes one. */
export type TenantScope = {
  tenantId: string;
  /** Set for the `user` role: only logs with this user_id. */
  userId: string | null;
};
