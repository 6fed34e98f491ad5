import { z } from "zod";
import { connectSqs } from "../../aws/sqs.ts";
import { backpressureSeconds } from "../../db/backlog.ts";
import { connectDatabase } from "../../db/client.ts";
import { readServiceFigures, type ServiceFigures } from "../../db/counters.ts";
import { deadLetterQueues, type DeadLetterQueue } from "../../events/dead-letter.ts";
import { exportStatuses } from "../../events/export.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { metrics } from "../../platform/metric-names.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import { version } from "../../platform/version.ts";
import type { PollerStatus } from "../../platform/wakeable.ts";
import { within } from "../../platform/within.ts";
import type { Bindings } from "../env.ts";
import type { Sample } from "./metrics-text.ts";

/** Prometheus waits 10 s for a scrape, unless told otherwise: both waits of one fit into that. */
const signTimeoutMs = 3_000;
const figuresTimeoutMs = 5_000;
/** A deployment at which nothing happened for this long is at rest. */
const restAfterMs = 10 * 60_000;

export type QueueFigures = { waiting: number; inFlight: number; deadLetters: number };
type ByQueue<T> = Record<DeadLetterQueue, T | undefined>;
/** What can be asked without the database. A part that did not answer is undefined. */
export type Signs = { queues: ByQueue<QueueFigures>; pollers: ByQueue<PollerStatus> };

const pollerStatus = z.object({ pollers: z.int(), lastActivityAt: z.number().nullable() });

export async function readSigns(config: Config, env: Bindings, logger: Logger): Promise<Signs> {
  const of = <T>(part: string, read: () => Promise<T>) =>
    orUndefined(part, signTimeoutMs, logger, read);
  const queue = (name: DeadLetterQueue) =>
    of(`${name}_queue`, () => readQueue(name, requireSection(config, "sqs")));
  const pollers = (name: DeadLetterQueue) =>
    of(`${name}_pollers`, async () => {
      const namespace = name === "log" ? env.LOG_POLLER : env.EXPORT_POLLER;
      return pollerStatus.parse(await namespace.getByName(firstPoller).status());
    });
  const [logQueue, exportQueue, logPollers, exportPollers] = await Promise.all([
    queue("log"),
    queue("export"),
    pollers("log"),
    pollers("export"),
  ]);
  return {
    queues: { log: logQueue, export: exportQueue },
    pollers: { log: logPollers, export: exportPollers },
  };
}

async function readQueue(
  name: DeadLetterQueue,
  config: Parameters<typeof connectSqs>[0],
): Promise<QueueFigures> {
  const sqs = connectSqs(config, signTimeoutMs);
  const url = name === "log" ? config.logQueueUrl : config.exportQueueUrl;
  const [depth, dead] = await Promise.all([sqs.depth(url), sqs.deadLetters(url)]);
  return { ...depth, deadLetters: dead };
}

/** All that the database has to say, in one round trip; undefined where it does not answer. */
export const readFigures = (config: Config, logger: Logger): Promise<ServiceFigures | undefined> =>
  orUndefined("database", figuresTimeoutMs, logger, () =>
    readServiceFigures(connectDatabase(requireSection(config, "database"))),
  );

async function orUndefined<T>(
  part: string,
  timeoutMs: number,
  logger: Logger,
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await within(timeoutMs, read());
  } catch (error) {
    logger.warning("metrics_part_failed", { part, reason: reasonOf(error) });
    return undefined;
  }
}

/** Whether certainly nothing happens: no message is anywhere, and the pollers saw none for ten minutes. */
export function isAtRest({ queues, pollers }: Signs, now: number): boolean {
  return deadLetterQueues.every((name) => {
    const [queue, status] = [queues[name], pollers[name]];
    if (!queue || !status) return false;
    const lastActivityAt = status.lastActivityAt ?? 0;
    return queue.waiting + queue.inFlight === 0 && now - lastActivityAt >= restAfterMs;
  });
}

/** @param ageMs of the oldest of them */
export function samplesOf(
  { queues, pollers }: Signs,
  figures: ServiceFigures | undefined,
  ageMs: number,
): Sample[] {
  const parts = {
    database: figures,
    log_queue: queues.log,
    export_queue: queues.export,
    log_pollers: pollers.log,
    export_pollers: pollers.export,
  };
  return [
    ...(figures ? figureSamples(figures) : []),
    ...deadLetterQueues.flatMap((queue) => signSamples(queue, queues[queue], pollers[queue])),
    ...Object.entries(parts).map(([part, found]): Sample => ({
      name: "audit_log_part_up",
      labels: { part },
      value: found ? 1 : 0,
    })),
    { name: "audit_log_snapshot_age_seconds", value: ageMs / 1000 },
    { name: "audit_log_build_info", labels: { version }, value: 1 },
  ];
}

function signSamples(
  queue: DeadLetterQueue,
  figures: QueueFigures | undefined,
  status: PollerStatus | undefined,
): Sample[] {
  const of = (name: Sample["name"], value: number): Sample => ({ name, labels: { queue }, value });
  return [
    ...(figures
      ? [
          of("audit_log_queue_messages", figures.waiting),
          of("audit_log_queue_messages_in_flight", figures.inFlight),
          of("audit_log_dead_letters", figures.deadLetters),
        ]
      : []),
    ...(status ? [of("audit_log_pollers", status.pollers)] : []),
  ];
}

function figureSamples(figures: ServiceFigures): Sample[] {
  const { outbox } = figures;
  const isLate = outbox.oldestAgeSeconds > backpressureSeconds;
  return [
    { name: "audit_log_outbox_logs", value: outbox.logs },
    { name: "audit_log_outbox_oldest_age_seconds", value: outbox.oldestAgeSeconds },
    { name: "audit_log_index_lag_seconds", value: figures.indexLagSeconds },
    { name: "audit_log_backpressure", value: isLate ? 1 : 0 },
    { name: "audit_log_unsearchable_logs", value: outbox.unsearchable },
    { name: "audit_log_logs_stored_total", value: figures.logsStored },
    { name: "audit_log_logs_indexed_total", value: figures.logsIndexed },
    ...exportStatuses.map((status): Sample => ({
      name: "audit_log_exports",
      labels: { status },
      value: figures.exports[status] ?? 0,
    })),
    { name: "audit_log_export_rows_total", value: figures.exportRows },
    { name: "audit_log_export_bytes_total", value: figures.exportBytes },
    ...metrics.audit_log_repairs_total.labels.kind.map((kind): Sample => ({
      name: "audit_log_repairs_total",
      labels: { kind },
      value: figures.repairs[kind] ?? 0,
    })),
    { name: "audit_log_logs_removed_total", value: figures.logsRemoved },
    { name: "audit_log_index_removals", value: figures.indexRemovals.tenants },
    {
      name: "audit_log_index_removals_oldest_age_seconds",
      value: figures.indexRemovals.oldestAgeSeconds,
    },
    { name: "audit_log_degraded_searches_total", value: figures.degradedSearches },
  ];
}
