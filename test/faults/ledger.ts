import type { SentLog } from "./make-log.ts";

/** What a client knows of its write: 201, a refusal, or nothing, since the answer was an error or never came. */
export type WriteOutcome = "acknowledged" | "refused" | "unknown";

export type Write = {
  tenant: string;
  kind: "single" | "bulk";
  logs: readonly SentLog[];
  outcome: WriteOutcome;
  /** The ids of the 201, in the order of `logs`. */
  ids: readonly string[];
  /** How often it was sent, under one idempotency key; left out where it had none. */
  tries?: number;
};

/** A log that was acknowledged, as its sender knows it. */
export type Acknowledged = { tenant: string; id: string; log: SentLog };

/** An indexed_through, in milliseconds since 1970 as the time at which the answer was there. */
export type Mark = { tenant: string; through: number; at: number };

/** What all clients noted, for the checks at the end. */
export class Ledger {
  readonly writes: Write[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly marks: Mark[] = [];
  /** Answers that no fault explains, found while the clients ran. */
  readonly broken: string[] = [];
  readonly #requests = new Map<string, number>();

  get requests(): ReadonlyMap<string, number> {
    return this.#requests;
  }

  /** Counts a request, by what was asked and how it ended, such as `write 201`. */
  count(what: string): void {
    this.#requests.set(what, (this.#requests.get(what) ?? 0) + 1);
  }

  wrote(write: Write): void {
    this.writes.push(write);
    if (write.outcome !== "acknowledged") return;
    write.logs.forEach((log, n) => {
      const id = write.ids[n];
      if (id !== undefined) this.acknowledged.push({ tenant: write.tenant, id, log });
    });
  }
}
