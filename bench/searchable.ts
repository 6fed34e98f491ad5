import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./client.ts";
import { makeEntry } from "./entries.ts";
import { latencyOf, type Latency } from "./statistics.ts";

const pollEveryMs = 50;
/** Longer than the indexer's refresh interval: with less, one probe would wait for the refresh of the last. */
const pauseMs = 1_100;
const giveUpMs = 20_000;

export type Searchable = {
  probes: number;
  answeredMs: Latency;
  searchableMs: Latency;
  /** Each probe, in their order. */
  eachMs: number[];
};

/**
 * How long a log takes, on a system that does nothing else, until its POST is answered, and from then
 * until a list finds it. The second is seen in steps of 50 ms.
 */
export async function timeToSearchable(
  client: Client,
  probes: number,
  random: () => number,
): Promise<Searchable> {
  const answered: number[] = [];
  const searchable: number[] = [];
  for (let n = 0; n < probes; n++) {
    await sleep(pauseMs);
    const requestId = `probe-${n}-${Math.floor(random() * 2 ** 32)}`;
    const began = performance.now();
    await client.create({ ...makeEntry(random), request_id: requestId });
    const stored = performance.now();
    answered.push(stored - began);
    while ((await client.countOfRequest(requestId)) === 0) {
      if (performance.now() - stored > giveUpMs) {
        throw new Error(`A log was not searchable after ${giveUpMs / 1000} s.`);
      }
      await sleep(pollEveryMs);
    }
    searchable.push(performance.now() - stored);
  }
  const [answeredMs, searchableMs] = [latencyOf(answered), latencyOf(searchable)];
  if (!answeredMs || !searchableMs) throw new RangeError("At least one probe is needed.");
  return { probes, answeredMs, searchableMs, eachMs: searchable.map(Math.round) };
}
