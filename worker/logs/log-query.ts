import { z } from "@hono/zod-openapi";
import { actorTypes, anyCase, outcomes, severities, timestamp } from "../../events/audit-log.ts";
import { cleanText, cutText } from "../../events/clean-text.ts";
import { hashEmail } from "../../events/email.ts";
import {
  exactFields,
  type LogFilter,
  maxMetadataPath,
  maxMetadataPaths,
} from "../../events/log-filter.ts";
import { maxSearchLength, parseSearch } from "../../events/search-terms.ts";
import { type Config, requireSection } from "../../platform/config.ts";

const maxValues = 50;

type TextForm = { type: "string"; minLength?: number; pattern?: string; enum?: string[] };

/** A parameter that may be repeated: any of its values. */
const anyOf = <T extends z.ZodType<string, string>>(
  value: T,
  description: string,
  example: string,
  form: Omit<TextForm, "type"> = { minLength: 1 },
) =>
  z
    .union([
      value.transform((one) => [one]),
      z.array(value).max(maxValues, `may be given at most ${maxValues} times`),
    ])
    .optional()
    .openapi({
      ...oneOrMore({ type: "string", ...form }),
      description: `${description} May be repeated: any of them.`,
      examples: [[example]],
    });
/** For the document: the form of a value, or of several. In a query both are sent alike. */
const oneOrMore = (value: TextForm) => ({
  anyOf: [value, { type: "array" as const, items: value, maxItems: maxValues }],
});
/** Cleaned and cut like the field itself, so that what was sent is found by what was sent. */
const text = z
  .string()
  .min(1, "must not be empty")
  .transform((value) => cutText(cleanText(value)));
const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
  z.string().refine((value) => values.includes(value), `must be one of ${values.join(", ")}`);
const time = (description: string, example: string) =>
  timestamp.optional().openapi({
    type: "string",
    format: "date-time",
    description: `${description} RFC 3339 with a zone.`,
    examples: [example],
  });

/** The filters of list, search and stats. `metadata.<path>` parameters come besides, as any other key. */
export const filterShape = {
  action: anyOf(text, "Exact, or a prefix that ends in `*`.", "document.*"),
  severity: anyOf(
    z.string().toUpperCase().pipe(oneOf(severities)),
    `${severities.join(", ")}, in any letter case.`,
    "WARNING",
    { pattern: anyCase(severities) },
  ),
  user_id: anyOf(text, "Who did it.", "u_7"),
  resource_type: anyOf(text, "The kind of thing.", "document"),
  resource_id: anyOf(text, "The thing.", "doc_42"),
  target_id: anyOf(text, "The id of one of the targets.", "f_1"),
  outcome: anyOf(oneOf(outcomes), "How it ended.", "denied", { enum: [...outcomes] }),
  actor_type: anyOf(oneOf(actorTypes), "What kind of actor did it.", "service", {
    enum: [...actorTypes],
  }),
  session_id: anyOf(text, "The session.", "s_19"),
  request_id: anyOf(text, "The request.", "req_81"),
  ip_address: anyOf(text, "An address or a CIDR block.", "203.0.113.0/24"),
  email: anyOf(text, "The whole address; it is compared by its keyed hash.", "nora@example.com"),
  from: time("Stored at this time or later.", "2026-01-01T00:00:00Z"),
  to: time("Stored before this time.", "2026-02-01T00:00:00Z"),
  occurred_from: time("Happened at this time or later.", "2026-01-01T00:00:00Z"),
  occurred_to: time("Happened before this time.", "2026-02-01T00:00:00Z"),
  search: z
    .string()
    .transform((value, context) => {
      const terms = parseSearch(value);
      if (typeof terms !== "string") return terms;
      context.addIssue({ code: "custom", message: terms });
      return z.NEVER;
    })
    .optional()
    .openapi({
      type: "string",
      description:
        'Full text over every text field and every value inside metadata and the states: words, "phrases", -not, prefix*.',
      minLength: 1,
      maxLength: maxSearchLength,
      examples: ['login "too many attempts" -success'],
    }),
};

const metadataPrefix = "metadata.";
const metadataValue = z.union([z.string(), z.array(z.string()).max(maxValues)]);

const metadataValues = {
  [`^${metadataPrefix.replace(".", "\\.")}[\\s\\S]{1,${maxMetadataPath}}$`]: oneOrMore({
    type: "string",
  }),
};

/** For the document: the parameters that are called `metadata.<path>`, as many as there are. */
export const metadataParameters = {
  name: "metadata",
  in: "query" as const,
  style: "form" as const,
  explode: true,
  required: false,
  description: `Every \`metadata.<path>=value\` parameter, ${maxMetadataPaths} paths at most: the value inside metadata, exact. \`metadata.user.id=7\` finds \`{user: {id: 7}}\`. Each may be repeated: any of its values.`,
  schema: {
    type: "object" as const,
    patternProperties: metadataValues,
    additionalProperties: false,
    maxProperties: maxMetadataPaths,
    examples: [{ "metadata.reason": "obsolete" }],
  },
};

/** Checks what the shape of an object cannot say: keys by pattern and their values, and times in their order. */
export function checkQuery(
  query: Record<string, unknown>,
  context: z.RefinementCtx,
  known: object,
): void {
  const unknown = Object.keys(query).filter(
    (key) => !Object.hasOwn(known, key) && !isMetadataKey(key),
  );
  if (unknown.length > 0)
    context.addIssue({ code: "unrecognized_keys", keys: unknown, input: query });
  const ofMetadata = Object.entries(query).filter(([key]) => isMetadataKey(key));
  if (ofMetadata.length > maxMetadataPaths) {
    const message = `must be at most ${maxMetadataPaths} paths`;
    context.addIssue({ code: "custom", path: ["metadata"], message });
  }
  for (const [key, value] of ofMetadata) {
    if (key.length > metadataPrefix.length + maxMetadataPath) {
      const message = `must name a path of at most ${maxMetadataPath} characters`;
      context.addIssue({ code: "custom", path: [key], message });
    }
    // A query has only texts; a JSON body may have anything.
    if (!metadataValue.safeParse(value).success) {
      const message = `must be a string, or at most ${maxValues} strings`;
      context.addIssue({ code: "custom", path: [key], message });
    }
  }
  for (const [from, to] of [
    ["from", "to"],
    ["occurred_from", "occurred_to"],
  ] as const) {
    if (
      typeof query[from] === "number" &&
      typeof query[to] === "number" &&
      query[from] >= query[to]
    ) {
      context.addIssue({ code: "custom", path: [to], message: `must be later than ${from}` });
    }
  }
}

export function isMetadataKey(key: string): boolean {
  return key.startsWith(metadataPrefix) && key.length > metadataPrefix.length;
}

export const filterQuery = z
  .looseObject(filterShape)
  .superRefine((query, context) => checkQuery(query, context, filterShape))
  .meta({
    id: "LogFilters",
    description: `Only logs that all of them select. \`metadata.<path>\` are filters too, ${maxMetadataPaths} paths at most.`,
    patternProperties: metadataValues,
    additionalProperties: false,
    maxProperties: Object.keys(filterShape).length + maxMetadataPaths,
    examples: [{ action: "document.*", from: "2026-01-01T00:00:00Z" }],
  });
export type FilterQuery = z.output<typeof filterQuery>;

/** The filter that a query asks for. An address leaves here as its hash only. */
export function logFilter(query: FilterQuery, tenantId: string, config: Config): LogFilter {
  const { email = [] } = query;
  return {
    exact: Object.fromEntries(exactFields.map((field) => [field, query[field] ?? []])),
    action: query.action ?? [],
    target_id: query.target_id ?? [],
    ip_address: query.ip_address ?? [],
    email_hash: email.map((one) =>
      hashEmail(one, tenantId, requireSection(config, "masking").hashSecret),
    ),
    metadata: metadataPairs(query),
    from: query.from ?? null,
    to: query.to ?? null,
    occurred_from: query.occurred_from ?? null,
    occurred_to: query.occurred_to ?? null,
    search: query.search ?? [],
  };
}

function metadataPairs(query: Record<string, unknown>): LogFilter["metadata"] {
  return Object.entries(query)
    .filter(([key]) => isMetadataKey(key))
    .flatMap(([key, values]) =>
      [values].flat().map((value) => ({
        path: cleanText(key.slice(metadataPrefix.length)),
        value: cleanText(String(value)),
      })),
    );
}
