import { z } from "zod";
import { metadataOf } from "./webhook-metadata.ts";
import { textAt } from "./webhook-payload.ts";
import type { JsonObject, Webhook } from "./webhook-payload.ts";
import { resourceObject, resourceOf, targetsOf } from "./webhook-resource.ts";
import type { Reference } from "./webhook-resource.ts";
import { statesOf } from "./webhook-states.ts";

/** One entry of `POST /logs`, with only the fields that a webhook can fill. */
export type WebhookAuditLog = {
  action: string;
  resource_type: string;
  resource_id: string;
  resource_name?: string;
  user_id?: string;
  actor_type: "user" | "service" | "system";
  actor_name?: string;
  email?: string;
  request_id: string;
  description?: string;
  severity?: "WARNING" | "ERROR" | "CRITICAL";
  outcome?: "success" | "failure";
  occurred_at?: string;
  targets: Reference[];
  before_state: JsonObject;
  after_state: JsonObject;
  metadata: JsonObject;
};

/**
 * What GitHub recorded, as the body of one `POST /logs`. There is no `event_id`: the same recordings
 * are sent by every run, and each run is to store its own. `requestId` is how a run is found again.
 */
export function webhookToAuditLog(webhook: Webhook, requestId: string): WebhookAuditLog {
  const { name, payload } = webhook;
  const object = resourceObject(webhook);
  const { type, id, name: resourceName } = resourceOf(webhook);
  const verb = textAt(payload, "action");
  const outcome = outcomeOf(payload, object);
  return {
    action: verb === undefined ? name : `${name}.${verb}`,
    resource_type: type,
    resource_id: id,
    ...defined({ resource_name: resourceName }),
    ...actorOf(payload),
    ...defined({
      email: textAt(payload, "pusher.email"),
      description:
        textAt(object, "body") ??
        textAt(payload, "head_commit.message", "description") ??
        textAt(object, "description", "summary", "commit.message", "output.summary"),
      severity: severityOf(verb ?? name, outcome, object),
      outcome,
      occurred_at: occurredAt(verb, payload, object),
    }),
    request_id: requestId,
    targets: targetsOf(webhook, { type, id }),
    ...statesOf(payload, object),
    metadata: metadataOf(webhook, object),
  };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(fields: T): Defined<T>;
function defined(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function actorOf(
  payload: JsonObject,
): Pick<WebhookAuditLog, "user_id" | "actor_type" | "actor_name"> {
  const login = textAt(payload, "sender.login");
  if (login === undefined) return { actor_type: "system", actor_name: "GitHub" };
  const actor_name = textAt(payload, "sender.name") ?? login.replace(/\[bot\]$/, "");
  const type = textAt(payload, "sender.type");
  // Alerts are sent in the name of the organization "github": nobody pressed a button.
  const actor_type = type === "Bot" ? "service" : login === "github" ? "system" : "user";
  return { user_id: login, actor_type, actor_name };
}

const FAILED = new Set(["failure", "error", "errored", "timed_out", "startup_failure"]);
const SUCCEEDED = new Set(["success", "built"]);

function outcomeOf(payload: JsonObject, object: JsonObject): WebhookAuditLog["outcome"] {
  const result =
    textAt(object, "conclusion", "state") ?? textAt(payload, "state", "status", "build.status");
  if (result === undefined) return undefined;
  return FAILED.has(result) ? "failure" : SUCCEEDED.has(result) ? "success" : undefined;
}

const RAISED = new Set(["create", "created", "published", "reopened"]);
const TAKEN_AWAY =
  /^(deleted?|removed(_from_repository)?|revoked|blocked|publicized|transferred|cancelled|suspend)$/;

function severityOf(
  verb: string,
  outcome: WebhookAuditLog["outcome"],
  object: JsonObject,
): WebhookAuditLog["severity"] {
  if (outcome === "failure") return "ERROR";
  const level = RAISED.has(verb)
    ? textAt(object, "severity", "security_advisory.severity", "rule.severity")
    : undefined;
  if (level === "critical") return "CRITICAL";
  if (level === "high" || level === "error") return "ERROR";
  return level !== undefined || TAKEN_AWAY.test(verb) ? "WARNING" : undefined;
}

/** The field that says when it happened, for the actions where one does; `updated_at` of a deleted thing does not. */
const TIMES: { readonly [verb: string]: readonly string[] } = {
  created: ["created_at", "started_at"],
  opened: ["created_at"],
  submitted: ["submitted_at"],
  published: ["published_at", "created_at"],
  released: ["published_at"],
  completed: ["completed_at", "updated_at"],
  closed: ["closed_at"],
  fixed: ["fixed_at"],
  edited: ["updated_at"],
  reopened: ["updated_at"],
  renamed: ["updated_at"],
  labeled: ["updated_at"],
  unlabeled: ["updated_at"],
  assigned: ["updated_at"],
  unassigned: ["updated_at"],
};

const timestamp = z.iso.datetime({ offset: true });

function occurredAt(verb: string | undefined, payload: JsonObject, object: JsonObject) {
  const found =
    textAt(payload, "starred_at") ??
    textAt(object, ...(verb === undefined ? [] : (TIMES[verb] ?? [])));
  return timestamp.safeParse(found).data;
}
