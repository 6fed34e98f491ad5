import { ownRecorder } from "../../events/own-actions.ts";
import type { Check } from "./check.ts";
import type { Ledger, Write } from "./ledger.ts";
import type { SentLog } from "./make-log.ts";
import type { StoredLog } from "./stored-logs.ts";

/** What is in Postgres, against what the senders know. */
export function checkStored(ledger: Ledger, stored: readonly StoredLog[]): Check[] {
  const byMarker = Map.groupBy(stored, (log) => log.resource_id);
  const rowsOf = (log: SentLog) => byMarker.get(log.marker) ?? [];
  const acknowledged: string[] = [];
  const equal: string[] = [];
  const once: string[] = [];
  const whole: string[] = [];
  const refused: string[] = [];
  const repeated: string[] = [];

  for (const write of ledger.writes) {
    const found = write.logs.map(rowsOf);
    for (const [n, rows] of found.entries()) {
      const log = write.logs[n];
      if (!log) continue;
      if (rows.length > 1)
        once.push(`log ${log.marker}, sent once (${write.outcome}), is there ${rows.length} times`);
      for (const row of rows) {
        const different = differenceOf(write, log, row);
        if (different) equal.push(`log ${row.id} (${log.marker}): ${different}`);
      }
      if (write.outcome === "acknowledged" && !rows.some((row) => row.id === write.ids[n]))
        acknowledged.push(`log ${write.ids[n]} (${log.marker}) was acknowledged and is not there`);
    }
    const isRepeated = (write.tries ?? 1) > 1 && write.outcome === "acknowledged";
    if (isRepeated && !found.every((rows) => rows.length === 1))
      repeated.push(`a ${write.kind} sent ${write.tries} times under one key is not there once`);
    const count = found.filter((rows) => rows.length > 0).length;
    if (write.outcome === "refused" && count > 0)
      refused.push(`of an invalid write ${count} logs are stored`);
    if (count > 0 && count < write.logs.length)
      whole.push(`of a bulk of ${write.logs.length} (${write.outcome}) ${count} are stored`);
  }
  const markers = new Set(ledger.writes.flatMap(({ logs }) => logs.map(({ marker }) => marker)));
  // What the service records of the clients' reads and exports is its own: see checkExports.
  const unsent = stored.filter(
    (log) => log.recorded_by !== ownRecorder && !markers.has(log.resource_id),
  );
  equal.push(...unsent.map((log) => `log ${log.id} (${log.resource_id}) was never sent`));
  const sent = markers.size;
  return [
    {
      name: "every acknowledged log is in Postgres",
      checked: ledger.acknowledged.length,
      broken: acknowledged,
    },
    { name: "what is in Postgres is what was sent", checked: stored.length, broken: equal },
    { name: "no log is there twice for one request", checked: sent, broken: once },
    {
      name: "what was repeated under one key is there exactly once",
      checked: ledger.writes.filter(({ tries = 1 }) => tries > 1).length,
      broken: repeated,
    },
    {
      name: "a bulk is stored whole or not at all",
      checked: ledger.writes.filter(({ kind }) => kind === "bulk").length,
      broken: whole,
    },
    {
      name: "nothing of a refused request is stored",
      checked: ledger.writes.filter(({ outcome }) => outcome === "refused").length,
      broken: refused,
    },
  ];
}

function differenceOf(write: Write, log: SentLog, row: StoredLog): string | undefined {
  if (row.tenant_id !== write.tenant) return `it is stored for ${row.tenant_id}`;
  for (const [name, value] of Object.entries(log.fields))
    if (Reflect.get(row, name) !== value) return `${name} differs`;
  return row.metadata === log.metadata ? undefined : "metadata differs";
}
