import { spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { createWriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { stripVTControlCharacters } from "node:util";
import { guard, unguard } from "./watchdog.ts";

const TAIL_LINES = 15;

export type ChildOptions = {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  uid?: number | undefined;
  gid?: number | undefined;
  /** Also writes every line there; emptied at the start. */
  logFile?: string | undefined;
  onLine?: ((line: string) => void) | undefined;
  /** What asks this program to end by itself. */
  stopSignal?: NodeJS.Signals;
  /** How long it may take to end by itself before it is killed; 5 s when absent. */
  graceMs?: number;
  /** Opens a channel that tells the child when this process is gone. */
  ipc?: boolean;
};

/** What runs in a process of its own. */
export type Running = {
  /** How it ended, once it has; never rejects. */
  exited: Promise<string>;
  /** Its last lines of output. */
  tail(): string;
};

export type Child = Running & {
  pid: number;
  process: ChildProcess;
  running(): boolean;
  /** Asks it to end, and kills its whole process group when it does not in time. */
  stop(): Promise<void>;
};

const children = new Set<Child>();

/** Stops whatever still runs, also what a start that was broken off has left. */
export async function stopAllChildren(): Promise<void> {
  await Promise.all([...children].map((child) => child.stop()));
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // The group is gone already.
  }
}

/**
 * Starts a program in a process group of its own, so that Ctrl-C in the terminal reaches only this
 * process, which then stops the parts in order. Rejects when the program cannot be started.
 */
export async function startChild(
  command: string,
  args: string[],
  options: ChildOptions = {},
): Promise<Child> {
  const stopSignal = options.stopSignal ?? "SIGTERM";
  const stdio: StdioOptions = options.ipc
    ? ["ignore", "pipe", "pipe", "ipc"]
    : ["ignore", "pipe", "pipe"];
  const child = spawn(command, args, {
    detached: true,
    stdio,
    cwd: options.cwd ?? "/",
    env: options.env ?? process.env,
    ...(options.uid === undefined ? {} : { uid: options.uid }),
    ...(options.gid === undefined ? {} : { gid: options.gid }),
  });
  const log = options.logFile ? createWriteStream(options.logFile) : undefined;
  log?.on("error", () => {});
  const lines: string[] = [];
  const { stdout, stderr } = child;
  for (const stream of [stdout, stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on("line", (raw) => {
      const line = stripVTControlCharacters(raw);
      lines.push(line);
      if (lines.length > TAIL_LINES) lines.shift();
      log?.write(`${line}\n`);
      options.onLine?.(line);
    });
  }
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", reject);
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`${command} did not start.`);
  child.on("error", () => {});
  guard(pid, stopSignal);
  let alive = true;
  const atExit = (): void => signalGroup(pid, stopSignal);
  process.once("exit", atExit);
  const exited = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => {
      alive = false;
      children.delete(started);
      // What it started may outlive it (wrangler leaves workerd when it is killed).
      signalGroup(pid, "SIGKILL");
      unguard(pid);
      process.off("exit", atExit);
      log?.end();
      resolve(signal ? `ended by ${signal}` : `exit code ${code}`);
    });
  });
  const started: Child = {
    pid,
    process: child,
    exited,
    running: () => alive,
    tail: () => lines.join("\n"),
    async stop() {
      if (!alive) return;
      signalGroup(pid, stopSignal);
      const timer = setTimeout(() => signalGroup(pid, "SIGKILL"), options.graceMs ?? 5000);
      await exited;
      clearTimeout(timer);
    },
  };
  children.add(started);
  return started;
}
