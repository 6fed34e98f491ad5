import type { Client } from "@opensearch-project/opensearch";
import { removeExport, removeUnfinished } from "../../aws/export-objects.ts";
import type { S3 } from "../../aws/s3.ts";
import { queuedMs, type ReceivedMessage, type Sqs } from "../../aws/sqs.ts";
import type { Database } from "../../db/client.ts";
import {
  type Claim,
  claimExport,
  ExportLost,
  failExport,
  keepClaim,
  readWork,
  releaseClaim,
  restartExport,
} from "../../db/export-work.ts";
import type { ExportRow } from "../../db/exports.ts";
import { exportKey } from "../../events/export-files.ts";
import { type ExportMessage, exportMessageFor, parseExportMessage } from "../../events/messages.ts";
import type { BufferPool } from "../../platform/buffer-pool.ts";
import type { DatabaseConfig } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import { hopTimes } from "../../platform/hop-times.ts";
import type { Logger } from "../../platform/logger.ts";
import { visibilitySeconds } from "../poll-queue.ts";
import { lastReceive, type Outcome } from "../settle-messages.ts";
import { failureOf, UploadGone } from "./export-errors.ts";
import type { PartSize } from "./part-cutter.ts";
import { runSlice, type SliceEnd, type Spent } from "./run-slice.ts";

export type ExportTools = {
  db: Database;
  replica?: DatabaseConfig | undefined;
  s3: S3;
  sqs: Sqs;
  queueUrl: string;
  search: Client | undefined;
  logger: Logger;
  buffers?: BufferPool;
  spent?: Spent;
  sizeOf?: PartSize;
  sliceMs?: number;
  graceMs?: number;
};

/** Tries without a part in between, as many as the queue's maxReceiveCount. */
const maxTries = 5;
const maxAttempts = 5;
const signOfLifeMs = 20_000;
const waitingSeconds = 5;

type Work = ExportTools & {
  message: ReceivedMessage;
  content: ExportMessage;
  row: ExportRow;
  claim: Claim;
  /** When the work on the message began, in milliseconds since 1970. */
  began: number;
};

/**
 * Works for one slice on the export that a message names.
 *
 * @returns what becomes of the message
 * @throws DatabaseUnavailable when the export cannot even be claimed
 */
export async function exportMessage(
  message: ReceivedMessage,
  tools: ExportTools,
): Promise<Outcome> {
  const content = parseExportMessage(message.body);
  const bury = (reason: string) =>
    ({ message, to: "dead-letter", body: message.body, reason }) as const;
  if (!content) return bury("not an export message");
  const claimed = await claimExport(tools.db, content.tenant_id, content.export_id);
  if (!claimed) return bury("there is no such export");
  const { row, isClaimed } = claimed;
  if (!isClaimed) return notClaimed(message, row, tools);
  const claim = { tenantId: row.tenantId, id: row.id, fence: row.fence };
  const began = Date.now();
  const work = { ...tools, message, content, row, claim, began };
  try {
    const end = await withSignsOfLife(work);
    logWork(work, end, { slice_ms: Date.now() - began });
    return await continued(work, end);
  } catch (error) {
    return await interrupted(work, error);
  }
}

/**
 * Over already: what is left to do is what an exporter that died did not get to. Else another works on it:
 * should that one die, this message goes on.
 */
async function notClaimed(
  message: ReceivedMessage,
  row: ExportRow,
  tools: ExportTools,
): Promise<Outcome> {
  if (isOver(row)) {
    await cleanUp(tools, row);
    // Who failed it may have died before its message was buried. One that cannot be must not come for ever.
    const isUnburied = message.receiveCount > 1 && message.receiveCount <= lastReceive;
    return row.status === "FAILED" && isUnburied
      ? { message, to: "dead-letter", body: message.body, reason: row.errorMessage ?? "it failed" }
      : { message, to: "delete" };
  }
  // The sweep finds what is left alone; a message must not come so often that it counts as poisoned.
  if (message.receiveCount >= lastReceive) return { message, to: "delete" };
  const leaseMs = (row.leaseUntil?.getTime() ?? 0) - Date.now();
  return {
    message,
    to: "retry",
    delaySeconds: Math.min(Math.max(Math.ceil(leaseMs / 1000), 1), 90),
  };
}

const isOver = ({ status }: ExportRow) => status !== "PENDING" && status !== "IN_PROGRESS";

/** At the sixth receive SQS would take the message for poisoned, and with it the export: the sweep finds that, too. */
function again(message: ReceivedMessage, delaySeconds: number): Outcome {
  return message.receiveCount > lastReceive
    ? { message, to: "delete" }
    : { message, to: "retry", delaySeconds };
}

/** Runs a slice, and says every 20 s to Postgres and SQS that it is still under way. */
async function withSignsOfLife(work: Work): Promise<SliceEnd> {
  if (work.row.tries > maxTries) throw new Error("no try made any progress");
  let lost: unknown;
  const timer = setInterval(() => {
    const extended = [{ message: work.message, delaySeconds: visibilitySeconds }];
    keepClaim(work.db, work.claim)
      .then(() => work.sqs.retryLater(work.queueUrl, extended))
      .catch((error: unknown) => {
        if (error instanceof ExportLost) lost = error;
        else
          work.logger.warning("sign_of_life_failed", {
            export_id: work.row.id,
            reason: reasonOf(error),
          });
      });
  }, signOfLifeMs);
  const check = () => {
    if (lost !== undefined) throw lost;
  };
  try {
    return await runSlice({ ...work, check }, work.claim, work.row);
  } finally {
    clearInterval(timer);
  }
}

/** Hands over to a message of its own: receive counts must not add up for work that goes well. */
async function continued(work: Work, end: SliceEnd): Promise<Outcome> {
  const { message, content, claim } = work;
  if (end === "done") {
    await cleanUpNow(work);
    return { message, to: "delete" };
  }
  const isWaiting = end === "waiting";
  await releaseClaim(work.db, claim, isWaiting);
  const next = exportMessageFor(
    content.tenant_id,
    content.export_id,
    content.request_id,
    isWaiting ? waitingSeconds : 0,
  );
  const refused = await work.sqs.send(work.queueUrl, [next]);
  return refused.length === 0 ? { message, to: "delete" } : again(message, 1);
}

async function interrupted(work: Work, error: unknown): Promise<Outcome> {
  const { message, claim, row } = work;
  try {
    if (error instanceof ExportLost) return await letGo(work, error);
    if (error instanceof UploadGone && row.attempt < maxAttempts) {
      // Whoever claimed it in the meantime may be at work on this upload.
      await keepClaim(work.db, claim);
      await cleanUpNow(work);
      await restartExport(work.db, claim);
      logWork(work, "restarted", { reason: error.message });
      return await continued(work, "more");
    }
    const failure = failureOf(error, work.s3.bucket);
    logWork(work, "failed_try", { reason: reasonOf(error), tries: row.tries });
    // This try may have made a part before it failed: then it is none without progress.
    const { tries = row.tries } = (await readWork(work.db, claim)) ?? {};
    if (failure.isPassing && tries < maxTries) {
      await releaseClaim(work.db, claim);
      return again(message, backoffSeconds(tries));
    }
    // A passing failure keeps what was uploaded: a retry goes on from there.
    if (!failure.isPassing) {
      await keepClaim(work.db, claim);
      await cleanUpNow(work);
    }
    await failExport(work.db, claim, failure, failure.isPassing);
    return { message, to: "dead-letter", body: message.body, reason: failure.message };
  } catch (second) {
    if (second instanceof ExportLost) return await letGo(work, second);
    // Not even that can be written down: the lease runs out, and the message comes again.
    logWork(work, "failed_try", { reason: reasonOf(second), tries: row.tries });
    return again(message, backoffSeconds(row.tries));
  }
}

const backoffSeconds = (tries: number) => Math.round(2 ** tries * (1 + Math.random()));

/** While another works on the export, what S3 has of it is that one's; once it is over, what is left is this one's. */
async function letGo(work: Work, { to }: ExportLost): Promise<Outcome> {
  logWork(work, to === "cancel" ? "cancelled" : "overtaken", {});
  const row = await readWork(work.db, work.claim);
  if (row && isOver(row)) await cleanUp(work, row);
  return { message: work.message, to: "delete" };
}

/** Cleans up behind the export as it is now: this slice may have begun the upload, or made the file of it. */
async function cleanUpNow(work: Work): Promise<void> {
  const row = await readWork(work.db, work.claim);
  if (row) await cleanUp(work, row);
}

/**
 * Removes what S3 has of an export and no one needs: of one that was cancelled everything, else what is not
 * its file. Should S3 not answer, the bucket's lifecycle rules do so. One that failed may be retried: it keeps
 * its upload.
 */
async function cleanUp({ s3, logger }: ExportTools, row: ExportRow): Promise<void> {
  if (row.status === "FAILED") return;
  const key = row.objectKey ?? exportKey(row, row.attempt);
  try {
    if (row.status === "CANCELLED") await removeExport(s3, key, row.uploadId);
    else await removeUnfinished(s3, key, row.uploadId);
  } catch (error) {
    logger.warning("abort_failed", { export_id: row.id, reason: reasonOf(error) });
  }
}

function logWork(work: Work, event: string, fields: Record<string, unknown>): void {
  const isBad = event === "failed_try" || event === "restarted";
  work.logger[isBad ? "warning" : "info"](`export_${event}`, {
    request_id: work.content.request_id,
    tenant_id: work.content.tenant_id,
    export_id: work.content.export_id,
    message_id: work.message.messageId,
    receive_count: work.message.receiveCount,
    queue_ms: queuedMs(work.message, work.began),
    ...hopTimes(),
    ...fields,
  });
}
