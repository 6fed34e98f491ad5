import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { DatabaseError, type PoolClient, type QueryResult } from "pg";
import { type Answer, answerJson, type JsonAnswer } from "./neon-answer.ts";
import { Pools, terminate } from "./neon-pools.ts";
import { beginStatement, readBody, readRequest, RequestError } from "./neon-request.ts";
import type { NeonRequest, Statement } from "./neon-request.ts";

export type NeonEndpointOptions = {
  /** Any Postgres. Its host, port and TLS settings are used; user and database come with a request. */
  databaseUrl: string;
  /** A replica of it, at another host or port, for which it is too. */
  readUrl?: string | undefined;
  /** A free one of the system when absent. */
  port?: number | undefined;
  /** Connections per user and database. */
  poolSize?: number | undefined;
  /** How long a request may wait for a connection. */
  waitMs?: number | undefined;
};

export type NeonEndpoint = { url: string; stop(): Promise<void> };

const asText = {
  getTypeParser: () => (value: string) => value,
};

/** The fields of a Postgres error that the client copies to its NeonDbError. */
const ERROR_FIELDS = [
  "severity",
  "code",
  "detail",
  "hint",
  "position",
  "internalPosition",
  "internalQuery",
  "where",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine",
] as const;

async function run(client: PoolClient, query: Statement): Promise<Answer> {
  // The extended protocol also without parameters: like Neon, one statement a query.
  const config = {
    text: query.query,
    values: query.params,
    types: asText,
    rowMode: "array" as const,
    queryMode: "extended",
  };
  const { fields, command, rowCount, rows } = await client.query<(string | null)[]>(config);
  return { fields, command, rowCount, rows };
}

/** All statements are on the wire at once; after an error Postgres itself refuses those behind it. */
async function runBatch(client: PoolClient, request: NeonRequest): Promise<Answer[]> {
  // One write to the socket for all of them.
  const { stream } = client.connection;
  stream.cork();
  let sent: Promise<PromiseSettledResult<Answer | QueryResult>[]>;
  try {
    sent = Promise.allSettled([
      client.query(beginStatement(request)),
      ...request.statements.map((query) => run(client, query)),
      client.query("COMMIT"),
    ]);
  } finally {
    stream.uncork();
  }
  const settled = await sent;
  const failed = settled.find((one) => one.status === "rejected");
  if (failed) throw failed.reason;
  return settled.slice(1, -1).flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
}

function describeError(error: unknown): { status: number; body: Record<string, unknown> } {
  if (error instanceof RequestError)
    return { status: error.status, body: { message: error.message } };
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof DatabaseError) {
    const body: Record<string, unknown> = { message };
    for (const name of ERROR_FIELDS) body[name] = error[name] ?? null;
    return { status: 400, body };
  }
  return { status: 503, body: { message: `The database does not answer: ${message}` } };
}

function send(response: ServerResponse, status: number, body: unknown): void {
  sendJson(response, status, { bytes: Buffer.from(JSON.stringify(body)), release() {} });
}

function sendJson(response: ServerResponse, status: number, { bytes, release }: JsonAnswer): void {
  if (response.destroyed || response.headersSent) return release();
  response.once("close", release);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": bytes.length,
  });
  response.end(bytes);
}

async function answer(
  pools: Pools,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const request = readRequest(incoming.headers, await readBody(incoming));
  const pool = pools.get(request.connectionString);
  const client = await pool.connect();
  let busy = true;
  let abandoned = response.destroyed;
  const onClose = (): void => {
    if (!busy) return;
    abandoned = true;
    void terminate(pool, client);
  };
  response.once("close", onClose);
  try {
    if (abandoned) return;
    const [first] = request.statements;
    const answers =
      request.batch || !first ? await runBatch(client, request) : await run(client, first);
    sendJson(response, 200, answerJson(answers, request.arrays));
  } finally {
    busy = false;
    response.off("close", onClose);
    client.release(abandoned || client.getTransactionStatus() !== "I");
  }
}

/**
 * SQL over HTTP as Neon's own endpoint does it (the client is @neondatabase/serverless), in front of
 * any Postgres. A Postgres error is 400 with its SQLSTATE in `code`; a database that does not answer
 * is 503.
 */
export async function startNeonEndpoint(options: NeonEndpointOptions): Promise<NeonEndpoint> {
  const urls = [options.databaseUrl, ...(options.readUrl ? [options.readUrl] : [])];
  const pools = new Pools(urls, options.poolSize ?? 20, options.waitMs ?? 10_000);
  const server = createServer((incoming, response) => {
    if (incoming.method === "GET" && incoming.url === "/") {
      send(response, 200, { status: "ok" });
      return;
    }
    if (incoming.method !== "POST" || incoming.url !== "/sql") {
      send(response, 404, { message: "POST /sql" });
      return;
    }
    answer(pools, incoming, response).catch((error: unknown) => {
      const { status, body } = describeError(error);
      send(response, status, body);
    });
  });
  // A client that reuses a connection must never meet one that is just being closed.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  const port = typeof address === "object" && address ? address.port : options.port;
  return {
    url: `http://127.0.0.1:${port}/sql`,
    async stop() {
      const closed = new Promise((resolve) => {
        server.close(resolve);
      });
      server.closeAllConnections();
      await closed;
      await pools.end();
    },
  };
}
