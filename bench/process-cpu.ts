import { readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Linux counts in hundredths of a second (USER_HZ) on every system that Node runs on. */
const ticksPerSecond = 100;

/** User and system time in a line of /proc/PID/stat (proc(5)), in seconds. */
export function cpuSecondsIn(stat: string): number | undefined {
  // The program's name, in brackets, may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isNaN(ticks) ? undefined : ticks / ticksPerSecond;
}

/** CPU time that a process has used, in seconds; undefined where the system has no /proc. */
export function cpuSeconds(pid: number): number | undefined {
  try {
    return cpuSecondsIn(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

export type MachineTime = { busy: number; all: number };

/** What all cores have done since the machine started, in milliseconds, whoever asked for it. */
export function machineTime(): MachineTime {
  let [busy, all] = [0, 0];
  for (const { times } of cpus()) {
    const sum = Object.values(times).reduce((total, time) => total + time, 0);
    all += sum;
    busy += sum - times.idle;
  }
  return { busy, all };
}

/** The part of all cores that was busy between two moments, from 0 to 1. */
export function busyBetween(before: MachineTime, after: MachineTime): number {
  const all = after.all - before.all;
  return all > 0 ? (after.busy - before.busy) / all : 0;
}
