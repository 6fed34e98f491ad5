import type { Context } from "hono";
import { cleanText, cutText } from "../../events/clean-text.ts";
import { maskEmail } from "../../events/email.ts";
import { type ShownFilters, shownFilters } from "../../events/export.ts";
import { maskJson } from "../../events/mask-json.ts";
import { type How, stricter } from "../../events/mask-rules.ts";
import type { TenantMask } from "../../events/tenant-mask.ts";
import { filterShape, isMetadataKey } from "./log-query.ts";

/** An address within a text: what stands around an @, up to spaces and quotes. */
const addressLike = /[^\s"<>]+@[^\s"<>]+/g;

/**
 * The filters of a request for a person to read: as they were asked for, with addresses masked, and what
 * would be masked in a log masked here too.
 *
 * @param filters their JSON text
 */
export function shownFiltersOf(filters: string, mask: TenantMask): ShownFilters {
  return { ...parse(maskJson(filters, "", mask).text), ...hiddenFilters(parse(filters), mask) };
}

/** The same for the metadata of an own log, in which keys and values are masked as in any other. */
export function ownFiltersOf(filters: string, mask: TenantMask): ShownFilters {
  return { ...parse(filters), ...hiddenFilters(parse(filters), mask) };
}

/** The filters of a list's query, as the same in a body would be: without what only says which page it is. */
export function filtersText(c: Context): string {
  const filters = Object.entries(c.req.queries())
    .filter(([key]) => Object.hasOwn(filterShape, key) || isMetadataKey(key))
    .map(([key, values]) => [key, values.length === 1 ? values[0] : values]);
  return JSON.stringify(Object.fromEntries(filters));
}

const parse = (filters: string): ShownFilters => shownFilters.parse(JSON.parse(filters));

/** Those that are masked for the field that they compare, or for a key that leads to it, and not for the name of the filter. */
function hiddenFilters(filters: ShownFilters, mask: TenantMask): ShownFilters {
  const hidden: ShownFilters = {};
  for (const [name, values] of Object.entries(filters)) {
    const how = isMetadataKey(name) ? keyHow(name, mask) : fieldHow(name, mask);
    const clean = [values].flat().map((value) => cutText(cleanText(value)));
    if (how) hidden[name] = clean.map((value) => mask.hide(how, value));
    else if (mask.isEmailClear) continue;
    else if (name === "email") hidden[name] = clean.map(maskEmail);
    else if (name === "search")
      hidden[name] = mask.maskText(clean.join(" ")).replaceAll(addressLike, maskEmail);
  }
  return hidden;
}

/** How a value inside metadata is masked for one of the keys that lead to it: `token.id` as a whole is no secret's key. */
function keyHow(name: string, mask: TenantMask): How | undefined {
  if (mask.keyRule(name) !== null) return undefined;
  const found = name.split(".").flatMap((key) => mask.keyRule(key)?.how ?? []);
  return found.length === 0 ? undefined : found.reduce(stricter);
}

/** How the field is masked that a filter of this name compares. */
function fieldHow(name: string, { fields }: TenantMask): How | undefined {
  return Object.entries(fields).find(([field]) => field === name)?.[1];
}
