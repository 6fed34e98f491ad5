import { z } from "zod";
import { isDeeperThan } from "./json-text.ts";
import { isReserved } from "./own-actions.ts";

export const severities = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
export const outcomes = ["success", "failure", "denied"] as const;
export const actorTypes = ["user", "service", "api_key", "system", "anonymous"] as const;

/** Objects and arrays may stand at most this many inside each other. */
export const maxDepth = 20;
/** Bytes of one entry's JSON. */
export const maxEntryBytes = 256 * 1024;
/** Bytes of a bulk body. */
export const maxBulkBytes = 4 * 1024 * 1024;
export const maxBulkEntries = 100;

const name = (description: string, example: string) =>
  z
    .string()
    .min(1, "must not be empty")
    .max(255, "must be at most 255 characters")
    .meta({ description, examples: [example] });
const freeText = (description: string, example: string) =>
  z
    .string()
    .nullish()
    .meta({
      description: `${description} Text of any form, cut at 2,048 characters.`,
      examples: [example],
    });
const sentObject = (description: string, example: object) =>
  z
    .looseObject({})
    .refine((value) => !isDeeperThan(value, maxDepth), `must be nested at most ${maxDepth} deep`)
    .nullish()
    .meta({
      description: `${description} Kept as it is sent, to the order of keys and every digit, but for what is masked. Nested at most ${maxDepth} deep.`,
      examples: [example],
    });

/** A pattern for one of the words in any letter case, which JSON Schema cannot say otherwise. */
export const anyCase = (words: readonly string[]) =>
  `^(?:${words.map((word) => word.replaceAll(/[A-Z]/g, (letter) => `[${letter}${letter.toLowerCase()}]`)).join("|")})$`;

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

/** An RFC 3339 time with its zone, as milliseconds since 1970. */
export const timestamp = z
  .string()
  .refine(
    (text) => rfc3339.test(text) && isRealTime(text),
    "must be a time by RFC 3339 with a zone, such as 2026-01-31T09:30:00Z",
  )
  .transform((text) => Date.parse(text));

const lastMoment = Date.parse("9999-12-31T23:59:59.999Z");

/**
 * Date.parse takes the 30th of February for the 2nd of March. Beyond the year 9999, which a zone may lead to, Postgres
 * cannot read what JavaScript writes.
 */
function isRealTime(text: string): boolean {
  const [year = 0, month = 0, day = 0] = text.slice(0, 10).split("-").map(Number);
  const date = new Date(Date.UTC(year, month - 1, day));
  return year >= 1900 && date.getUTCMonth() === month - 1 && Date.parse(text) <= lastMoment;
}

const maxAheadMs = 5 * 60 * 1000;

/** An audit log as it is sent. Unknown fields are refused, so that a typing error cannot lose data. */
export const sentAuditLog = z
  .strictObject({
    action: name(
      "What was done, in a form of your own such as `document.deleted`. Actions that begin with `audit_log.` are the service's own.",
      "document.deleted",
    )
      .refine(
        (action) => !isReserved(action),
        "must not begin with audit_log.: such actions are the service's own",
      )
      .meta({ pattern: "^(?!audit_log\\.)" }),
    resource_type: name("The kind of thing that it was done to.", "document"),
    resource_id: z
      .string()
      .min(1, "must not be empty")
      .meta({
        description: "The thing that it was done to. Cut at 2,048 characters.",
        examples: ["doc_42"],
      }),
    resource_name: freeText("What people call the thing.", "Q3 report"),
    user_id: freeText("Who did it.", "u_7"),
    actor_type: z
      .enum(actorTypes)
      .default("user")
      .meta({ description: "What kind of actor did it.", examples: ["user"] }),
    actor_name: freeText("What people call the actor.", "Nora Quist"),
    email: freeText(
      "The actor's address. It is stored masked, beside a keyed hash that filters use.",
      "nora@example.com",
    ),
    session_id: freeText("The session that it was done in.", "s_19"),
    request_id: freeText("The request of yours that it was done by.", "req_81"),
    ip_address: freeText("Where it was done from.", "203.0.113.7"),
    user_agent: freeText("What it was done with.", "Mozilla/5.0"),
    severity: z
      .string()
      .toUpperCase()
      .pipe(z.enum(severities))
      .default("INFO")
      .meta({
        description: `How much it matters: ${severities.join(", ")}, in any letter case.`,
        examples: ["INFO"],
        pattern: anyCase(severities),
      }),
    outcome: z
      .enum(outcomes)
      .nullish()
      .meta({ description: "How it ended.", examples: ["success"] }),
    description: freeText("What happened, for a person to read.", "Deleted the Q3 report"),
    metadata: sentObject("Anything else that matters.", { reason: "obsolete" }),
    before_state: sentObject("What changed, before.", { status: "draft" }),
    after_state: sentObject("What changed, after.", { status: "deleted" }),
    targets: z
      .array(
        z.strictObject({
          type: name("The target's kind.", "folder"),
          id: z
            .string()
            .min(1, "must not be empty")
            .meta({ description: "The target. Cut at 2,048 characters.", examples: ["f_1"] }),
          name: freeText("What people call the target.", "Reports"),
        }),
      )
      .max(20, "must hold at most 20 targets")
      .nullish()
      .meta({
        description: "Other things that it was done to.",
        examples: [[{ type: "folder", id: "f_1" }]],
      }),
    occurred_at: timestamp
      .refine((time) => time <= Date.now() + maxAheadMs, "must be at most 5 minutes ahead")
      .nullish()
      .meta({
        type: ["string", "null"],
        format: "date-time",
        description:
          "When it happened: RFC 3339 with a zone, at most 5 minutes ahead. The time of storing, where it is left out.",
        examples: ["2026-01-31T09:30:00Z"],
      }),
    event_id: z
      .string()
      .min(1, "must not be empty")
      .max(255, "must be at most 255 characters")
      .nullish()
      .meta({
        description:
          "Your own id of the event. Sent again within 7 days with the same content, the event is not stored again; with other content it is refused.",
        examples: ["evt_5"],
      }),
  })
  .meta({ id: "NewAuditLog", description: "An audit log as it is sent." });

export type SentAuditLog = z.output<typeof sentAuditLog>;

/** What the service stores, but for what the database adds: masked, cleaned and cut. */
export type NewAuditLog = {
  action: string;
  severity: (typeof severities)[number];
  outcome: string | null;
  actor_type: string;
  actor_name: string | null;
  user_id: string | null;
  email: string | null;
  email_hash: string | null;
  session_id: string | null;
  request_id: string | null;
  ip_address: string | null;
  user_agent: string | null;
  resource_type: string;
  resource_id: string;
  resource_name: string | null;
  description: string | null;
  event_id: string | null;
  recorded_by: string;
  /** RFC 3339 in UTC with milliseconds; null means the time of storing. */
  occurred_at: string | null;
  /** JSON text, here and in the next five. */
  metadata: string | null;
  before_state: string | null;
  after_state: string | null;
  targets: string | null;
  truncated_fields: string | null;
  masked_fields: string | null;
};

/** A stored audit log. Times are RFC 3339 in UTC with milliseconds. */
export type AuditLog = Omit<NewAuditLog, "email_hash" | "occurred_at"> & {
  id: string;
  tenant_id: string;
  created_at: string;
  occurred_at: string;
};

/** The fields of an audit log whose value is JSON text: it goes into answers without being parsed. */
export const jsonFields = [
  "metadata",
  "before_state",
  "after_state",
  "targets",
  "truncated_fields",
  "masked_fields",
] as const;

/** The other fields that answers give, in their order. */
export const answerFields = [
  "id",
  "tenant_id",
  "created_at",
  "occurred_at",
  "action",
  "severity",
  "outcome",
  "actor_type",
  "actor_name",
  "user_id",
  "email",
  "session_id",
  "request_id",
  "ip_address",
  "user_agent",
  "resource_type",
  "resource_id",
  "resource_name",
  "description",
  "event_id",
  "recorded_by",
] as const satisfies readonly (keyof AuditLog)[];

type AnswerField = (typeof answerFields)[number] | (typeof jsonFields)[number];
const allFields: readonly AnswerField[] = [...answerFields, ...jsonFields];
const isJson = new Set<AnswerField>(jsonFields);

/**
 * The log as JSON text, as every answer gives it. The two lists of paths stand there only where they are not empty.
 *
 * @param fields those that are wanted, in this order
 */
export function auditLogJson(log: AuditLog, fields: readonly AnswerField[] = allFields): string {
  const parts: string[] = [];
  for (const field of fields) {
    const isList = field === "truncated_fields" || field === "masked_fields";
    if (log[field] === null && isList) continue;
    parts.push(
      `"${field}":${isJson.has(field) ? (log[field] ?? "null") : JSON.stringify(log[field])}`,
    );
  }
  return `{${parts.join(",")}}`;
}
