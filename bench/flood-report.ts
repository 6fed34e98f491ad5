import { floodPauseMs, type FloodReport, type Seen } from "./flood.ts";
import { bulkSize } from "./scenarios.ts";
import { type Latency, median } from "./statistics.ts";
import { alignColumns, ms, percent, whole } from "./text-table.ts";

const keys = ["p50", "p95", "p99"] as const satisfies (keyof Latency)[];

export function floodLines({ rounds, unlimited, connections }: FloodReport): string[] {
  const alone = rounds.map((round) => round.alone);
  const limited = rounds.map((round) => round.limited);
  const low = rounds.map((round) => round.low);
  const answered = rounds.map((round) => round.answered);
  const row = (name: string, seen: readonly Seen[], base: readonly Seen[]): string[] => [
    name,
    ...keys.map((key) => ms(median(seen.map(({ latencyMs }) => latencyMs[key])))),
    ...keys.map((key) => median(ratios(seen, base, key)).toFixed(2)),
    cpuOf(seen),
    whole(median(seen.map((one) => one.floodPerSecond))),
    whole(median(seen.map((one) => one.refusedPerSecond))),
  ];
  const besideAnswered = (seen: readonly Seen[]): string =>
    keys
      .map((key) => {
        const all = ratios(seen, answered, key);
        const spread = `${Math.min(...all).toFixed(2)} to ${Math.max(...all).toFixed(2)}`;
        return `${key} ${median(all).toFixed(2)} (${spread})`;
      })
      .join(", ");
  return [
    "",
    ...alignColumns([
      [
        "a quiet tenant",
        ...keys.map((key) => `${key} ms`),
        ...keys.map((key) => `${key} ×`),
        "CPU",
        "flood/s",
        "429/s",
      ],
      row("alone", alone, alone),
      row("beside a flood, tier standard", limited, alone),
      row("beside a flood, tier low", low, alone),
      row("beside one that is only answered", answered, alone),
      row("beside a flood, without limits", [unlimited], alone.slice(-1)),
    ]),
    "",
    "A flood beside one that is only answered, ×:",
    `tier standard ${besideAnswered(limited)};`,
    `tier low ${besideAnswered(low)}.`,
    "",
    `The quiet tenant writes and reads single logs, about 40 a second. The flood: bulks of ${bulkSize} of one caller of`,
    `another tenant, ${connections} at a time, each sent ${floodPauseMs} ms after the last was answered or refused.`,
    "It begins two seconds before what is measured, and has then spent what it may send at once.",
    "Only answered: the same requests, to a Worker in the API's process that refuses without looking.",
    `×: beside alone in the same round. Medians of ${rounds.length} rounds, in brackets the least and the most; without limits`,
    "there is one round. CPU: what the API's process used, of one core.",
  ];
}

function cpuOf(seen: readonly Seen[]): string {
  const known = seen.flatMap(({ apiCpu }) => apiCpu ?? []);
  return known.length === 0 ? "" : percent(median(known));
}

/** Each round is compared with itself: what else the machine did then meets both. */
function ratios(seen: readonly Seen[], base: readonly Seen[], key: keyof Latency): number[] {
  return seen.map(({ latencyMs }, n) => latencyMs[key] / (base[n]?.latencyMs[key] ?? Number.NaN));
}
