import type { exactFields, LogFilter } from "../../events/log-filter.ts";
import { maskHash } from "../../events/mask-hash.ts";
import { type Config, requireSection } from "../../platform/config.ts";

/** Of the fields that are compared as they are, those that a tenant may have hashed. */
const fields = [
  "user_id",
  "session_id",
  "request_id",
  "resource_id",
] as const satisfies (typeof exactFields)[number][];

/**
 * The same filter, which finds a value also where it was hashed. Whatever rules the tenant has now: older logs
 * are as the rules of their time left them.
 */
export function orItsHash(asked: LogFilter, tenantId: string, config: Config): LogFilter {
  const hash = (value: string) =>
    maskHash(value, tenantId, requireSection(config, "masking").hashSecret);
  const both = (values: string[] = []) => [...values, ...values.map(hash)];
  return {
    ...asked,
    exact: {
      ...asked.exact,
      ...Object.fromEntries(fields.map((field) => [field, both(asked.exact[field])])),
    },
    target_id: both(asked.target_id),
    ip_address: both(asked.ip_address),
    metadata: asked.metadata.flatMap(({ path, value }) =>
      both([value]).map((value) => ({ path, value })),
    ),
  };
}
