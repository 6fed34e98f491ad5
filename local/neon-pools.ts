import { Client, Pool, type PoolClient } from "pg";
import { RequestError } from "./neon-request.ts";

const MAX_POOLS = 16;

function portOf(url: URL): string {
  return url.port || "5432";
}

/** The connections of every user and database that asks, to the Postgres servers that it is for. */
export class Pools {
  readonly #pools = new Map<string, Pool>();
  readonly #servers: readonly URL[];
  readonly #size: number;
  readonly #waitMs: number;

  constructor(databaseUrls: readonly string[], size: number, waitMs: number) {
    this.#servers = databaseUrls.map((url) => new URL(url));
    this.#size = size;
    this.#waitMs = waitMs;
  }

  /** The pool of a request's user and database, on a server that this endpoint is for. */
  get(connectionString: string): Pool {
    const known = this.#pools.get(connectionString);
    if (known) return known;
    const asked = URL.parse(connectionString);
    if (!asked || (asked.protocol !== "postgresql:" && asked.protocol !== "postgres:")) {
      throw new RequestError(400, "The connection string is not a postgresql:// URL.");
    }
    const server = this.#servers.find(
      (one) => asked.hostname === one.hostname && portOf(asked) === portOf(one),
    );
    if (!server) {
      throw new RequestError(
        400,
        `This endpoint serves the database at ${this.#servers.map((one) => one.host).join(" or ")}, not ${asked.host}.`,
      );
    }
    if (this.#pools.size >= MAX_POOLS) {
      throw new RequestError(400, `At most ${MAX_POOLS} users and databases at a time.`);
    }
    const url = new URL(server);
    url.username = asked.username;
    url.password = asked.password;
    url.pathname = asked.pathname;
    const pool = new Pool({
      connectionString: url.href,
      max: this.#size,
      connectionTimeoutMillis: this.#waitMs,
      idleTimeoutMillis: 60_000,
      keepAlive: true,
      pipeline: true,
    });
    // A connection that breaks while idle is thrown away by the pool; nothing waits for it.
    pool.on("error", () => {});
    pool.on("connect", (client) => client.on("error", () => {}));
    this.#pools.set(connectionString, pool);
    return pool;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
  }
}

/** Ends a backend whose caller is gone: nobody reads its answer, and it may hold locks. */
export async function terminate(pool: Pool, client: PoolClient): Promise<void> {
  const processID: unknown = Reflect.get(client, "processID");
  if (typeof processID !== "number") return;
  const other = new Client({
    connectionString: pool.options.connectionString,
    connectionTimeoutMillis: 5000,
  });
  other.on("error", () => {});
  try {
    await other.connect();
    await other.query("SELECT pg_terminate_backend($1)", [processID]);
  } catch {
    // The server is going down, or the backend is gone.
  } finally {
    await other.end().catch(() => {});
  }
}
