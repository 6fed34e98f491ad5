import type { Context } from "hono";
import { maskEmail } from "../../events/email.ts";
import { type ShownFilters, shownFilters } from "../../events/export.ts";
import { maskJson } from "../../events/mask-json.ts";
import type { KeyRule } from "../../events/mask-rules.ts";
import { filterShape, isMetadataKey } from "./log-query.ts";

/** An address within a text: what stands around an @, up to spaces and quotes. */
const addressLike = /[^\s"<>]+@[^\s"<>]+/g;

/**
 * The filters of a request for a person to read: as they were asked for, with addresses masked, and what
 * would be masked in a log masked here too.
 *
 * @param filters their JSON text
 */
export function shownFiltersOf(filters: string, keyRule: KeyRule): ShownFilters {
  const { text } = maskJson(filters, "", keyRule);
  const { email, search, ...shown } = shownFilters.parse(JSON.parse(text));
  return {
    ...shown,
    ...(email === undefined ? {} : { email: [email].flat().map(maskEmail) }),
    ...(search === undefined ? {} : { search: String(search).replaceAll(addressLike, maskEmail) }),
  };
}

/** The filters of a list's query, as the same in a body would be: without what only says which page it is. */
export function filtersText(c: Context): string {
  const filters = Object.entries(c.req.queries())
    .filter(([key]) => Object.hasOwn(filterShape, key) || isMetadataKey(key))
    .map(([key, values]) => [key, values.length === 1 ? values[0] : values]);
  return JSON.stringify(Object.fromEntries(filters));
}
