import { findForm, type Found, parseForm } from "./mask-form.ts";
import { maskHash } from "./mask-hash.ts";
import { type How, type KeyRule, keyRule, maskPatterns, stricter } from "./mask-rules.ts";
import type { MaskedField, Masking } from "./masking.ts";
import { findPersonal } from "./personal-values.ts";

/** How a tenant's logs are masked: the rules that always hold, with its own. */
export type TenantMask = {
  keyRule: KeyRule;
  /** A text without what is secret by its form, for every tenant and for this one. */
  maskText: (text: string) => string;
  /** A text without what is so for this tenant only. */
  maskOwn: (text: string) => string;
  /** What is left of a value that is masked as a whole. */
  hide: (how: How, text: string) => string;
  /** How a field is masked, or undefined where it is not. */
  fields: { readonly [field in MaskedField]?: How | undefined };
  isEmailClear: boolean;
};

/** What all tenants of a deployment have in common. */
export type MaskSecrets = {
  hashSecret: string;
  /** Keys that are masked besides the defaults. */
  extraKeys: readonly string[];
};

/** @param own null for a tenant that has no rules of its own */
export function tenantMask(
  own: Masking | null,
  tenantId: string,
  { hashSecret, extraKeys }: MaskSecrets,
): TenantMask {
  const { patterns = [], fields = {}, email } = own ?? noRules;
  const rule = knownRule(own ?? noRules, extraKeys);
  const hide = (how: How, text: string): string => {
    if (how === "hash") return maskHash(text, tenantId, hashSecret);
    return how === "partial" ? endOf(text) : "***";
  };
  const finders = patterns.map(finderOf);
  const maskOwn = (text: string): string => {
    const found = finders.flatMap((find) => find(text));
    return found.length === 0 ? text : replaced(text, found, hide);
  };
  return {
    keyRule: rule,
    hide,
    maskText: (text) => maskOwn(maskPatterns(text)),
    maskOwn,
    fields,
    isEmailClear: email === "clear",
  };
}

const noRules: Masking = {};
/** Of the deployment's keys and a tenant's rules: these are the same objects for many requests. */
const knownRules = new WeakMap<readonly string[], WeakMap<Masking, KeyRule>>();

function knownRule(own: Masking, extraKeys: readonly string[]): KeyRule {
  const rules = knownRules.get(extraKeys) ?? new WeakMap<Masking, KeyRule>();
  knownRules.set(extraKeys, rules);
  const rule = rules.get(own) ?? keyRule(extraKeys, own.keys);
  rules.set(own, rule);
  return rule;
}

type Finding = Found & { how: How };

/** Where a pattern of the tenant stands in a text. The pattern has been checked when it was set. */
function finderOf({ name, form, how }: NonNullable<Masking["patterns"]>[number]) {
  const parsed = parseForm(form ?? "");
  return (text: string): Finding[] => {
    const found =
      name !== undefined
        ? findPersonal(name, text)
        : typeof parsed === "string"
          ? []
          : findForm(parsed, text);
    return found.map((place) => ({ ...place, how }));
  };
}

/** What overlaps is masked as one, by what keeps the least of it. */
function replaced(text: string, found: Finding[], hide: TenantMask["hide"]): string {
  const merged: Finding[] = [];
  for (const next of found.toSorted((one, other) => one.start - other.start)) {
    const last = merged.at(-1);
    if (last && next.start < last.end) {
      last.end = Math.max(last.end, next.end);
      last.how = stricter(last.how, next.how);
    } else merged.push({ ...next });
  }
  let shown = "";
  let from = 0;
  for (const { start, end, how } of merged) {
    shown += text.slice(from, start) + hide(how, text.slice(start, end));
    from = end;
  }
  return shown + text.slice(from);
}

const leastLength = 8;
const mostKept = 4;

/** The last characters: a quarter at most, none of a short text nor of one that holds a secret. */
function endOf(text: string): string {
  if (text.length < leastLength || maskPatterns(text) !== text) return "***";
  const characters = [...text];
  const kept = Math.min(mostKept, Math.floor(characters.length / 4));
  return kept === 0 ? "***" : `***${characters.slice(-kept).join("")}`;
}
