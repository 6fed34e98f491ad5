import { chmod, mkdir, mkdtemp, readdir, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { findJava } from "./java.ts";
import { cacheFolder, openSearchJars, runnerVersion } from "./opensearch-jars.ts";
import { startOpenSearch, type OpenSearch } from "./opensearch.ts";

vi.mock("./java.ts", { spy: true });

const java = findJava();
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-opensearch-"));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  await rm(folder, { recursive: true, force: true });
});

/** A `mvn` that does this instead, first on the PATH, and a cache of its own. */
async function maven(script: string): Promise<void> {
  const bin = join(folder, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "mvn"), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, "mvn"), 0o755);
  vi.stubEnv("PATH", `${bin}:/usr/bin:/bin`);
  vi.stubEnv("XDG_CACHE_HOME", join(folder, "cache"));
}

const java25 = { home: "/jdk", version: "25.0.3", major: 25 };
const copyJar = `for a in "$@"; do case $a in -DoutputDirectory=*) out=\${a#*=}; esac; done
mkdir -p "$out"; sleep 0.2; echo x > "$out/opensearch.jar"`;

describe("the release to run", () => {
  test.each([
    [26, "3.8.0.0"],
    [21, "3.8.0.0"],
    [20, "2.19.1.0"],
    [17, "2.19.1.0"],
    [16, undefined],
    [8, undefined],
  ])("on Java %i is %s", (major, version) => expect(runnerVersion(major)).toBe(version));
});

describe("the jars", () => {
  test("are downloaded once, also by two at a time", async () => {
    await maven(copyJar);
    const cache = join(folder, "cache", "audit-log-service");
    const interrupted = join(cache, "download-killed");
    await mkdir(interrupted, { recursive: true });
    await utimes(interrupted, 0, 0);
    const progress = vi.fn<(text: string) => void>();
    const both = await Promise.all([
      openSearchJars(java25, "3.8.0.0", progress),
      openSearchJars(java25, "3.8.0.0", progress),
    ]);
    const expected = {
      classpath: join(cache, "opensearch-3.8.0.0", "jars", "*"),
      archive: join(cache, "opensearch-3.8.0.0-java-25.0.3.jsa"),
    };
    expect(both).toEqual([expected, expected]);
    expect(progress).toHaveBeenCalledTimes(2);
    expect(await openSearchJars(java25, "3.8.0.0", progress)).toEqual(expected);
    expect(progress).toHaveBeenCalledTimes(2);
    expect(await readdir(cache)).toEqual(["opensearch-3.8.0.0"]);
  });

  test("of a download that failed do not count, and the reason is said", async () => {
    await maven(`${copyJar}\necho 'Could not transfer artifact: connection refused'; exit 1`);
    const answer = await openSearchJars(java25, "3.8.0.0", () => {});
    expect(answer).toEqual({
      missing: expect.stringMatching(
        /Maven could not download OpenSearch \(exit code 1\)[^]*connection refused/,
      ),
    });
    expect(await readdir(join(folder, "cache", "audit-log-service"))).toEqual([]);
  });

  test("need Maven, which is said where it is missing", async () => {
    vi.stubEnv("PATH", join(folder, "nothing"));
    vi.stubEnv("XDG_CACHE_HOME", folder);
    expect(await openSearchJars(java25, "3.8.0.0", () => {})).toEqual({
      missing: expect.stringContaining("Install Maven"),
    });
  });

  test("are in the user's cache", () => {
    expect(cacheFolder({ XDG_CACHE_HOME: "/cache" })).toBe("/cache/audit-log-service");
    expect(cacheFolder({})).toMatch(/\.cache\/audit-log-service$/);
  });
});

describe("without a Java that can run it", () => {
  test.each([
    [undefined, "there is no Java here"],
    [{ home: "/jdk", version: "11.0.2", major: 11 }, "only Java 11 is here"],
  ])("%j, it says what to install", async (found, reason) => {
    vi.mocked(findJava).mockReturnValueOnce(found);
    expect(await startOpenSearch({ dataDir: folder })).toEqual({
      missing: `Install a JDK 21 or newer (${reason}), or set OPENSEARCH_HOST.`,
    });
  });

  test("a port that it cannot take is refused", async () => {
    await expect(startOpenSearch({ dataDir: folder, port: 9300 })).rejects.toThrow("at most 9299");
  });
});

async function start(): Promise<OpenSearch> {
  const server = await startOpenSearch({ dataDir: folder, fast: true });
  if ("missing" in server) throw new Error(server.missing);
  return server;
}

describe.skipIf(!java || !runnerVersion(java.major))("the server", () => {
  test("keeps its documents over a restart, and needs no replica to be green", async () => {
    const first = await start();
    expect(first.version).toMatch(/^[23]\./);
    await fetch(`${first.url}/kept/_doc/1`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: '{"word":"kept"}',
    });
    await first.stop();
    const second = await start();
    const health = await fetch(`${second.url}/_cluster/health`);
    expect(await health.json()).toMatchObject({ status: "green", active_shards: 1 });
    const found = await fetch(`${second.url}/kept/_doc/1`);
    expect(await found.json()).toMatchObject({ _source: { word: "kept" } });
    await second.stop();
  }, 90_000);

  test("that does not start says how it ended", async () => {
    await mkdir(join(folder, "conf"));
    await writeFile(join(folder, "data"), "a file where its folder would be");
    await expect(startOpenSearch({ dataDir: folder, fast: true })).rejects.toThrow(
      /OpenSearch did not start \(exit code \d+\)/,
    );
  }, 90_000);
});
