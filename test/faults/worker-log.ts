import type { WriteStream } from "node:fs";
import { z } from "zod";

const event = z.object({ event: z.string(), level: z.string() });

/** Reads what the Workers log: what they had to do again, and whether a line holds what it must not. */
export class WorkerLog {
  readonly #marker: string;
  readonly #file: WriteStream;
  readonly #retries = new Map<string, number>();
  readonly #leaks: string[] = [];
  #lines = 0;

  /**
   * @param marker stands in a value of every log that was sent
   * @param file gets every line
   */
  constructor(marker: string, file: WriteStream) {
    this.#marker = marker;
    this.#file = file;
  }

  /** Warnings and errors by their event; requests, whose answers their senders count, left out. */
  get retries(): ReadonlyMap<string, number> {
    return this.#retries;
  }

  read(line: string): void {
    this.#lines++;
    this.#file.write(`${line}\n`);
    if (line.includes(this.#marker)) this.#leaks.push(line.slice(0, 300));
    const parsed = event.safeParse(parse(line)).data;
    if (!parsed || parsed.event === "request" || parsed.level === "INFO") return;
    this.#retries.set(parsed.event, (this.#retries.get(parsed.event) ?? 0) + 1);
  }

  leaks(): { checked: number; broken: readonly string[] } {
    return { checked: this.#lines, broken: this.#leaks };
  }

  async end(): Promise<void> {
    await new Promise((resolve) => this.#file.end(resolve));
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
