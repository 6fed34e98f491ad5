import { type Metric, type MetricName, metrics } from "../../platform/metric-names.ts";

/** A value of a metric, for one set of its labels. */
export type Sample = { name: MetricName; labels?: Record<string, string>; value: number };

/**
 * Samples in the text format of Prometheus, version 0.0.4: the metrics in the order of their list, each with
 * its HELP and TYPE. One that has no sample is left out.
 */
export function metricsText(samples: readonly Sample[]): string {
  const byName = Map.groupBy(samples, (sample) => sample.name);
  const all: [string, Metric, readonly Sample[]][] = Object.entries(metrics).map(
    ([name, metric]) => [name, metric, byName.get(name as MetricName) ?? []],
  );
  return all
    .filter(([, , found]) => found.length > 0)
    .map(([name, { help, type }, found]) => {
      const head = `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`;
      return head + found.map(lineOf).join("");
    })
    .join("");
}

function lineOf({ name, labels = {}, value }: Sample): string {
  const pairs = Object.entries(labels).map(
    ([label, text]) => `${label}="${escaped(text).replaceAll('"', String.raw`\"`)}"`,
  );
  return `${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}\n`;
}

const escaped = (text: string) =>
  text.replaceAll("\\", String.raw`\\`).replaceAll("\n", String.raw`\n`);
