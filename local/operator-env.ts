import { readFileSync } from "node:fs";
import { parseArgs, parseEnv } from "node:util";
import { parseConfig, variables } from "../platform/config.ts";

export type OperatorOptions = {
  env: Record<string, string>;
  /** For wrangler itself, such as CLOUDFLARE_API_TOKEN. */
  wrangler: Record<string, string>;
  file: string | undefined;
  dryRun: boolean;
};

/**
 * The variables that an operator wants to deploy with: those of `--variables`, else those of the
 * environment. Only variables that the Workers read. (Node takes an option --env-file for itself, even
 * behind the name of the script: so ours has another name.)
 *
 * @throws when the arguments or the file cannot be read
 */
export function readOperatorEnv(args: string[], environment: NodeJS.ProcessEnv): OperatorOptions {
  const { values } = parseArgs({
    args,
    options: { variables: { type: "string" }, "dry-run": { type: "boolean", default: false } },
  });
  const file = values.variables;
  const given = file === undefined ? environment : parseEnv(readFileSync(file, "utf8"));
  const named = (isOurs: (name: string) => boolean) =>
    Object.fromEntries(
      Object.entries(given).flatMap(([name, value]) =>
        value !== undefined && isOurs(name) ? [[name, value]] : [],
      ),
    );
  return {
    env: named((name) => variables.includes(name)),
    wrangler: named(isForWrangler),
    file,
    dryRun: values["dry-run"],
  };
}

/** What is wrong with the variables, a line each: what the Workers would say, and names that none of them reads. */
export function configProblems(options: OperatorOptions): string[] {
  const problems = parseConfig(options.env).problems.map(
    ({ variable, message, section }) => `${variable} ${message} (${section})`,
  );
  if (options.file === undefined) return [...new Set(problems)];
  const names = Object.keys(parseEnv(readFileSync(options.file, "utf8")));
  const unknown = names.filter((name) => !variables.includes(name) && !isForWrangler(name));
  return [
    ...new Set([
      ...problems,
      ...unknown.map((name) => `${name} is not a variable of this service`),
    ]),
  ];
}

const isForWrangler = (name: string) => /^(CLOUDFLARE|WRANGLER)_/.test(name);
