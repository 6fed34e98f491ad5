import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

/** What `npm run dev` keeps between runs: data, logs, and what it says of itself while it runs. */
export const STATE_DIR = fileURLToPath(new URL("../.local", import.meta.url));

const lockFormat = z.object({ pid: z.number(), url: z.string() });
const stackFormat = lockFormat.extend({ env: z.record(z.string(), z.string()) });

export type RunningStack = z.infer<typeof stackFormat>;

function readJson(file: string): unknown {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return undefined;
  }
}

/** A process id may belong to another program by now. */
export function isDevProcess(pid: number): boolean {
  if (pid === process.pid) return true;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EPERM")) return false;
  }
  const args = spawnSync("ps", ["-p", String(pid), "-o", "args="], { encoding: "utf8" });
  // Without ps there is no telling: better to say so than to break a running stack.
  return args.error !== undefined || args.stdout.includes("dev.ts");
}

/** The stack that runs in this folder now and is ready; its settings hold keys of this machine only. */
export function readStack(stateDir = STATE_DIR): RunningStack | undefined {
  const { data } = stackFormat.safeParse(readJson(join(stateDir, "stack.json")));
  return data && isDevProcess(data.pid) ? data : undefined;
}

export function writeStack(stack: RunningStack, stateDir = STATE_DIR): void {
  writeFileSync(join(stateDir, "stack.json"), JSON.stringify(stack, null, 2), { mode: 0o600 });
}

export type Lock = { release(): void };

/**
 * Takes the folder for this process, or says who has it. One left behind by a process that was
 * killed is taken over.
 */
export function takeLock(
  url: string,
  stateDir = STATE_DIR,
): Lock | { takenBy: { pid: number; url: string } } {
  mkdirSync(stateDir, { recursive: true });
  const file = join(stateDir, "lock.json");
  const content = JSON.stringify({ pid: process.pid, url });
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      writeFileSync(file, content, { flag: "wx" });
      return {
        release() {
          rmSync(join(stateDir, "stack.json"), { force: true });
          rmSync(file, { force: true });
        },
      };
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
    const { data } = lockFormat.safeParse(readJson(file));
    if (data && data.pid !== process.pid && isDevProcess(data.pid)) return { takenBy: data };
    rmSync(join(stateDir, "stack.json"), { force: true });
    rmSync(file, { force: true });
  }
  throw new Error(`The file ${file} can be neither made nor removed.`);
}
