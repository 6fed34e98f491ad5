import { z } from "zod";
import { inParallel } from "./demo-client.ts";
import { percentiles, printRow } from "./demo-run.ts";
import type { DemoRun } from "./demo-run.ts";

const BATCH = 100;
const SINGLES_AT_ONCE = 8;
const BATCHES_AT_ONCE = 2;

const created = z.object({ data: z.object({ id: z.string(), tenant_id: z.string() }) });
const createdAll = z.object({
  data: z.object({ affected_rows: z.number(), log_ids: z.array(z.string()) }),
});

/** Every second log goes alone and the others in batches, so that both ways get every kind of event. */
export async function sendLogs(run: DemoRun): Promise<void> {
  await sendOneByOne(
    run,
    run.entries.filter((_, index) => index % 2 === 0),
  );
  await sendInBulk(
    run,
    run.entries.filter((_, index) => index % 2 === 1),
  );
  if (run.stored.ids.size !== run.entries.length) {
    run.problems.push(`${run.entries.length} were sent, and ${run.stored.ids.size} ids came back`);
  }
}

async function sendOneByOne(run: DemoRun, entries: DemoRun["entries"]): Promise<void> {
  const times: number[] = [];
  let repeats = 0;
  const started = performance.now();
  await inParallel(entries, SINGLES_AT_ONCE, async (body, index) => {
    const idempotencyKey = `${run.id}-single-${index}`;
    const answer = await run.client.request("/logs", created, {
      method: "POST",
      body,
      idempotencyKey,
    });
    run.stored.ids.add(answer.data.data.id);
    run.stored.tenantId = answer.data.data.tenant_id;
    run.stored.lastAnswerAt = performance.now();
    times.push(answer.ms);
    repeats += answer.attempts - 1;
  });
  report("POST /logs", entries.length, SINGLES_AT_ONCE, times, repeats, started);
}

async function sendInBulk(run: DemoRun, entries: DemoRun["entries"]): Promise<void> {
  const batches = Array.from({ length: Math.ceil(entries.length / BATCH) }, (_, index) =>
    entries.slice(index * BATCH, (index + 1) * BATCH),
  );
  const times: number[] = [];
  let repeats = 0;
  const started = performance.now();
  await inParallel(batches, BATCHES_AT_ONCE, async (logs, index) => {
    const idempotencyKey = `${run.id}-bulk-${index}`;
    const answer = await run.client.request("/logs/bulk", createdAll, {
      method: "POST",
      body: { logs },
      idempotencyKey,
    });
    for (const id of answer.data.data.log_ids) run.stored.ids.add(id);
    run.stored.lastAnswerAt = performance.now();
    times.push(answer.ms);
    repeats += answer.attempts - 1;
  });
  report("POST /logs/bulk", entries.length, BATCHES_AT_ONCE, times, repeats, started);
}

function report(
  route: string,
  logs: number,
  atOnce: number,
  times: readonly number[],
  repeats: number,
  started: number,
): void {
  const again = repeats === 0 ? "" : `, ${repeats} repeated`;
  printRow(
    `${route}, ${atOnce} at a time`,
    `${logs} logs, ${times.length} requests, ${percentiles(times)}${again}`,
    performance.now() - started,
  );
}
