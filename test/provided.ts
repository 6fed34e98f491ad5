import type {} from "vitest";

declare module "vitest" {
  export interface ProvidedContext {
    /** The variables of the Workers, pointing at the real parts that this run started. */
    workerEnv: Record<string, string>;
    /** Why there is no OpenSearch, where there is none. */
    searchMissing: string;
  }
}
