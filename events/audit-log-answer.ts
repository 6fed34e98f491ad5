import { z } from "zod";
import { actorTypes, outcomes, severities } from "./audit-log.ts";

const text = (description: string, example: string) =>
  z.string().meta({ description, examples: [example] });
const nullableText = (description: string, example: string) =>
  z
    .string()
    .nullable()
    .meta({ description, examples: [example] });
const nullableObject = (description: string, example: object) =>
  z
    .looseObject({})
    .nullable()
    .meta({
      description: `${description} As it was sent, but for what was masked.`,
      examples: [example],
    });
const paths = (description: string, example: string) =>
  z
    .array(z.string())
    .optional()
    .meta({ description, examples: [[example]] });
/** A time as answers give it. */
const answerTime = (description: string) =>
  z.iso.datetime().meta({
    description: `${description} UTC with milliseconds.`,
    examples: ["2026-01-31T09:30:00.250Z"],
  });

/** An audit log as answers give it. */
export const auditLogSchema = z
  .object({
    id: z.uuid().meta({
      description: "A UUIDv7 that the service made; later logs have higher ones.",
      examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
    }),
    tenant_id: text("Whose log it is.", "acme"),
    created_at: answerTime("When it was stored."),
    occurred_at: answerTime("When it happened."),
    action: text("What was done.", "document.deleted"),
    severity: z.enum(severities).meta({ description: "How much it matters.", examples: ["INFO"] }),
    outcome: z
      .enum(outcomes)
      .nullable()
      .meta({ description: "How it ended.", examples: ["success"] }),
    actor_type: z
      .enum(actorTypes)
      .meta({ description: "What kind of actor did it.", examples: ["user"] }),
    actor_name: nullableText("What people call the actor.", "Nora Quist"),
    user_id: nullableText("Who did it.", "u_7"),
    email: nullableText(
      "The actor's address, masked unless the tenant keeps it in clear.",
      "n***@example.com",
    ),
    session_id: nullableText("The session that it was done in.", "s_19"),
    request_id: nullableText("The sender's request that it was done by.", "req_81"),
    ip_address: nullableText("Where it was done from.", "203.0.113.7"),
    user_agent: nullableText("What it was done with.", "Mozilla/5.0"),
    resource_type: text("The kind of thing that it was done to.", "document"),
    resource_id: text("The thing that it was done to.", "doc_42"),
    resource_name: nullableText("What people call the thing.", "Q3 report"),
    description: nullableText("What happened, for a person to read.", "Deleted the Q3 report"),
    event_id: nullableText("The sender's own id of the event.", "evt_5"),
    recorded_by: text("The `sub` of the token that sent it, or the API key's id.", "alice"),
    metadata: nullableObject("Anything else that matters.", { reason: "obsolete" }),
    before_state: nullableObject("What changed, before.", { status: "draft" }),
    after_state: nullableObject("What changed, after.", { status: "deleted" }),
    targets: z
      .array(
        z.object({
          type: text("The target's kind.", "folder"),
          id: text("The target.", "f_1"),
          name: text("What people call the target.", "Reports").optional(),
        }),
      )
      .meta({
        description: "Other things that it was done to.",
        examples: [[{ type: "folder", id: "f_1" }]],
      }),
    truncated_fields: paths(
      "JSON Pointers of what was cut; left out where nothing was.",
      "/user_agent",
    ),
    masked_fields: paths("JSON Pointers of what was masked; left out where nothing was.", "/email"),
  })
  .meta({ id: "AuditLog", description: "A stored audit log." });
