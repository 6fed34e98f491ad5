import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import {
  startDatabase,
  startQueuesAndObjects,
  startSearch,
  type Parts,
  type Settings,
} from "./stack-parts.ts";
import {
  LOCAL_HASH_SECRET,
  LOCAL_JWT_SECRET,
  LOCAL_METRICS_TOKEN,
  givenSettings,
} from "./stack-settings.ts";

export type StackOptions = {
  /** Where the parts keep their data and logs. */
  dataDir: string;
  /** false: Postgres' data is removed at the end, queues and objects are in memory. */
  persistent: boolean;
  /** Gives up durability for speed: for tests. */
  fast?: boolean;
  /** The caller's settings; what is set here is used instead of the part that it names. */
  environment?: NodeJS.ProcessEnv;
  onProgress?: (text: string) => void;
};

export type Stack = {
  /** Every variable that the Workers need. */
  env: Record<string, string>;
  /** Why search comes from Postgres, where it does. */
  searchNote?: string;
  /** Says which part ended by itself, and how; pending as long as all run. */
  broken: Promise<string>;
  stop(): Promise<void>;
};

/**
 * Starts what the Workers talk to, on loopback, and brings the database's schema up to date. On any
 * failure everything that was started is stopped again before it throws.
 */
export async function startBackends(options: StackOptions): Promise<Stack> {
  const environment = options.environment ?? process.env;
  await mkdir(join(options.dataDir, "logs"), { recursive: true });
  const stops: (() => Promise<void>)[] = [];
  const broken = Promise.withResolvers<string>();
  let stopping = false;
  const parts: Parts = {
    environment,
    options,
    progress: options.onProgress ?? (() => {}),
    started(name, part) {
      stops.push(() => part.stop());
      void part.exited?.then((how) => {
        if (!stopping) broken.resolve(`${name} ended by itself (${how}):\n${part.tail?.() ?? ""}`);
        return how;
      });
    },
  };
  const stop = async (): Promise<void> => {
    stopping = true;
    await Promise.allSettled(stops.splice(0).map((end) => end()));
  };
  const [database, aws, search] = await Promise.allSettled([
    startDatabase(parts),
    startQueuesAndObjects(parts),
    startSearch(parts),
  ]);
  if (database.status === "rejected" || aws.status === "rejected" || search.status === "rejected") {
    await stop();
    const failed = [database, aws, search].find((part) => part.status === "rejected");
    throw failed?.reason;
  }
  const env: Settings = {
    JWT_SECRET: LOCAL_JWT_SECRET,
    JWT_ALGORITHM: "HS256",
    DEFAULT_ROLE: "writer,auditor",
    HASH_SECRET: LOCAL_HASH_SECRET,
    LOG_LEVEL: "INFO",
    METRICS_TOKEN: LOCAL_METRICS_TOKEN,
    ...givenSettings(environment),
    ...database.value,
    ...aws.value,
    ...search.value.settings,
  };
  const { note } = search.value;
  return { env, broken: broken.promise, stop, ...(note ? { searchNote: note } : {}) };
}
