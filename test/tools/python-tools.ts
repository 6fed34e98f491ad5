import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startChild } from "../../local/child.ts";
import { cacheFolder } from "../../local/opensearch-jars.ts";

const requirementsFile = fileURLToPath(new URL("requirements.txt", import.meta.url));
const installTimeoutMs = 5 * 60_000;
const runTimeoutMs = 60_000;
/** What the packages of requirements.txt ask for. */
const leastPython = [3, 11] as const;

/** The interpreter that has the packages of requirements.txt. Modules are run as `python -m NAME`. */
export type PythonTools = { python: string };

/**
 * The tests' tools in Python (moto, cfn-lint, Schemathesis, openapi-python-client), installed once per user and list of versions, beside the
 * jars of OpenSearch. An interrupted install never counts, and of two at a time the first wins.
 *
 * @throws with `CI` set, where they cannot be had
 */
export async function pythonTools(
  environment: NodeJS.ProcessEnv = process.env,
): Promise<PythonTools | { missing: string }> {
  const found = await findOrInstall(environment).catch((error: unknown) => ({
    missing: error instanceof Error ? error.message : String(error),
  }));
  if ("missing" in found && environment["CI"])
    throw new Error(`CI must have the tests' tools in Python: ${found.missing}`);
  return found;
}

async function findOrInstall(
  environment: NodeJS.ProcessEnv,
): Promise<PythonTools | { missing: string }> {
  const version = await run("python3", [
    "-c",
    "import sys, venv, ensurepip; print(*sys.version_info[:2])",
  ]).catch(() => "");
  const [major = 0, minor = 0] = version.trim().split(" ").map(Number);
  if (major !== leastPython[0] || minor < leastPython[1])
    return { missing: `needs python3 of ${leastPython.join(".")} or newer, with venv and pip` };

  const requirements = await readFile(requirementsFile);
  const hash = createHash("sha256").update(requirements).digest("hex").slice(0, 12);
  const cache = cacheFolder(environment);
  const folder = join(cache, `python-tools-${major}.${minor}-${hash}`);
  const tools = { python: join(folder, "bin", "python") };
  const isThere = () =>
    stat(folder).then(
      () => true,
      () => false,
    );
  if (await isThere()) return tools;

  await mkdir(cache, { recursive: true });
  // The name by which openSearchJars knows what an interrupted download has left.
  const half = await mkdtemp(join(cache, "download-"));
  try {
    await run("python3", ["-m", "venv", half], installTimeoutMs);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"];
    const python = join(half, "bin", "python");
    await run(python, [...pip, "--no-compile", "-r", requirementsFile], installTimeoutMs);
    // Its scripts name the old folder; its interpreter does not mind.
    await rename(half, folder).catch(async (error: unknown) => {
      if (!(await isThere())) throw error;
    });
  } finally {
    await rm(half, { recursive: true, force: true });
  }
  return tools;
}

/** Runs a program to its end. @returns its output. @throws with its last lines where it fails or takes too long */
export async function run(
  program: string,
  args: string[],
  timeoutMs = runTimeoutMs,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const lines: string[] = [];
  const child = await startChild(program, args, { env, onLine: (line) => lines.push(line) });
  const timer = setTimeout(() => void child.stop(), timeoutMs);
  const end = await child.exited;
  clearTimeout(timer);
  if (end !== "exit code 0") throw new Error(`${program} failed (${end}):\n${child.tail()}`);
  return lines.join("\n");
}
