import { type LogPage, type PagedLog, readLogPage } from "../../db/log-pages.ts";
import { putBack } from "../../db/repairs.ts";
import { saveScan, type Scan } from "../../db/reconcile-progress.ts";
import { firstIdAt } from "../../events/ids.ts";
import { storedDocument } from "../../search/index-logs.ts";
import { readDocuments, type StoredDocument } from "../../search/read-documents.ts";
import { type Budget, hasRoom, type RepairTools } from "./repair-slice.ts";

const logsPerPage = 250;

/**
 * Compares documents with their logs field by field, as far as the budget allows: what no sum of ids tells.
 * `width` bounds how many logs a run reads.
 */
export async function checkContents(scan: Scan, tools: RepairTools, budget: Budget): Promise<Scan> {
  let at = scan;
  for (let logs = 0; logs < at.width && at.from < at.until && hasRoom(budget);) {
    const monthEnd = nextMonth(at.from);
    const ids = {
      fromId: firstIdAt(at.from),
      toId: firstIdAt(Math.min(monthEnd, at.until)),
    };
    const page = await readLogPage(tools.db, ids, at, logsPerPage);
    const last = page.logs.at(-1);
    logs += page.logs.length;
    at = { ...at, found: at.found + (await checkLogs(page, tools, budget)) };
    at = page.isLast
      ? { ...at, from: Math.min(monthEnd, at.until), tenant: "", lastId: null }
      : { ...at, tenant: last?.tenant_id ?? at.tenant, lastId: last?.id ?? at.lastId };
    await saveScan(tools.db, at);
  }
  return at;
}

/** Milliseconds since 1970: the beginning of the month after. */
export function nextMonth(ms: number): number {
  const at = new Date(ms);
  return Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1);
}

async function checkLogs(
  { logs, waiting }: LogPage,
  tools: RepairTools,
  budget: Budget,
): Promise<number> {
  const settled = logs.filter((log) => !waiting.has(log.id));
  if (settled.length === 0) return 0;
  const documents = await readDocuments(tools.search, settled);
  let found = 0;
  for (const [tenantId, own] of Map.groupBy(settled, (log) => log.tenant_id)) {
    const lost = own.filter((log) => documents.has(log.id) && !documents.get(log.id));
    const different = own.flatMap((log) => {
      const document = documents.get(log.id);
      return document && !isDocumentOf(document, log)
        ? [{ id: log.id, minRev: document.version + 1 }]
        : [];
    });
    const missing = lost.map(({ id }) => ({ id, minRev: 1 }));
    const counts = {
      missing: await putBack(tools.db, tenantId, missing, "missing"),
      different: await putBack(tools.db, tenantId, different, "different"),
    };
    const repaired = counts.missing + counts.different;
    if (repaired > 0)
      tools.logger.warning("repaired", { tenant_id: tenantId, extra: 0, ...counts });
    budget.repairs = Math.max(0, budget.repairs - repaired);
    found += repaired;
  }
  return found;
}

/**
 * Whether a document is what the indexer wrote for a log. Its own `rev` is the version that OpenSearch gave
 * it: any write by another hand has raised the version, also where it left the stored fields alone.
 */
function isDocumentOf(document: NonNullable<StoredDocument>, log: PagedLog): boolean {
  const expected = storedDocument({ ...log, rev: document.version });
  const names = Object.keys(expected);
  return (
    names.length === Object.keys(document.source).length &&
    names.every((name) => document.source[name] === expected[name])
  );
}
