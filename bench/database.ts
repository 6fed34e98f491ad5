import { setTimeout as sleep } from "node:timers/promises";
import { Pool } from "pg";
import type { RateTier } from "../worker/limits/rate-limits.ts";
import type { Entry } from "./entries.ts";

/** Logs that waited for the index at first, those that still did at the end, and the time between. */
export type Drained = { waiting: number; left: number; seconds: number };

/** A few connections past the service, to look at the outbox and to compare with the database itself. */
export class Database {
  readonly #pool: Pool;

  constructor(url: string, connections: number) {
    this.#pool = new Pool({ connectionString: url, max: connections });
    // A connection that breaks while idle is made anew by the pool.
    this.#pool.on("error", () => {});
  }

  /** A tenant that no request has made yet. */
  async putInTier(tenant: string, tier: RateTier): Promise<void> {
    await this.#pool.query("insert into tenants (id, rate_tier) values ($1, $2)", [tenant, tier]);
  }

  /** Logs that are stored and not yet searchable. */
  async backlog(): Promise<number> {
    const found = await this.#pool.query<{ n: number }>(
      "select count(*)::int as n from pending_index",
    );
    return found.rows[0]?.n ?? 0;
  }

  /** Waits until all logs are searchable, or until the time is over. */
  async drained(timeoutMs: number): Promise<Drained> {
    const began = performance.now();
    const waiting = await this.backlog();
    let left = waiting;
    while (left > 0 && performance.now() - began < timeoutMs) {
      await sleep(100);
      left = await this.backlog();
    }
    return { waiting, left, seconds: (performance.now() - began) / 1000 };
  }

  /**
   * What the database can do without the service: the same logs in one INSERT, in as many connections
   * at a time. No outbox, no row-level security, no checks.
   *
   * @returns INSERTs per second
   */
  async insertRate(
    batches: readonly Entry[][],
    connections: number,
    forMs: number,
  ): Promise<number> {
    const end = performance.now() + forMs;
    let done = 0;
    const loop = async (): Promise<void> => {
      while (performance.now() < end) {
        await this.#insert(batches[done % batches.length] ?? []);
        if (performance.now() < end) done += 1;
      }
    };
    await Promise.all(Array.from({ length: connections }, loop));
    return (done * 1000) / forMs;
  }

  async #insert(entries: readonly Entry[]): Promise<void> {
    const now = new Date();
    const rows = entries.map((entry) => ({
      ...entry,
      id: uuidv7(now.getTime()),
      tenant_id: "raw",
      created_at: now,
      occurred_at: now,
      recorded_by: "bench",
      actor_type: "user",
    }));
    await this.#pool.query(
      "insert into audit_logs select * from json_populate_recordset(null::audit_logs, $1::json)",
      [JSON.stringify(rows)],
    );
  }

  async end(): Promise<void> {
    await this.#pool.end();
  }
}

function uuidv7(ms: number): string {
  const time = ms.toString(16).padStart(12, "0");
  return `${time.slice(0, 8)}-${time.slice(8)}-7${crypto.randomUUID().slice(15)}`;
}
