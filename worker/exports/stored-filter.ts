import { createHash } from "node:crypto";
import type { LogFilter } from "../../events/log-filter.ts";
import { isMaskHash } from "../../events/mask-hash.ts";
import { maskPatterns } from "../../events/mask-rules.ts";
import type { TenantMask } from "../../events/tenant-mask.ts";

/**
 * The filter as an export's row keeps it. A secret in it is replaced by a digest, by which without HASH_SECRET no
 * guess can be tested: it finds nothing either way, since no stored log holds one. What only the tenant's own rules mask stays as it was asked for: logs
 * from before the rule have it.
 *
 * @param mask the rules that hold for every tenant
 */
export function storableFilter(filter: LogFilter, mask: TenantMask): LogFilter {
  return {
    ...filter,
    metadata: filter.metadata.map(({ path, value }) => {
      const isMasked = value === "***" || isMaskHash(value);
      const isSecret = !isMasked && isHidden(path.split("."), value, mask);
      return { path, value: isSecret ? digest(value, mask) : withoutSecret(value, mask) };
    }),
    search: filter.search.map((term) => {
      const text = withoutSecret(term.text, mask);
      return text === term.text ? term : { ...term, text, words: [text] };
    }),
  };
}

/** Whether the keys of a path have a log's value masked. As in maskJson null stays, and so does a number as a count. */
function isHidden(keys: string[], value: string, mask: TenantMask): boolean {
  if (value === "null") return false;
  const isNumber = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(value);
  return keys.some((key, n) => {
    const verdict = mask.keyRule(key);
    const isCount = verdict?.isPlural === true && isNumber && n === keys.length - 1;
    return verdict !== null && !isCount;
  });
}

function withoutSecret(text: string, mask: TenantMask): string {
  return maskPatterns(text) === text ? text : digest(text, mask);
}

/** Of letters and digits only, so that a search takes it for one word. */
function digest(text: string, mask: TenantMask): string {
  return `sha256${createHash("sha256").update(mask.hide("hash", text)).digest("hex")}`;
}
