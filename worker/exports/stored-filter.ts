import { createHash } from "node:crypto";
import type { LogFilter } from "../../events/log-filter.ts";
import { type KeyRule, maskPatterns } from "../../events/mask-rules.ts";

/**
 * The filter as an export's row keeps it. A secret in it is replaced by its digest: it finds nothing either
 * way, since no stored log holds one.
 */
export function storableFilter(filter: LogFilter, keyRule: KeyRule): LogFilter {
  return {
    ...filter,
    metadata: filter.metadata.map(({ path, value }) => {
      const isHidden = path.split(".").some((key) => keyRule(key) !== "kept");
      return { path, value: isHidden && value !== "***" ? digest(value) : withoutSecret(value) };
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
