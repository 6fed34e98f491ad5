import type { Report } from "./harness.ts";

const mostShown = 10;

export function isBroken({ checks }: Report): boolean {
  return checks.some(({ broken }) => broken.length > 0);
}

/** One line for each invariant, and a last one that sums up. */
export function reportText(report: Report): string {
  const lines = report.checks.flatMap(({ name, checked, broken }) =>
    broken.length === 0
      ? [`  held    ${name} (${checked})`]
      : [
          `  BROKEN  ${name}: ${broken.length} of ${checked}`,
          ...broken.slice(0, mostShown).map((one) => `          ${one}`),
        ],
  );
  return [...lines, summaryLine(report)].join("\n");
}

function summaryLine(report: Report): string {
  const { seed, seconds, settledMs, logs, requests, faults, kills, retries, checks } = report;
  const held = checks.filter(({ broken }) => broken.length === 0).length;
  return [
    `seed ${seed}: ${held} of ${checks.length} invariants held`,
    `${seconds} s of faults and ${(settledMs / 1000).toFixed(0)} s to settle`,
    `${logs.acknowledged} logs acknowledged, ${logs.stored} stored`,
    `${total(requests)} requests (${listed(requests)})`,
    `${total(faults)} faults (${listed(faults)})`,
    `${kills} kills`,
    `retries (${listed(retries)})`,
  ].join("; ");
}

function total(counts: ReadonlyMap<string, number>): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

function listed(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .toSorted(([one], [other]) => one.localeCompare(other))
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
