import "vitest";
import type { StrictS3 } from "./tools/strict-bucket.ts";

declare module "vitest" {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- only an interface can be added to
  export interface ProvidedContext {
    /** The variables of the Workers, pointing at the real parts that this run started. */
    workerEnv: Record<string, string>;
    /** An S3 that checks signatures and lists what is open, or why there is none. */
    strictS3: StrictS3 | { missing: string };
    /** A migrated database for tests that break it. */
    spareDatabaseUrl: string;
    /** A migrated database in which nothing happens but what its one test does. */
    quietDatabaseUrl: string;
    /** Where Prometheus' linter of metrics is, or why there is none. */
    promlint: { url: string } | { missing: string };
    /** Takes connections and never answers. */
    hangingUrl: string;
    /** A host of key sets that answers as it is told: see tools/key-host.ts. */
    keyHostUrl: string;
    /** Why there is no OpenSearch, where there is none. */
    searchMissing: string;
  }
}
