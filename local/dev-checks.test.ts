import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { checkDisk, checkNode, checkPort, parsePort, removeData } from "./dev-checks.ts";
import { freePort, isPortFree } from "./ports.ts";

const statfs = vi.hoisted(() => vi.fn<() => Promise<{ bavail: number; bsize: number }>>());
vi.mock("node:fs/promises", async (original) => ({ ...(await original<object>()), statfs }));

test("a port in use is named, with what to do", async () => {
  const port = await freePort();
  await expect(checkPort(port)).resolves.toBeUndefined();
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  expect(await isPortFree(port)).toBe(false);
  await expect(checkPort(port)).rejects.toThrow(
    `Port ${port} is in use by another program: stop it, or take another port with npm run dev -- --port ${port + 1}`,
  );
  server.close();
});

test("a free port is outside the range of outgoing connections", async () => {
  for (let round = 0; round < 20; round += 1) {
    const port = await freePort();
    expect(port).toBeGreaterThanOrEqual(20_000);
    expect(port).toBeLessThan(32_000);
  }
});

test.each(["0", "65536", "80a", "-1", "", "8787.5"])("%j is not a port", (text) => {
  expect(() => parsePort(text)).toThrow("--port is a number from 1 to 65535");
});

test("a number is a port", () => expect(parsePort("8788")).toBe(8788));

test("too old a Node is named", () => {
  for (const version of ["22.18.0", "22.23.3", "24.0.0"]) {
    expect(() => checkNode(version)).not.toThrow();
  }
  for (const version of ["20.20.2", "22.17.1"]) {
    expect(() => checkNode(version)).toThrow(`runs on ${version}`);
  }
});

test("a full disk is named", async () => {
  statfs.mockResolvedValueOnce({ bavail: 100, bsize: 1024 ** 2 });
  await expect(checkDisk("/data")).rejects.toThrow("Only 100 MiB are free on the disk of /data");
  statfs.mockResolvedValueOnce({ bavail: 1024, bsize: 1024 ** 2 });
  await expect(checkDisk("/data")).resolves.toBeUndefined();
});

test("--fresh removes the data and nothing else", async () => {
  const folder = await mkdtemp(join(tmpdir(), "audit-log-fresh-"));
  for (const name of ["postgres", "aws", "opensearch", "workers", "logs", "notes"]) {
    await mkdir(join(folder, name));
  }
  removeData(folder);
  expect(await readdir(folder)).toEqual(["notes"]);
  await rm(folder, { recursive: true });
});
