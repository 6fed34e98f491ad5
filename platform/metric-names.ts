/** A metric of `GET /metrics`: what a scrape shows, and what dashboards and alert rules may name. */
export type Metric = {
  type: "gauge" | "counter";
  /** The text of its `# HELP` line: what is counted, and its unit. */
  help: string;
  /** Its labels. A label with a closed set of values lists them; `null` takes any. */
  labels: Readonly<Record<string, readonly string[] | null>>;
};

const queue = { queue: ["log", "export"] } as const;

/**
 * Every metric of the service, named by the conventions of Prometheus: base units, `_total` for what only
 * grows. What is exposed, the dashboard and the alert rules in infra/ are all held to this list.
 */
export const metrics = {
  audit_log_outbox_logs: {
    type: "gauge",
    help: "Logs in the outbox: stored, and not searchable yet.",
    labels: {},
  },
  audit_log_outbox_oldest_age_seconds: {
    type: "gauge",
    help: "Age of the oldest log in the outbox, 0 when it is empty.",
    labels: {},
  },
  audit_log_index_lag_seconds: {
    type: "gauge",
    help: "How far the latest time, before which every log is searchable, lies behind the clock.",
    labels: {},
  },
  audit_log_queue_messages: {
    type: "gauge",
    help: "Messages that wait in the queue, approximately.",
    labels: queue,
  },
  audit_log_queue_messages_in_flight: {
    type: "gauge",
    help: "Messages that were received and not deleted yet, approximately.",
    labels: queue,
  },
  audit_log_dead_letters: {
    type: "gauge",
    help: "Messages in the dead-letter queue of the queue, approximately.",
    labels: queue,
  },
  audit_log_pollers: {
    type: "gauge",
    help: "Pollers that are at work on the queue.",
    labels: queue,
  },
  audit_log_logs_stored_total: {
    type: "counter",
    help: "Logs that were stored.",
    labels: {},
  },
  audit_log_logs_indexed_total: {
    type: "counter",
    help: "Logs that became searchable.",
    labels: {},
  },
  audit_log_unsearchable_logs: {
    type: "gauge",
    help: "Logs that the index cannot take.",
    labels: {},
  },
  audit_log_exports: {
    type: "gauge",
    help: "Exports by their status.",
    labels: { status: ["PENDING", "IN_PROGRESS", "DONE", "FAILED", "CANCELLED"] },
  },
  audit_log_export_rows_total: {
    type: "counter",
    help: "Rows that were written to exports.",
    labels: {},
  },
  audit_log_export_bytes_total: {
    type: "counter",
    help: "Bytes that were written to exports.",
    labels: {},
  },
  audit_log_repairs_total: {
    type: "counter",
    help: "Documents of the index that differed from Postgres and were repaired, by what was wrong.",
    labels: { kind: ["missing", "extra", "different"] },
  },
  audit_log_logs_removed_total: {
    type: "counter",
    help: "Logs that were removed because they were older than their tenant's retention.",
    labels: {},
  },
  audit_log_index_removals: {
    type: "gauge",
    help: "Tenants whose removed logs the index may still have.",
    labels: {},
  },
  audit_log_index_removals_oldest_age_seconds: {
    type: "gauge",
    help: "For how long the index has not been found without logs that were removed, 0 when it has.",
    labels: {},
  },
  audit_log_degraded_searches_total: {
    type: "counter",
    help: "Lists and statistics that came from Postgres because OpenSearch did not answer.",
    labels: {},
  },
  audit_log_backpressure: {
    type: "gauge",
    help: "1 while the outbox is older than its limit, else 0.",
    labels: {},
  },
  audit_log_snapshot_age_seconds: {
    type: "gauge",
    help: "Age of the figures that this scrape shows.",
    labels: {},
  },
  audit_log_part_up: {
    type: "gauge",
    help: "1 where the part answered this scrape, else 0: then its metrics are not there.",
    labels: {
      part: ["database", "log_queue", "export_queue", "log_pollers", "export_pollers"],
    },
  },
  audit_log_build_info: {
    type: "gauge",
    help: "Always 1; the label is the running version.",
    labels: { version: null },
  },
} as const satisfies Record<string, Metric>;

export type MetricName = keyof typeof metrics;
