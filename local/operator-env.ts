import { readFileSync } from "node:fs";
import { parseArgs, parseEnv } from "node:util";
import { parseConfig, variables } from "../platform/config.ts";

export type OperatorOptions = {
  env: Record<string, string>;
  file: string | undefined;
  dryRun: boolean;
};

/**
 * The variables that an operator wants to deploy with: those of `--env-file`, else those of the
 * environment. Only variables that the Workers read.
 *
 * @throws when the arguments or the file cannot be read
 */
export function readOperatorEnv(args: string[], environment: NodeJS.ProcessEnv): OperatorOptions {
  const { values } = parseArgs({
    args,
    options: { "env-file": { type: "string" }, "dry-run": { type: "boolean", default: false } },
  });
  const file = values["env-file"];
  const given = file === undefined ? environment : parseEnv(readFileSync(file, "utf8"));
  const env = Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) =>
      value !== undefined && variables.includes(name) ? [[name, value]] : [],
    ),
  );
  return { env, file, dryRun: values["dry-run"] };
}

/** What is wrong with the variables, a line each: what the Workers would say, and names that none of them reads. */
export function configProblems(options: OperatorOptions): string[] {
  const problems = parseConfig(options.env).problems.map(
    ({ variable, message, section }) => `${variable} ${message} (${section})`,
  );
  if (options.file === undefined) return [...new Set(problems)];
  const names = Object.keys(parseEnv(readFileSync(options.file, "utf8")));
  const unknown = names.filter(
    (name) => !variables.includes(name) && !/^(CLOUDFLARE|WRANGLER)_/.test(name),
  );
  return [
    ...new Set([
      ...problems,
      ...unknown.map((name) => `${name} is not a variable of this service`),
    ]),
  ];
}
