import { createHash } from "node:crypto";
import type { SearchTerm } from "../events/search-terms.ts";
import { isIpPattern, type LogFilter } from "../events/log-filter.ts";
import { ownUserIds } from "../events/own-user-ids.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { prefixClause } from "./prefix-clause.ts";

type Clause = Record<string, unknown>;
export type BoolQuery = { bool: { filter: Clause[]; must_not: Clause[] } };

/**
 * The query of every search: the caller's tenant, and for the `user` role its own logs, before anything
 * that was asked for. All in filter context: order is by time, so no score is needed.
 *
 * @throws NotForIndex
 */
export function buildQuery(scope: TenantScope, filter: LogFilter): BoolQuery {
  const clauses = tenantWall(scope);
  for (const [field, values] of Object.entries(filter.exact)) {
    if (values.length > 0) clauses.push({ terms: { [field]: values } });
  }
  clauses.push(...anyOf(filter.action.map(actionClause)));
  clauses.push(...anyOf(filter.ip_address.map(ipClause)));
  if (filter.target_id.length > 0) clauses.push({ terms: { target_ids: filter.target_id } });
  if (filter.email_hash.length > 0) clauses.push({ terms: { email_hash: filter.email_hash } });
  for (const [path, values] of Map.groupBy(filter.metadata, (pair) => pair.path)) {
    clauses.push({
      terms: { metadata_pairs: values.map(({ value }) => metadataPair(path, value)) },
    });
  }
  clauses.push(...timeRange("created_at", filter.from, filter.to));
  clauses.push(...timeRange("occurred_at", filter.occurred_from, filter.occurred_to));
  clauses.push(...filter.search.filter((term) => !term.not).map(textClause));
  return {
    bool: { filter: clauses, must_not: filter.search.filter((term) => term.not).map(textClause) },
  };
}

/** What every request to the index begins with. */
export function tenantWall(scope: TenantScope): Clause[] {
  const wall: Clause[] = [{ term: { tenant_id: scope.tenantId } }];
  const own = ownUserIds(scope);
  if (own) wall.push({ terms: { user_id: own } });
  return wall;
}

/**
 * A pair is kept as it is up to so many characters of JSON. A long path stands before each of its values: 256
 * KiB of metadata would make a document of over 100 MB.
 */
const maxPairLength = 100;

/** `path=value`, or its digest where that is long. */
export function metadataPair(path: string, value: string): string {
  const pair = `${path}=${value}`;
  if (pair.length <= maxPairLength && JSON.stringify(pair).length <= maxPairLength) return pair;
  return `sha256:${createHash("sha256").update(pair).digest("base64url")}`;
}

function anyOf(clauses: Clause[]): Clause[] {
  if (clauses.length < 2) return clauses;
  return [{ bool: { should: clauses, minimum_should_match: 1 } }];
}

function actionClause(action: string): Clause {
  return action.endsWith("*") ? { prefix: { action: action.slice(0, -1) } } : { term: { action } };
}

function ipClause(text: string): Clause {
  return { term: { [isIpPattern(text) ? "ip_address.ip" : "ip_address"]: text } };
}

function timeRange(field: string, from: number | null, to: number | null): Clause[] {
  if (from === null && to === null) return [];
  const bounds = { ...(from === null ? {} : { gte: from }), ...(to === null ? {} : { lt: to }) };
  return [{ range: { [field]: { ...bounds, format: "epoch_millis" } } }];
}

function textClause(term: SearchTerm): Clause {
  return term.kind === "phrase"
    ? { match_phrase: { text: { query: term.text } } }
    : prefixClause(term);
}
