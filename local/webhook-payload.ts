import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { z } from "zod";

export type JsonObject = { readonly [key: string]: unknown };

export type Webhook = { readonly name: string; readonly payload: JsonObject };

const recorded = z.array(
  z.object({
    name: z.string().min(1),
    examples: z.array(z.record(z.string(), z.unknown())),
  }),
);

/** Every recorded delivery of `@octokit/webhooks-examples` for github.com, in the package's order. */
export function recordedWebhooks(): Webhook[] {
  // The package's only export is a JSON file; its types name @octokit/webhooks-types' 58 unions, which the mapping does not need.
  const file = createRequire(import.meta.url).resolve("@octokit/webhooks-examples");
  const events = recorded.parse(JSON.parse(readFileSync(file, "utf8")));
  return events.flatMap(({ name, examples }) => examples.map((payload) => ({ name, payload })));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The value at a dotted path; a number is an array's index. "" is the value itself. */
export function valueAt(value: unknown, path: string): unknown {
  if (path === "") return value;
  return path
    .split(".")
    .reduce<unknown>(
      (inner, key) =>
        isObject(inner) ? inner[key] : Array.isArray(inner) ? inner[Number(key)] : undefined,
      value,
    );
}

export function objectAt(value: unknown, path: string): JsonObject | undefined {
  const found = valueAt(value, path);
  return isObject(found) ? found : undefined;
}

export function listAt(value: unknown, path: string): readonly unknown[] {
  const found = valueAt(value, path);
  return Array.isArray(found) ? found : [];
}

/** The first of the paths that holds a number or a text that is not blank, as text. */
export function textAt(value: unknown, ...paths: readonly string[]): string | undefined {
  for (const path of paths) {
    const found = valueAt(value, path);
    if (typeof found === "number") return String(found);
    if (typeof found === "string" && found.trim() !== "") return found;
  }
  return undefined;
}

/** The same text of each element: the names of labels, the logins of assignees. */
export function textsAt(value: unknown, path: string, field: string): string[] {
  return listAt(value, path).flatMap((item) => textAt(item, field) ?? []);
}
