import type { Client } from "./demo-client.ts";
import type { DemoStack } from "./demo-stack.ts";
import type { WebhookAuditLog } from "./webhook-to-audit-log.ts";

/** One run of the demo: what every step may use, and what an earlier step leaves for a later one. */
export type DemoRun = {
  readonly stack: DemoStack;
  readonly client: Client;
  /** The `request_id` of everything that this run stores. */
  readonly id: string;
  readonly entries: readonly WebhookAuditLog[];
  readonly stored: {
    /** Ids of the logs that were answered with 201. */
    readonly ids: Set<string>;
    tenantId: string | undefined;
    /** When the last POST was answered, on the clock of `performance.now()`. */
    lastAnswerAt: number;
  };
  /** Whether every log was found in time. */
  searchable: boolean;
  /** Which back ends answered the searches. */
  readonly sources: Set<Source>;
  /** Stores that the run could not find, and so did not compare. */
  readonly uncounted: string[];
  /** What did not agree; the demo fails where there is any. */
  readonly problems: string[];
};

export type Source = "opensearch" | "postgres";

export type Step = { readonly name: string; readonly run: (run: DemoRun) => Promise<void> };

/** One line of the table. `ms` is the wall time of the whole line. */
export function printRow(label: string, result: string, ms?: number): void {
  const time = ms === undefined ? "" : duration(ms);
  console.log(`  ${label.padEnd(38)}  ${result.padEnd(52)}  ${time.padStart(8)}`.trimEnd());
}

export function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** The nearest-rank percentiles of durations in milliseconds. */
export function percentiles(durations: readonly number[]): string {
  const sorted = durations.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
  return `p50 ${duration(at(0.5))}, p95 ${duration(at(0.95))}`;
}
