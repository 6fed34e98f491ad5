import { Client } from "@opensearch-project/opensearch";
import type { SearchConfig } from "../platform/config.ts";
import { FetchConnection, signedConnection } from "./fetch-connection.ts";

const clients = new WeakMap<SearchConfig, Map<number, Client>>();

/**
 * A client of the cluster, kept as long as the configuration: it has no open connection, which in a
 * Worker would belong to one request. It never retries by itself: who calls knows whether there is time.
 *
 * @param timeoutMs bound of every call
 */
export function connectSearch(config: SearchConfig, timeoutMs: number): Client {
  const known = clients.get(config) ?? new Map<number, Client>();
  clients.set(config, known);
  const client = known.get(timeoutMs) ?? newClient(config, timeoutMs);
  known.set(timeoutMs, client);
  return client;
}

function newClient(config: SearchConfig, timeoutMs: number): Client {
  const { node, auth } = config;
  return new Client({
    node,
    ...(auth?.kind === "basic"
      ? { auth: { username: auth.username, password: auth.password } }
      : {}),
    Connection: auth?.kind === "sigv4" ? signedConnection(auth) : FetchConnection,
    requestTimeout: timeoutMs,
    maxRetries: 0,
    // There is one node: to leave it out for a while would leave nothing.
    resurrectStrategy: "none",
  });
}
