import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startChild } from "./child.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-child-"));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

/** A dead process whose end nobody has taken note of counts as dead. */
function isAlive(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-p", String(pid), "-o", "stat="], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.trimStart().startsWith("Z");
}

test("its lines are kept, written to the log without colours, and told", async () => {
  const lines: string[] = [];
  const logFile = join(folder, "log");
  const child = await startChild("/bin/sh", ["-c", "printf '\\033[31mred\\033[0m\\n'; exit 3"], {
    logFile,
    onLine: (line) => lines.push(line),
  });
  expect(await child.exited).toBe("exit code 3");
  await expect.poll(() => child.tail()).toBe("red");
  expect(lines).toEqual(["red"]);
  await expect.poll(() => readFile(logFile, "utf8")).toBe("red\n");
});

test("a program that is not there is an error, not a crash", async () => {
  await expect(startChild("/no/such/program", [])).rejects.toThrow("ENOENT");
});

test("what it started ends with it, also when it does not listen", async () => {
  const child = await startChild(
    "/bin/sh",
    ["-c", "trap '' TERM; sleep 300 & echo $!; while :; do sleep 1; done"],
    { graceMs: 300 },
  );
  await expect.poll(() => child.tail()).toMatch(/^\d+$/);
  const grandchild = Number(child.tail());
  expect(isAlive(grandchild)).toBe(true);
  await child.stop();
  expect(await child.exited).toBe("ended by SIGKILL");
  await expect.poll(() => isAlive(grandchild)).toBe(false);
  await child.stop();
});

test.each(["SIGKILL", "SIGTERM"] as const)(
  "children end when this process is ended by %s",
  async (signal) => {
    const script = join(folder, "parent.mjs");
    await writeFile(
      script,
      `import { startChild } from ${JSON.stringify(new URL("child.ts", import.meta.url).href)};
       const child = await startChild("/bin/sleep", ["300"]);
       console.log(child.pid);
       setInterval(() => {}, 1000);`,
    );
    const parent = spawn(process.execPath, [script], { stdio: ["ignore", "pipe", "inherit"] });
    const [output] = await once(parent.stdout, "data");
    const pid = Number(String(output));
    expect(isAlive(pid)).toBe(true);
    parent.kill(signal);
    await expect.poll(() => isAlive(pid), { timeout: 5000 }).toBe(false);
  },
);
