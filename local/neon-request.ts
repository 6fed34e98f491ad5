import type { IncomingHttpHeaders, IncomingMessage } from "node:http";

export type Statement = { query: string; params: unknown[] };

export type NeonRequest = {
  connectionString: string;
  statements: Statement[];
  /** A transaction, also of one statement. */
  batch: boolean;
  /** Rows as arrays; else as objects by column name. */
  arrays: boolean;
  isolation?: string | undefined;
  readOnly?: boolean | undefined;
  deferrable?: boolean | undefined;
};

/** A request that is refused before it reaches the database. */
export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const MAX_BODY_BYTES = 64 * 1024 * 1024;

const ISOLATION: Record<string, string> = {
  ReadUncommitted: "READ UNCOMMITTED",
  ReadCommitted: "READ COMMITTED",
  RepeatableRead: "REPEATABLE READ",
  Serializable: "SERIALIZABLE",
};

export function readBody(incoming: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    incoming.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MAX_BODY_BYTES) chunks.push(chunk);
      else chunks.length = 0;
    });
    incoming.on("end", () => {
      if (size > MAX_BODY_BYTES) {
        reject(new RequestError(413, `The request is larger than ${MAX_BODY_BYTES} bytes.`));
      } else resolve(Buffer.concat(chunks).toString("utf8"));
    });
    incoming.on("error", reject);
    incoming.on("close", () => {
      if (!incoming.complete) reject(new RequestError(400, "The request was cut off."));
    });
  });
}

function one(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}

function flag(headers: IncomingHttpHeaders, name: string): boolean | undefined {
  const value = one(headers, name);
  return value === undefined ? undefined : value.toLowerCase() === "true";
}

function statement(value: unknown): Statement {
  if (typeof value === "object" && value !== null && "query" in value) {
    const { query } = value;
    const params = "params" in value ? value.params : [];
    if (typeof query === "string" && Array.isArray(params)) return { query, params };
  }
  throw new RequestError(400, "Expected {query: string, params: array}.");
}

export function readRequest(headers: IncomingHttpHeaders, body: string): NeonRequest {
  const connectionString = one(headers, "neon-connection-string");
  if (!connectionString) {
    throw new RequestError(400, "The header Neon-Connection-String is missing.");
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    throw new RequestError(400, "The body is not JSON.");
  }
  const isolation = one(headers, "neon-batch-isolation-level");
  if (isolation !== undefined && !Object.hasOwn(ISOLATION, isolation)) {
    throw new RequestError(400, `Unknown isolation level ${isolation}.`);
  }
  const queries =
    typeof parsed === "object" && parsed !== null && "queries" in parsed
      ? parsed.queries
      : undefined;
  if (queries !== undefined && !Array.isArray(queries)) {
    throw new RequestError(400, "Expected {queries: array}.");
  }
  return {
    connectionString,
    batch: queries !== undefined,
    statements: queries ? queries.map(statement) : [statement(parsed)],
    arrays: flag(headers, "neon-array-mode") ?? false,
    isolation,
    readOnly: flag(headers, "neon-batch-read-only"),
    deferrable: flag(headers, "neon-batch-deferrable"),
  };
}

export function beginStatement(request: NeonRequest): string {
  const modes: string[] = [];
  if (request.isolation) modes.push(`ISOLATION LEVEL ${ISOLATION[request.isolation]}`);
  if (request.readOnly !== undefined) modes.push(request.readOnly ? "READ ONLY" : "READ WRITE");
  if (request.deferrable !== undefined) {
    modes.push(request.deferrable ? "DEFERRABLE" : "NOT DEFERRABLE");
  }
  return ["BEGIN", ...modes].join(" ");
}
