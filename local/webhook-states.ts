import { isObject, objectAt, textAt, valueAt } from "./webhook-payload.ts";
import type { JsonObject } from "./webhook-payload.ts";

type States = { before_state: JsonObject; after_state: JsonObject };

const NO_COMMIT = /^0+$/;

/** GitHub says only what a field was; what it is now stands in the object itself. A field whose new value is not told is left out of `after_state`. */
export function statesOf(payload: JsonObject, object: JsonObject): States {
  const before: Record<string, unknown> = {};
  const after: Record<string, unknown> = {};
  const record = (field: string, change: JsonObject, now: unknown) => {
    before[field] = brief(change["from"]);
    const current = "to" in change ? change["to"] : now;
    if (current !== undefined) after[field] = brief(current);
  };
  for (const [field, change] of Object.entries(objectAt(payload, "changes") ?? {})) {
    if (!isObject(change)) continue;
    if ("from" in change) record(field, change, object[field]);
    // A renamed repository: {repository: {name: {from}}}.
    for (const [inner, nested] of Object.entries(change)) {
      if (isObject(nested) && "from" in nested && !("from" in change)) {
        record(inner, nested, valueAt(payload, `${field}.${inner}`));
      }
    }
  }
  const [from, to] = [textAt(payload, "before"), textAt(payload, "after")];
  if (from !== undefined && !NO_COMMIT.test(from)) before["sha"] = from;
  if (to !== undefined && !NO_COMMIT.test(to)) after["sha"] = to;
  const plan = objectAt(payload, "previous_marketplace_purchase.plan");
  if (plan !== undefined) {
    before["plan"] = brief(plan);
    after["plan"] = brief(valueAt(payload, "marketplace_purchase.plan"));
  }
  return { before_state: before, after_state: after };
}

/** A person is a login, and any other object its own plain values without its addresses. */
function brief(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(brief);
  if (!isObject(value)) return value ?? null;
  const owner = value["user"] ?? value["organization"];
  if (isObject(owner)) return brief(owner);
  return (
    textAt(value, "login") ??
    Object.fromEntries(
      Object.entries(value).filter(
        ([key, inner]) => typeof inner !== "object" && !/(^|_)url$|^node_id$/.test(key),
      ),
    )
  );
}
