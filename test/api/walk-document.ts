import { z } from "zod";

const node = z.record(z.string(), z.unknown());
type Node = z.output<typeof node>;

const isNode = (value: unknown): value is Node => node.safeParse(value).success;

/**
 * What a reader of the document would miss: parameters, headers, answers and fields that are not described,
 * and fields and bodies without an example.
 *
 * @returns JSON pointers, each with what is not there
 */
export function findMissing(document: Node): string[] {
  const missing: string[] = [];
  walk(document, "#", document, missing);
  return missing;
}

/** @param isShown whether something that this is a part of has an example of its own */
function walk(value: unknown, at: string, root: Node, missing: string[], isShown = false): void {
  if (Array.isArray(value)) {
    for (const [n, one] of value.entries()) walk(one, `${at}/${n}`, root, missing, isShown);
    return;
  }
  if (!isNode(value)) return;
  const parent = at.split("/").at(-2);
  const isInExample = /\/(examples?|default)(\/|$)/.test(at);
  if (isInExample) return;
  const shown = resolve(value, root);
  const needsText = ["properties", "headers", "parameters", "responses"].includes(parent ?? "");
  if (needsText && typeof shown["description"] !== "string") missing.push(`${at}: description`);
  if (parent === "properties" && !isShown && !hasExample(value, root))
    missing.push(`${at}: example`);
  if (parent === "content" && !("example" in value) && !("examples" in value))
    missing.push(`${at}: example`);
  if ("operationId" in value)
    for (const name of ["summary", "tags"]) if (!(name in value)) missing.push(`${at}: ${name}`);
  for (const [key, one] of Object.entries(value))
    walk(one, `${at}/${key}`, root, missing, isShown || "examples" in value);
}

function resolve(value: Node, root: Node): Node {
  const { $ref: ref } = value;
  if (typeof ref !== "string") return value;
  let found: unknown = root;
  for (const part of ref.slice(2).split("/")) found = isNode(found) ? found[part] : undefined;
  return isNode(found) ? found : {};
}

/** One of its own, or of all its parts. */
function hasExample(value: Node, root: Node): boolean {
  const shown = resolve(value, root);
  if ("examples" in shown || "enum" in shown || "const" in shown) return true;
  if (isNode(shown["items"])) return hasExample(shown["items"], root);
  if (isNode(shown["properties"]))
    return Object.values(shown["properties"]).every((one) => isNode(one) && hasExample(one, root));
  return shown["type"] === "boolean";
}
