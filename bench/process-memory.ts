import { readFileSync, writeFileSync } from "node:fs";

const kibibyte = 1024;

/** A line `name: n kB` of /proc/PID/status (proc(5)), in bytes. */
export function memoryIn(status: string, name: "VmRSS" | "VmHWM"): number | undefined {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  return found === undefined ? undefined : Number(found) * kibibyte;
}

/** What a process holds now; undefined where the system has no /proc. */
export function residentBytes(pid: number): number | undefined {
  return read(pid, "VmRSS");
}

/** The most that a process has held since `resetPeak`. */
export function peakBytes(pid: number): number | undefined {
  return read(pid, "VmHWM");
}

/** Lets the peak begin at what the process holds now. */
export function resetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // No /proc: then there is no peak to read either.
  }
}

function read(pid: number, name: "VmRSS" | "VmHWM"): number | undefined {
  try {
    return memoryIn(readFileSync(`/proc/${pid}/status`, "utf8"), name);
  } catch {
    return undefined;
  }
}
