import type { Fault, Rule } from "./fault-proxy.ts";
import { pick } from "./make-log.ts";
import type { BackendKind } from "./protocols.ts";

export const backendKinds = ["postgres", "opensearch", "sqs", "s3"] as const;

/** What happens at a moment of the run, in milliseconds from its start. */
export type FaultEvent = { atMs: number } & (
  | { what: "rules"; backend: BackendKind; rules: readonly Rule[] }
  | { what: "refuse" | "accept"; backend: BackendKind }
  | { what: "kill" | "restart" | "crons" }
);

/** A cron's minute passes this often: an hour's sweeps in five minutes. */
const cronEveryMs = 5_000;
/** Between storms the service has time to catch up: some mistakes show only where nothing lags behind. */
const stormMs = { least: 5_000, most: 12_000 };
const calmMs = { least: 5_000, most: 12_000 };
const weatherMs = { least: 1_500, most: 5_000 };
const firstKillMs = { least: 2_000, most: 6_000 };
const killEveryMs = { least: 6_000, most: 14_000 };
const downMs = { least: 100, most: 1_500 };

/** Everything that will go wrong in a run, in the order of time. The same numbers make the same plan. */
export function planFaults(random: () => number, lengthMs: number): FaultEvent[] {
  const between = ({ least, most }: { least: number; most: number }) =>
    least + random() * (most - least);
  const events: FaultEvent[] = [];
  for (let stormAt = 0; stormAt < lengthMs;) {
    const calmAt = stormAt + between(stormMs);
    for (const backend of backendKinds) {
      for (let atMs = stormAt; atMs < calmAt;) {
        const forMs = Math.min(between(weatherMs), calmAt - atMs);
        events.push(...weather(random, backend, atMs, forMs));
        atMs += forMs;
      }
      events.push({ atMs: calmAt, what: "rules", backend, rules: [] });
    }
    stormAt = calmAt + between(calmMs);
  }
  for (let atMs = between(firstKillMs); atMs < lengthMs; atMs += between(killEveryMs)) {
    events.push({ atMs, what: "kill" });
    events.push({ atMs: atMs + between(downMs), what: "restart" });
  }
  for (let atMs = cronEveryMs; atMs < lengthMs; atMs += cronEveryMs)
    events.push({ atMs, what: "crons" });
  return events.toSorted((one, other) => one.atMs - other.atMs);
}

/** One backend for a while: calm, with faults now and then, with one kind of them all the time, or gone. */
function weather(
  random: () => number,
  backend: BackendKind,
  atMs: number,
  forMs: number,
): FaultEvent[] {
  const kind = random();
  if (kind < 0.15) return [{ atMs, what: "rules", backend, rules: [] }];
  if (kind < 0.6) {
    const probability = 0.02 + random() * 0.08;
    const rules = faultsOf(random, backend).map((fault) => ({
      // Few calls have entries.
      probability: fault.kind === "entries" ? 0.3 : probability,
      fault,
    }));
    return [{ atMs, what: "rules", backend, rules }];
  }
  if (kind < 0.9) {
    const rule = {
      probability: 0.3 + random() * 0.4,
      fault: pick(random, faultsOf(random, backend)),
    };
    return [{ atMs, what: "rules", backend, rules: [rule] }];
  }
  return [
    { atMs, what: "refuse", backend },
    { atMs: atMs + forMs * random(), what: "accept", backend },
  ];
}

/** Each kind of fault that the backend knows, once. */
function faultsOf(random: () => number, backend: BackendKind): Fault[] {
  const retryAfter = 1 + Math.floor(random() * 2);
  return [
    { kind: "reset" },
    { kind: "lose-answer" },
    { kind: "truncate" },
    { kind: "answer", status: 429, retryAfter },
    { kind: "answer", status: 500, retryAfter },
    { kind: "answer", status: 503, retryAfter },
    { kind: "delay", ms: 50 + random() ** 3 * longestDelayMs[backend] },
    ...(backend === "sqs" || backend === "opensearch"
      ? [{ kind: "entries", share: 0.2 + random() * 0.5 } as const]
      : []),
  ];
}

/** A little longer than the service waits: its callers give up, and the backend does it all the same. */
const longestDelayMs = { postgres: 11_000, opensearch: 4_000, sqs: 6_500, s3: 3_000 };
