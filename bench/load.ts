import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { readResponse, type HttpResponse } from "./http-text.ts";
import { busyBetween, cpuSeconds, machineTime } from "./process-cpu.ts";
import { latencyOf } from "./statistics.ts";

const loadJob = z.object({
  port: z.int(),
  connections: z.int().positive(),
  /** Between an answer and the connection's next request. */
  pauseMs: z.number().nonnegative().optional(),
  warmUpMs: z.number().nonnegative(),
  measureMs: z.number().positive(),
  /** Whole HTTP requests, sent in turn. */
  requests: z.array(z.string()).min(1),
  status: z.int(),
  /** Another one that is as good. */
  orStatus: z.int().optional(),
  /** One that is neither measured nor wrong. */
  refusedStatus: z.int().optional(),
  /** What every body has to hold; empty for anything. */
  contains: z.string(),
  /** Processes whose CPU time is wanted. */
  pids: z.array(z.int()),
});
export type LoadJob = z.infer<typeof loadJob>;

export const loadResult = z.object({
  seconds: z.number(),
  /** Answered as they should be, and begun after the warm-up. */
  requests: z.int(),
  latencyMs: z.object({ p50: z.number(), p95: z.number(), p99: z.number() }).optional(),
  /** Of the same window: answered with refusedStatus, or cut off where that may be. */
  refused: z.int(),
  errors: z.int(),
  firstError: z.string().optional(),
  cpuSeconds: z.array(z.number().nullable()),
  /** The part of all cores that was busy, with this and with anything else on the machine. */
  busy: z.number(),
});
export type LoadResult = z.infer<typeof loadResult>;

const giveUpMs = 30_000;

/** A connection with one request under way at most. */
class Connection {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #answer: PromiseWithResolvers<HttpResponse> | undefined;
  #broken: Error | undefined;

  constructor(port: number) {
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true, timeout: giveUpMs });
    this.#socket.on("data", (part) => this.#take(part));
    this.#socket.on("timeout", () => this.#fail(new Error(`no answer in ${giveUpMs} ms`)));
    this.#socket.on("error", (error) => this.#fail(error));
    this.#socket.on("close", () => this.#fail(new Error("the connection was closed")));
  }

  get isBroken(): boolean {
    return this.#broken !== undefined;
  }

  exchange(request: Buffer): Promise<HttpResponse> {
    this.#answer = Promise.withResolvers<HttpResponse>();
    if (this.#broken) this.#answer.reject(this.#broken);
    else this.#socket.write(request);
    return this.#answer.promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(part: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? part : Buffer.concat([this.#bytes, part]);
    try {
      const response = readResponse(this.#bytes);
      if (!response) return;
      this.#bytes = Buffer.alloc(0);
      this.#answer?.resolve(response);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #fail(error: Error): void {
    this.#broken ??= error;
    this.#answer?.reject(error);
    this.#socket.destroy();
  }
}

/**
 * A closed loop: each connection sends its next request as soon as it has the answer to the last. Of the
 * measured window are the requests that end in it.
 */
export async function runLoad(job: LoadJob): Promise<LoadResult> {
  const requests = job.requests.map((text) => Buffer.from(text));
  const times: number[] = [];
  let errors = 0;
  let refused = 0;
  let firstError: string | undefined;
  let sent = 0;
  const measureFrom = performance.now() + job.warmUpMs;
  const end = measureFrom + job.measureMs;

  const isMeasured = (now: number) => now >= measureFrom && now < end;
  const isGood = (status: number) => status === job.status || status === job.orStatus;
  const fail = (reason: string): void => {
    errors += 1;
    firstError ??= reason.slice(0, 500);
  };
  const loop = async (): Promise<void> => {
    let connection = new Connection(job.port);
    while (performance.now() < end) {
      const request = requests[sent++ % requests.length] ?? Buffer.alloc(0);
      // A server that refuses without reading the body closes the connection.
      if (connection.isBroken) connection = new Connection(job.port);
      const began = performance.now();
      try {
        const { status, body } = await connection.exchange(request);
        const now = performance.now();
        if (status === job.refusedStatus) refused += isMeasured(now) ? 1 : 0;
        else if (!isGood(status) || !body.includes(job.contains)) fail(`${status} ${body}`);
        else if (isMeasured(now)) times.push(now - began);
        if (job.pauseMs !== undefined) await sleep(job.pauseMs);
      } catch (error) {
        // Who refuses a request without reading its body may close before all of it was sent.
        if (job.refusedStatus !== undefined && connection.isBroken)
          refused += isMeasured(performance.now()) ? 1 : 0;
        else fail(String(error));
        await sleep(100);
      }
    }
    connection.close();
  };
  const loops = Array.from({ length: job.connections }, loop);
  await sleep(Math.max(0, measureFrom - performance.now()));
  const before = job.pids.map(cpuSeconds);
  const machineBefore = machineTime();
  const began = performance.now();
  await sleep(Math.max(0, end - performance.now()));
  const after = job.pids.map(cpuSeconds);
  const busy = busyBetween(machineBefore, machineTime());
  const seconds = (performance.now() - began) / 1000;
  await Promise.all(loops);
  const latencyMs = latencyOf(times);
  return {
    seconds,
    requests: times.length,
    refused,
    errors,
    busy,
    cpuSeconds: after.map((used, n) => {
      const first = before[n];
      return used === undefined || first === undefined ? null : used - first;
    }),
    ...(latencyMs ? { latencyMs } : {}),
    ...(firstError === undefined ? {} : { firstError }),
  };
}

// A process of its own: in the caller's, its work would hold up the SQL-over-HTTP endpoint.
if (import.meta.main) {
  process.on("message", (message) => {
    void runLoad(loadJob.parse(message)).then((result) => process.send?.(result));
  });
  process.once("disconnect", () => process.exit());
}
