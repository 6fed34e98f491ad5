import { Client } from "@opensearch-project/opensearch";
import type { SearchConfig } from "../platform/config.ts";
import { boundedConnection, FetchConnection, signedConnection } from "./fetch-connection.ts";

const clients = new WeakMap<SearchConfig, Map<string, Client>>();

/**
 * A client of the cluster, kept as long as the configuration: it has no open connection, which in a
 * Worker would belong to one request. It never retries by itself: who calls knows whether there is time.
 *
 * @param timeoutMs bound of every call
 * @param maxAnswerBytes bound of every answer, beyond which a call throws AnswerTooLarge
 */
export function connectSearch(
  config: SearchConfig,
  timeoutMs: number,
  maxAnswerBytes = Infinity,
): Client {
  const known = clients.get(config) ?? new Map<string, Client>();
  clients.set(config, known);
  const bounds = `${timeoutMs} ${maxAnswerBytes}`;
  const client = known.get(bounds) ?? newClient(config, timeoutMs, maxAnswerBytes);
  known.set(bounds, client);
  return client;
}

function newClient(config: SearchConfig, timeoutMs: number, maxAnswerBytes: number): Client {
  const { node, auth } = config;
  const connection = auth?.kind === "sigv4" ? signedConnection(auth) : FetchConnection;
  return new Client({
    node,
    ...(auth?.kind === "basic"
      ? { auth: { username: auth.username, password: auth.password } }
      : {}),
    Connection: boundedConnection(connection, maxAnswerBytes),
    requestTimeout: timeoutMs,
    maxRetries: 0,
    // There is one node: to leave it out for a while would leave nothing.
    resurrectStrategy: "none",
  });
}
