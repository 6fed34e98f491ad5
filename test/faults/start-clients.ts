import type { ApiClient } from "./api-client.ts";
import { type AskedExport, runExportClient } from "./export-clients.ts";
import { commitLate } from "./late-commits.ts";
import type { Ledger } from "./ledger.ts";
import { Follower, runSearcher } from "./readers.ts";
import type { World } from "./world.ts";
import { runLoneWriter, runWriter } from "./writers.ts";

export type Clients = {
  world: World;
  /** One for each tenant. For the last of them only one client writes, and always late. */
  clients: readonly ApiClient[];
  ledger: Ledger;
  asked: AskedExport[];
  /** A generator of its own for each part of the run. */
  randomOf: (part: number) => () => number;
  signal: AbortSignal;
};

const writers = 4;
const thinkMs = 120;
/** Shorter than the service waits for Postgres, and longer than a log takes to become searchable. */
const lateMs = 6_000;
const lateShare = { busy: 0.1, lone: 1 };

/** Starts all clients. They run until the signal, and what they have found is in the ledger. */
export async function startClients(
  options: Clients,
): Promise<{ followers: Follower[]; running: Promise<void>[] }> {
  const { world, clients, ledger, asked, randomOf, signal } = options;
  const busy = clients.slice(0, -1);
  for (const client of clients) {
    const share = busy.includes(client) ? lateShare.busy : lateShare.lone;
    await commitLate(world.database, client.tenant, share, lateMs);
  }
  const followers = clients.map(
    (client, n) => new Follower({ client, ledger, random: randomOf(100 + n), signal }),
  );
  const nameOf = (n: number) => `${world.marker}-${n}`;
  const running = [
    ...followers.map((follower) => follower.run()),
    ...Array.from({ length: writers }, (_, n) =>
      runWriter({
        clients: busy,
        ledger,
        name: nameOf(n),
        random: randomOf(200 + n),
        thinkMs,
        signal,
      }),
    ),
    ...clients
      .slice(-1)
      .map((client) =>
        runLoneWriter({ client, ledger, name: nameOf(writers), random: randomOf(250), signal }),
      ),
    ...clients.map((client, n) =>
      runSearcher(
        { client, ledger, random: randomOf(300 + n), signal },
        world.tenants.filter((tenant) => tenant !== client.tenant),
      ),
    ),
    runExportClient({ clients, ledger, asked, random: randomOf(400), signal }),
  ];
  return { followers, running };
}
