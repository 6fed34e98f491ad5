import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Linux counts in hundredths of a second (USER_HZ) on every system that Node runs on. */
const ticksPerSecond = 100;

/** User and system time in a line of /proc/PID/stat (proc(5)), in seconds. */
export function cpuSecondsIn(stat: string): number | undefined {
  const fields = fieldsOf(stat);
  const ticks = Number(fields[11]) + Number(fields[12]);
  return Number.isNaN(ticks) ? undefined : ticks / ticksPerSecond;
}

/** The fields from the third on. */
function fieldsOf(stat: string): string[] {
  // The program's name, in brackets, may itself hold spaces and brackets.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** CPU time that a process has used, in seconds; undefined where the system has no /proc. */
export function cpuSeconds(pid: number): number | undefined {
  try {
    return cpuSecondsIn(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

/**
 * CPU time of a process and of all that it has started, in seconds: those that have ended count where
 * their parent has taken note.
 */
export function cpuSecondsOfTree(pid: number): number | undefined {
  try {
    const fields = fieldsOf(readFileSync(`/proc/${pid}/stat`, "utf8"));
    const own = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0);
    const below = childrenOf(pid).map((child) => cpuSecondsOfTree(child) ?? 0);
    return below.reduce((sum, seconds) => sum + seconds, own / ticksPerSecond);
  } catch {
    return undefined;
  }
}

/** The process of a program that this one has started: its command line holds `words`. */
export function findChild(words: string): number | undefined {
  return childrenOf(process.pid).find((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(words);
    } catch {
      return false;
    }
  });
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8")
        .split(" ")
        .filter((child) => child !== "")
        .map(Number),
    );
  } catch {
    return [];
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
