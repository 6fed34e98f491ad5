import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { DatabaseError, type PoolClient, Query, type QueryResult } from "pg";
import { AnswerJson } from "./neon-answer.ts";
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

/** The answer's JSON, whole when this is over; the caller releases it. */
function run(client: PoolClient, query: Statement, json: AnswerJson): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // The extended protocol also without parameters: like Neon, one statement a query.
    const config = {
      text: query.query,
      values: query.params,
      types: asText,
      rowMode: "array",
      queryMode: "extended",
    };
    const running = new Query<(string | null)[]>(config);
    running.on("row", (row, result) => json.addRow(row, result?.fields ?? []));
    running.on("error", reject);
    running.on("end", ({ fields, command, rowCount }) =>
      resolve(json.end({ fields, command, rowCount })),
    );
    client.query(running);
  });
}

/** All statements are on the wire at once; after an error Postgres itself refuses those behind it. */
async function runBatch(
  client: PoolClient,
  request: NeonRequest,
  newAnswer: () => AnswerJson,
): Promise<Uint8Array[]> {
  // One write to the socket for all of them.
  const { stream } = client.connection;
  stream.cork();
  let sent: Promise<PromiseSettledResult<Uint8Array | QueryResult>[]>;
  try {
    sent = Promise.allSettled([
      client.query(beginStatement(request)),
      ...request.statements.map((query) => run(client, query, newAnswer())),
      client.query("COMMIT"),
    ]);
  } finally {
    stream.uncork();
  }
  const settled = await sent;
  const failed = settled.find((one) => one.status === "rejected");
  if (failed) throw failed.reason;
  const bytes = settled.flatMap((one) =>
    one.status === "fulfilled" && one.value instanceof Uint8Array ? [one.value] : [],
  );
  const separated = bytes.flatMap((one, n) => (n === 0 ? [one] : [Buffer.from(","), one]));
  return [Buffer.from('{"results":['), ...separated, Buffer.from("]}")];
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
  sendJson(response, status, [Buffer.from(JSON.stringify(body))]);
}

/** @param release called when the chunks are not needed any more */
function sendJson(
  response: ServerResponse,
  status: number,
  chunks: readonly Uint8Array[],
  release = () => {},
): void {
  if (response.destroyed || response.headersSent) return release();
  response.once("close", release);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": chunks.reduce((sum, { length }) => sum + length, 0),
  });
  // One write to the socket for all of them.
  response.cork();
  for (const chunk of chunks) response.write(chunk);
  response.uncork();
  response.end();
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
  const answers: AnswerJson[] = [];
  const release = () => answers.forEach((json) => json.release());
  const newAnswer = () => {
    const json = new AnswerJson(request.arrays);
    answers.push(json);
    return json;
  };
  try {
    if (abandoned) return;
    const [first] = request.statements;
    const chunks =
      request.batch || !first
        ? await runBatch(client, request, newAnswer)
        : [await run(client, first, newAnswer())];
    sendJson(response, 200, chunks, release);
  } catch (error) {
    release();
    throw error;
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
