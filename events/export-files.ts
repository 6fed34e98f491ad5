import { createHash } from "node:crypto";
import type { ExportCompression, ExportFormat } from "./export.ts";

type Named = {
  tenantId: string;
  id: string;
  format: ExportFormat;
  compression: ExportCompression;
  createdAt: Date;
};

/**
 * The object key of an export's file: tenant, export, and a name that speaks when it is downloaded. A later
 * attempt has a key of its own, so that nothing of an earlier one can end up in it.
 *
 * @param attempt from 1
 */
export function exportKey(wanted: Named, attempt: number): string {
  const time = wanted.createdAt.toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const name = `audit-logs-${time}${attempt === 1 ? "" : `-${attempt}`}.${wanted.format}`;
  const extension = wanted.compression === "gzip" ? ".gz" : "";
  return `${tenantFolder(wanted.tenantId)}/${wanted.id}/${name}${extension}`;
}

/** The manifest stands beside its file. */
export function manifestKey(key: string): string {
  return `${key}.manifest.json`;
}

/** What there is of the part under way, while no one works on the export. */
export function tailKey(key: string): string {
  return `${key}.tail`;
}

export function fileName(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

export function contentType({ format, compression }: Named): string {
  if (compression === "gzip") return "application/gzip";
  return format === "csv" ? "text/csv; charset=utf-8" : "application/x-ndjson; charset=utf-8";
}

/** The tenant's id where every tool can have it in a path, else its digest: an id may be any text. */
function tenantFolder(tenantId: string): string {
  if (/^[\w-][\w.-]{0,127}$/.test(tenantId)) return tenantId;
  return `sha256-${createHash("sha256").update(tenantId).digest("hex")}`;
}
