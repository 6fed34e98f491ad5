import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { startChild, type Running } from "./child.ts";
import { findJava, type Java } from "./java.ts";
import { openSearchJars, runnerVersion, type Jars } from "./opensearch-jars.ts";

const START_TIMEOUT_MS = 90_000;
/** The runner exits without a word above this. */
const HIGHEST_PORT = 9299;

export type OpenSearchOptions = {
  dataDir: string;
  /** At most 9299; a busy one makes it take the next. A free one when absent. */
  port?: number | undefined;
  onProgress?: ((text: string) => void) | undefined;
  /** Starts faster and runs slower: for tests, not under load. */
  fast?: boolean;
  logFile?: string | undefined;
};

export type OpenSearch = Running & {
  url: string;
  version: string;
  stop(): Promise<void>;
};

const SETTINGS = `
network.host: 127.0.0.1
transport.port: 0
cluster.routing.allocation.disk.threshold_enabled: false
cluster.default_number_of_replicas: 0
gateway.auto_import_dangling_indices: false
`;

const LOGGING = `
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
`;

function javaArguments(java: Java, jars: Jars, options: OpenSearchOptions): string[] {
  const base = options.dataDir;
  const modern = java.major >= 21;
  return [
    "-Xms512m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    ...(options.fast ? ["-XX:TieredStopAtLevel=1"] : []),
    ...(modern
      ? [
          "--enable-native-access=ALL-UNNAMED",
          "-XX:+AutoCreateSharedArchive",
          `-XX:SharedArchiveFile=${jars.archive}`,
          "-Xshare:auto",
          "-Xlog:cds=off",
          "-Xlog:cds+dynamic=off",
        ]
      : []),
    "-Dlog4j2.disable.jmx=true",
    `-Dlog4j.configurationFile=${join(base, "conf", "log4j2.properties")}`,
    "-cp",
    jars.classpath,
    "org.codelibs.opensearch.runner.OpenSearchRunner",
    "-basePath",
    base,
    "-confPath",
    join(base, "conf"),
    "-dataPath",
    join(base, "data"),
    "-logsPath",
    join(base, "logs"),
    "-numOfNode",
    "1",
    "-clusterName",
    "local",
    "-baseHttpPort",
    String(options.port === undefined ? -1 : options.port - 1),
  ];
}

async function ask(url: string, path: string): Promise<unknown> {
  const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(40_000) });
  if (!response.ok) throw new Error(`OpenSearch answered ${path} with ${response.status}.`);
  return await response.json();
}

function versionOf(answer: unknown): string {
  if (typeof answer === "object" && answer !== null && "version" in answer) {
    const { version } = answer;
    if (typeof version === "object" && version !== null && "number" in version) {
      return String(version.number);
    }
  }
  return "unknown";
}

/** OpenSearch itself, on loopback, without security; or a sentence that says what it lacks. */
export async function startOpenSearch(
  options: OpenSearchOptions,
): Promise<OpenSearch | { missing: string }> {
  if (options.port !== undefined && options.port > HIGHEST_PORT) {
    throw new RangeError(`OpenSearch's port is at most ${HIGHEST_PORT}.`);
  }
  const java = findJava();
  const version = java && runnerVersion(java.major);
  if (!java || !version) {
    const found = java ? `only Java ${java.major} is here` : "there is no Java here";
    return { missing: `Install a JDK 21 or newer (${found}), or set OPENSEARCH_HOST.` };
  }
  const jars = await openSearchJars(java, version, options.onProgress ?? (() => {}));
  if ("missing" in jars) return jars;

  const conf = join(options.dataDir, "conf");
  await mkdir(conf, { recursive: true });
  await writeFile(join(conf, "opensearch.yml"), SETTINGS);
  await writeFile(join(conf, "log4j2.properties"), LOGGING);

  const ready = Promise.withResolvers<string>();
  const child = await startChild(
    join(java.home, "bin", "java"),
    javaArguments(java, jars, options),
    {
      cwd: options.dataDir,
      logFile: options.logFile,
      // The first time it writes the shared archive when it ends.
      graceMs: 10_000,
      onLine: (line) => {
        if (!line.includes("HttpServerTransport")) return;
        const port = /publish_address \{127\.0\.0\.1:(\d+)\}/.exec(line)?.[1];
        if (port) ready.resolve(`http://127.0.0.1:${port}`);
      },
    },
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve("no answer in 90 s"), START_TIMEOUT_MS);
  });
  const first = await Promise.race([ready.promise, child.exited, late]);
  clearTimeout(timer);
  try {
    if (!first.startsWith("http:")) throw new Error(first);
    // Of an earlier run there may be indices to open.
    await ask(first, "/_cluster/health?wait_for_status=yellow&timeout=30s");
    return {
      url: first,
      version: versionOf(await ask(first, "/")),
      exited: child.exited,
      tail: child.tail,
      stop: child.stop,
    };
  } catch (error) {
    await child.stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`OpenSearch did not start (${reason}):\n${child.tail()}`, { cause: error });
  }
}
