import { Client } from "@opensearch-project/opensearch";
import type { SearchConfig } from "../platform/config.ts";

/**
 * A client of the cluster, made for each request: in a Worker a connection belongs to the request that
 * opened it. It never retries by itself: who calls knows whether there is time.
 *
 * @param timeoutMs bound of every call
 */
export function connectSearch(config: SearchConfig, timeoutMs: number): Client {
  return new Client({
    node: config.node,
    ...(config.auth ? { auth: config.auth } : {}),
    requestTimeout: timeoutMs,
    maxRetries: 0,
  });
}
