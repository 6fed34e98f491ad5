import { createHash } from "node:crypto";
import type { LogFilter } from "../../events/log-filter.ts";
import { isMaskHash } from "../../events/mask-hash.ts";
import { maskPatterns } from "../../events/mask-rules.ts";
import type { TenantMask } from "../../events/tenant-mask.ts";

/**
 * The filter as an export's row keeps it. A secret in it is replaced by its digest: it finds nothing either
 * way, since no stored log holds one. What only the tenant's own rules mask stays as it was asked for: logs
 * from before the rule have it.
 *
 * @param mask the rules that hold for every tenant
 */
export function storableFilter(filter: LogFilter, mask: TenantMask): LogFilter {
  return {
    ...filter,
    metadata: filter.metadata.map(({ path, value }) => {
      const isHidden = path.split(".").some((key) => mask.keyRule(key) !== null);
      const isMasked = value === "***" || isMaskHash(value);
      return { path, value: isHidden && !isMasked ? digest(value) : withoutSecret(value) };
    }),
    search: filter.search.map((term) => {
      const text = withoutSecret(term.text);
      return text === term.text ? term : { ...term, text, words: [text] };
    }),
  };
}

function withoutSecret(text: string): string {
  return maskPatterns(text) === text ? text : digest(text);
}

function digest(text: string): string {
  return `sha256${createHash("sha256").update(text).digest("hex")}`;
}
