import { firstIdAt } from "./ids.ts";

/** A tenant's logs of a time: milliseconds since 1970, the first one in it and the last one not. */
export type LogSlice = { tenantId: string; from: number; to: number };

/** What tells two sets of logs apart: their number, and the sum of 31 random bits of each id. */
export type LogSums = { logs: number; check: number };

/** Above this many logs their sum passes 2^53, where doubles are no longer exact. */
const maxSummedLogs = 2 ** 22;

/** 31 random bits of an id, as id_check() of the database has them. */
export function idCheck(id: string): number {
  return Number.parseInt(id.slice(-8), 16) & 0x7fff_ffff;
}

/** Whether two sums are of the same logs; never where they are too large to be exact. */
export function areEqual(one: LogSums, other: LogSums): boolean {
  return one.logs === other.logs && one.check === other.check && one.logs <= maxSummedLogs;
}

/** The first id of a slice, and the first after it. */
export function idBounds(slice: { from: number; to: number }): { fromId: string; toId: string } {
  return { fromId: firstIdAt(slice.from), toId: firstIdAt(slice.to) };
}

/** Cuts a slice into about equal parts, in the order of time; none is shorter than a millisecond. */
export function cutSlice(slice: LogSlice, parts: number): LogSlice[] {
  const step = Math.max(1, Math.ceil((slice.to - slice.from) / parts));
  const cut: LogSlice[] = [];
  for (let from = slice.from; from < slice.to; from += step)
    cut.push({ ...slice, from, to: Math.min(from + step, slice.to) });
  return cut;
}
