import type { LogFilter } from "../events/log-filter.ts";

/** Selects every log. */
export const noFilter: LogFilter = {
  exact: {},
  action: [],
  target_id: [],
  ip_address: [],
  email_hash: [],
  metadata: [],
  from: null,
  to: null,
  occurred_from: null,
  occurred_to: null,
  search: [],
};
