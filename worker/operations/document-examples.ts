type Schema = {
  $ref?: string;
  type?: unknown;
  examples?: unknown[];
  enum?: unknown[];
  anyOf?: Schema[];
  properties?: Record<string, Schema>;
  items?: Schema;
};
type Schemas = Readonly<Record<string, Schema>>;

/**
 * A whole value made of the examples of its parts, so that one example a field is all there is to write.
 *
 * @returns undefined where a schema has none
 */
export function exampleOf(schema: Schema, schemas: Schemas): unknown {
  if (schema.$ref !== undefined) {
    const named = schemas[schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1)];
    return named && exampleOf(named, schemas);
  }
  if (schema.examples) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  if (schema.items) {
    const item = exampleOf(schema.items, schemas);
    return item === undefined ? undefined : [item];
  }
  if (!schema.properties) return schema.type === "boolean" ? true : undefined;
  return Object.fromEntries(
    Object.entries(schema.properties).flatMap(([name, part]) => {
      const example = exampleOf(part, schemas);
      return example === undefined ? [] : [[name, example]];
    }),
  );
}
