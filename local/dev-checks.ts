import { rmSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { join } from "node:path";
import { isPortFree } from "./ports.ts";

const NEEDED_BYTES = 1024 ** 3;

/** A reason not to start that is the user's to solve: printed without a stack trace. */
export class CannotStart extends Error {}

export function checkNode(version = process.versions.node): void {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 22 || (major === 22 && minor >= 18)) return;
  throw new CannotStart(
    `This needs Node 22.18 or newer and runs on ${version}: start it with npm run dev after npm install, which brings its own.`,
  );
}

export async function checkDisk(folder: string): Promise<void> {
  const disk = await statfs(folder);
  const free = disk.bavail * disk.bsize;
  if (free >= NEEDED_BYTES) return;
  throw new CannotStart(
    `Only ${Math.round(free / 1024 ** 2)} MiB are free on the disk of ${folder}: PostgreSQL and OpenSearch need 1 GiB.`,
  );
}

export async function checkPort(port: number): Promise<void> {
  if (await isPortFree(port)) return;
  throw new CannotStart(
    `Port ${port} is in use by another program: stop it, or take another port with npm run dev -- --port ${port + 1}`,
  );
}

/** @throws CannotStart when it is not a port. */
export function parsePort(text: string): number {
  const port = Number(text);
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port;
  throw new CannotStart(`--port is a number from 1 to 65535, not ${text}`);
}

/** Removes the data, not what else lies there. */
export function removeData(stateDir: string): void {
  for (const part of ["postgres", "aws", "opensearch", "workers", "logs"]) {
    rmSync(join(stateDir, part), { recursive: true, force: true });
  }
}
