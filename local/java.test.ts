import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findJava, parseJavaVersion } from "./java.ts";

describe("the version of a Java", () => {
  test.each([
    ['openjdk version "17.0.15" 2025-04-15', "17.0.15", 17],
    ['openjdk version "21" 2023-09-19 LTS', "21", 21],
    ['openjdk version "26-ea" 2026-03-17', "26", 26],
    ['java version "1.8.0_292"\nJava(TM) SE Runtime Environment', "1.8.0_292", 8],
    ['IMPLEMENTOR="Eclipse Adoptium"\nJAVA_VERSION="25.0.3"\n', "25.0.3", 25],
    ['Picked up JAVA_TOOL_OPTIONS: -Dx\nopenjdk version "11.0.2"', "11.0.2", 11],
  ])("is read from %j", (text, version, major) => {
    expect(parseJavaVersion(text)).toEqual({ version, major });
  });

  test("is unknown where there is none", () => {
    expect(parseJavaVersion("command not found")).toBeUndefined();
    expect(parseJavaVersion("")).toBeUndefined();
  });
});

describe("the newest Java", () => {
  let folder: string;

  async function install(name: string, release: string | undefined): Promise<string> {
    const home = join(folder, name);
    await mkdir(join(home, "bin"), { recursive: true });
    const java = join(home, "bin", "java");
    await writeFile(java, `#!/bin/sh\necho 'openjdk version "99.0.1"' >&2\n`);
    await chmod(java, 0o755);
    if (release) await writeFile(join(home, "release"), `JAVA_VERSION="${release}"\n`);
    return home;
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "audit-log-java-"));
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("is taken, wherever it was found", async () => {
    const old = await install("old", "97.0.2");
    const newer = await install("newer", "97.0.10");
    const found = findJava({ JAVA_HOME: old, PATH: `/nowhere:${join(newer, "bin")}` });
    expect(found).toEqual({ home: newer, version: "97.0.10", major: 97 });
  });

  test("is asked for its version where it has no release file", async () => {
    const home = await install("silent", undefined);
    expect(findJava({ JAVA_HOME: home })).toEqual({ home, version: "99.0.1", major: 99 });
  });
});
