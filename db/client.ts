import { neon, NeonDbError, neonConfig } from "@neondatabase/serverless";
import { sql, type SQL } from "drizzle-orm";
import type { BatchItem, BatchResponse } from "drizzle-orm/batch";
import { drizzle, type NeonHttpDatabase } from "drizzle-orm/neon-http";
import { z } from "zod";
import type { Admission, TenantScope } from "../events/tenant-scope.ts";
import { type TenantSettings, tenantSettings } from "../events/tenant-settings.ts";
import type { DatabaseConfig } from "../platform/config.ts";
import { ApiError } from "../platform/errors.ts";
import { timedHop } from "../platform/hop-times.ts";

/** A place in the write-ahead log, as Postgres writes it: `16/B374D848`. */
export type WalPosition = string;

export type Database = NeonHttpDatabase & {
  readonly config: DatabaseConfig;
  /** Of a read replica: what it must have replayed before anything that it answers counts. */
  readonly replayedTo?: WalPosition;
};

/** How long a statement may run in the database, and how long a round trip may take. */
const statementTimeoutMs = 8_000;
const requestTimeoutMs = 10_000;

const ownEndpoint = neonConfig.fetchEndpoint;
/** By host and port of the database: the driver has one setting for all, and there may be two databases. */
const endpoints = new Map<string, string>();
neonConfig.fetchEndpoint = (host, port, options) =>
  endpoints.get(`${host}:${port}`) ??
  (typeof ownEndpoint === "function" ? ownEndpoint(host, port, options) : ownEndpoint);
neonConfig.fetchFunction = async (url: string, init: RequestInit & OwnOptions) => {
  const { readAnswer, ...sent } = init;
  const response = await timedHop("db", () =>
    fetch(url, { ...sent, signal: AbortSignal.timeout(requestTimeoutMs) }),
  );
  return readAnswer && response.ok
    ? { ok: true, status: response.status, json: () => readAnswer(response) }
    : response;
};

/** Reads the JSON of an answer, in a way of its own. */
export type AnswerReader = (response: Response) => Promise<unknown>;
type OwnOptions = { readAnswer?: AnswerReader };

/** A client for one request: nothing is kept open, and every round trip has a timeout. */
export function connectDatabase(config: DatabaseConfig): Database {
  if (config.fetchEndpoint !== undefined) {
    const { hostname, port } = new URL(config.url);
    endpoints.set(`${hostname}:${port}`, config.fetchEndpoint);
  }
  return withOptions(config, {});
}

function withOptions(config: DatabaseConfig, fetchOptions: OwnOptions): Database {
  return Object.assign(drizzle({ client: neon(config.url, { fetchOptions }) }), { config });
}

/** The same database, whose answers are read by `readAnswer`. */
export function readingBy(db: Database, readAnswer: AnswerReader): Database {
  const { config, replayedTo } = db;
  return Object.assign(withOptions(config, { readAnswer }), replayedTo && { replayedTo });
}

/**
 * A client of a read replica that answers only once it has replayed a place in the primary's log: every
 * batch asks in its own transaction, before anything else, and throws ReplicaBehind. So it holds also where
 * one address stands for several replicas. A server that is not in recovery is the primary by another name.
 *
 * @param replayedTo from the primary: walPosition
 */
export function connectReplica(config: DatabaseConfig, replayedTo: WalPosition): Database {
  return Object.assign(connectDatabase(config), { replayedTo });
}

/**
 * Where the primary's log ends: a replica that has replayed it shows everything that was visible before this
 * was asked. The insert position, not the written one: under synchronous_commit=off a transaction is visible
 * before it is written.
 */
export const walPosition = sql<WalPosition>`pg_current_wal_insert_lsn()::text`;

/** The roles of migrations/: what a transaction may touch is decided by the role that it takes first. */
type Role =
  | "audit_api"
  | "audit_exporter"
  | "audit_indexer"
  | "audit_maintenance"
  | "audit_operator"
  | "audit_retention";

type Statements = readonly [BatchItem<"pg">, ...BatchItem<"pg">[]];

/**
 * Runs statements in one transaction and one round trip, behind the row-level security of the caller's
 * tenant. The settings hold for this transaction only. A request is admitted first: what its tenant's
 * settings forbid is not done.
 *
 * @param timeoutMs bound of each statement, in the database
 * @throws ApiError `tenant_unknown`, `tenant_suspended` or `unauthenticated` for a request that is not admitted
 * @throws SettingsChanged for one that goes by other settings than the tenant has
 * @throws DatabaseUnavailable when no answer came, or the database refused for a passing reason
 */
export async function inTenant<T extends Statements>(
  db: Database,
  scope: TenantScope,
  statements: T,
  timeoutMs = statementTimeoutMs,
): Promise<BatchResponse<T>> {
  const first = settings(db, "audit_api", timeoutMs, scope);
  if (!scope.admission) return runBatch(db, first, statements);
  const admitted = admit(db, scope.admission);
  const [{ rows }, ...results] = await runBatch(db, first, [admitted, ...statements]);
  scope.admission.onRateTier?.(rateTier.parse(rows[0]).rate_tier);
  return results as BatchResponse<T>;
}

/** Like inTenant, for the exporter: its role works on exports, and like the API's sees one tenant at a time. */
export async function asExporter<T extends Statements>(
  db: Database,
  tenantId: string,
  statements: T,
  timeoutMs = statementTimeoutMs,
): Promise<BatchResponse<T>> {
  return runBatch(
    db,
    settings(db, "audit_exporter", timeoutMs, { tenantId, userId: null }),
    statements,
  );
}

/**
 * Like inTenant, for the role that removes logs: it sees one tenant at a time, and of its logs the ids only.
 *
 * @param defaultDays how long logs are kept where the tenant has set nothing; null: for ever
 */
export async function asRetention<T extends Statements>(
  db: Database,
  { tenantId, defaultDays }: { tenantId: string; defaultDays: number | null },
  statements: T,
  timeoutMs = statementTimeoutMs,
): Promise<BatchResponse<T>> {
  const first = settings(db, "audit_retention", timeoutMs, { tenantId, userId: null });
  const setDefault = db.execute(
    sql`select set_config('app.default_retention_days', ${String(defaultDays ?? "")}, true)`,
  );
  const [, ...results] = await runBatch(db, first, [setDefault, ...statements]);
  return results as BatchResponse<T>;
}

/** Like inTenant, for work that belongs to no tenant: most of these roles see every tenant's rows. */
export async function asRole<T extends Statements>(
  db: Database,
  role: Role,
  statements: T,
): Promise<BatchResponse<T>> {
  return runBatch(db, settings(db, role, statementTimeoutMs), statements);
}

function admit(db: Database, { issuedAt, mustBeKnown, settingsVersion }: Admission) {
  // As text: JSON has no Infinity.
  const issued = sql`to_timestamp(${String(issuedAt)}::float8)`;
  return db.execute(
    sql`select admit(${issued}, ${mustBeKnown}, ${settingsVersion ?? null}::integer),
      (select rate_tier from tenants where id = app_tenant()) as rate_tier`,
  );
}
const rateTier = z.object({ rate_tier: z.string().nullable() });

/**
 * The first statement of a batch. Those behind it see at least what its `is_replayed` is true of. No JIT: to
 * compile takes longer than any statement here saves by it.
 */
function settings(db: Database, role: Role, timeoutMs: number, scope?: TenantScope): SQL {
  const isReplayed =
    db.replayedTo === undefined
      ? sql`true`
      : sql`not pg_is_in_recovery() or pg_last_wal_replay_lsn() >= ${db.replayedTo}::pg_lsn`;
  return sql`select ${isReplayed} as is_replayed,
    set_config('role', ${role}, true),
    set_config('statement_timeout', ${String(timeoutMs)}, true),
    set_config('jit', 'off', true),
    set_config('app.tenant_id', ${scope?.tenantId ?? ""}, true),
    set_config('app.user_id', ${scope?.userId ?? ""}, true),
    set_config('app.user_hash', ${scope?.userHash ?? ""}, true)`;
}

async function runBatch<T extends Statements>(
  db: Database,
  first: SQL,
  statements: T,
): Promise<BatchResponse<T>> {
  try {
    const [{ rows }, ...results] = await db.batch([db.execute(first), ...statements]);
    if (rows[0]?.["is_replayed"] !== true) throw new ReplicaBehind();
    return results as BatchResponse<T>;
  } catch (error) {
    if (error instanceof ReplicaBehind) throw error;
    const refusal = refusals[sqlState(error) ?? ""];
    if (refusal) throw refusal(sqlDetail(error) ?? "");
    throw isPassing(error) ? new DatabaseUnavailable(error) : withoutValues(error);
  }
}

/** What admit() raises, by its SQLSTATE. */
const refusals: Record<string, (detail: string) => ApiError> = {
  AL001: () =>
    new ApiError(
      "tenant_unknown",
      "The token's tenant is not known here, and new ones are not made by a token.",
    ),
  AL002: () => new ApiError("tenant_suspended", "The tenant is suspended: ask the operator."),
  AL003: () =>
    new ApiError("unauthenticated", "The token was ended by its tenant. Get a new one.", {
      headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' },
    }),
  AL004: (detail) => new SettingsChanged(tenantSettings.parse(JSON.parse(detail))),
};

/** The tenant has other settings than the request went by. Nothing is done: see withSettings. */
export class SettingsChanged extends ApiError {
  readonly settings: TenantSettings;

  constructor(settings: TenantSettings) {
    super("database_unavailable", "The tenant's settings are changing. Try again.");
    this.name = "SettingsChanged";
    this.settings = settings;
  }
}

/** No answer in time, or one that a later try may change. Nothing is known of what was to be written. */
export class DatabaseUnavailable extends ApiError {
  constructor(cause: unknown) {
    super("database_unavailable", "The database does not answer. Try again.", { cause });
    this.name = "DatabaseUnavailable";
  }
}

/** The read replica has not replayed yet what it was asked to show: ask the primary, or later. */
export class ReplicaBehind extends DatabaseUnavailable {
  constructor() {
    super(new Error("the read replica is behind"));
    this.name = "ReplicaBehind";
  }
}

/** The SQLSTATE of an error that the database gave. */
export const sqlState = (error: unknown): string | undefined => databaseError(error)?.code;

/** The detail of one that a function of the schema raised. Of Postgres's own it may hold values. */
export const sqlDetail = (error: unknown): string | undefined => databaseError(error)?.detail;

function databaseError(error: unknown): NeonDbError | undefined {
  if (error instanceof NeonDbError) return error;
  return error instanceof Error && error.cause !== undefined
    ? databaseError(error.cause)
    : undefined;
}

/** Connections (08), resources (53), shut-down (57P0x), timeouts (57014, 55P03), conflicts (40): passing. */
function isPassing(error: unknown): boolean {
  const state = sqlState(error);
  return state === undefined || /^(08|53|40|57P0|57014$|55P03$)/.test(state);
}

/** Drizzle's own errors repeat the query and its parameters, which no log line may hold. */
function withoutValues(error: unknown): unknown {
  return error instanceof Error && error.cause instanceof NeonDbError ? error.cause : error;
}
