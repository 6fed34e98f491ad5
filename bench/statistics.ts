/**
 * The value below which `fraction` of the sorted values lie, by the nearest rank: always one that was
 * measured.
 *
 * @param sorted ascending
 * @param fraction above 0, at most 1
 * @returns undefined where there are no values
 */
export function percentile(sorted: ArrayLike<number>, fraction: number): number | undefined {
  return sorted[Math.max(0, Math.ceil(fraction * sorted.length) - 1)];
}

/** The one in the middle, or the lower one of two; NaN where there are none. */
export function median(values: readonly number[]): number {
  return percentile(Float64Array.from(values).toSorted(), 0.5) ?? Number.NaN;
}

export type Latency = { p50: number; p95: number; p99: number };

/** Percentiles of times in any order and unit. Undefined where nothing was measured. */
export function latencyOf(times: readonly number[]): Latency | undefined {
  const sorted = Float64Array.from(times).toSorted();
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((fraction) => percentile(sorted, fraction));
  if (p50 === undefined || p95 === undefined || p99 === undefined) return undefined;
  return { p50, p95, p99 };
}

/** What one measured window says: rates are per second, CPU is in seconds of one core. */
export type Window = { requests: number; seconds: number; cpuSeconds: number | undefined };

export type Rate = { perSecond: number; cpuMsPerRequest: number | undefined };

export function rateOf({ requests, seconds, cpuSeconds }: Window): Rate {
  return {
    perSecond: requests / seconds,
    cpuMsPerRequest:
      cpuSeconds === undefined || requests === 0 ? undefined : (cpuSeconds * 1000) / requests,
  };
}

export type Comparison = {
  /** Requests per second, as a fraction of the yardstick's. */
  ratio: number;
  /** How many requests of the yardstick one of these takes the place of. */
  costs: number;
  /** The same by CPU time of the Worker's process alone. */
  cpuCosts: number | undefined;
};

/** Compares with the mean of what the yardstick did before and after, so that a slow drift cancels. */
export function compare(measured: Rate, before: Rate, after: Rate): Comparison {
  const yardstick = (before.perSecond + after.perSecond) / 2;
  const { cpuMsPerRequest: cpu } = measured;
  const [cpuBefore, cpuAfter] = [before.cpuMsPerRequest, after.cpuMsPerRequest];
  return {
    ratio: measured.perSecond / yardstick,
    costs: yardstick / measured.perSecond,
    cpuCosts:
      cpu === undefined || cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : cpu / ((cpuBefore + cpuAfter) / 2),
  };
}
