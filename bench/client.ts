import { SignJWT } from "jose";
import { z } from "zod";
import type { Entry } from "./entries.ts";

const created = z.object({ data: z.object({ id: z.string() }) });
const createdMany = z.object({ data: z.object({ log_ids: z.array(z.string()) }) });
const listed = z.object({ items: z.array(z.unknown()), source: z.string() });

/** A token of a tenant's auditor and writer, for an hour. */
export function tokenOf(tenant: string, secret: string): Promise<string> {
  return new SignJWT({ tenant_id: tenant, roles: ["writer", "auditor"] })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject("bench")
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(new TextEncoder().encode(secret));
}

/** The API as one caller sees it. Everything but the expected answer throws. */
export class Client {
  readonly #base: string;
  readonly #token: string;

  constructor(port: number, token: string) {
    this.#base = `http://127.0.0.1:${port}/api/v1`;
    this.#token = token;
  }

  /** @returns the log's id */
  async create(entry: Entry): Promise<string> {
    return created.parse(await this.#ask("POST", "/logs", entry)).data.id;
  }

  /** @returns the logs' ids */
  async createMany(entries: readonly Entry[]): Promise<string[]> {
    const answer = await this.#ask("POST", "/logs/bulk", { logs: entries });
    return createdMany.parse(answer).data.log_ids;
  }

  async countOfRequest(requestId: string): Promise<number> {
    const path = `/logs?request_id=${encodeURIComponent(requestId)}`;
    return listed.parse(await this.#ask("GET", path)).items.length;
  }

  get(path: string): Promise<unknown> {
    return this.#ask("GET", path);
  }

  post(path: string, body: object): Promise<unknown> {
    return this.#ask("POST", path, body);
  }

  async #ask(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.#base}${path}`, {
      method,
      headers: { Authorization: `Bearer ${this.#token}`, "Content-Type": "application/json" },
      signal: AbortSignal.timeout(30_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok)
      throw new Error(`${method} ${path}: ${response.status} ${text.slice(0, 300)}`);
    return JSON.parse(text);
  }
}
