import { cp, mkdir, symlink, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { type PythonTools, run } from "../tools/python-tools.ts";
import type { Api } from "./start-api.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const programs = join(root, "test/clients");
const timeoutMs = 120_000;

/** What both programs print: the log that they stored and found, and the rows of their export. */
const printed = z.strictObject({ id: z.uuid(), severity: z.string(), rows: z.int() });
export type ClientResult = z.output<typeof printed>;

type Run = {
  api: Api;
  token: string;
  /** Stands in the log that is stored, and in no other. */
  word: string;
  /** The OpenAPI document. */
  documentFile: string;
  /** A folder of the caller's. */
  dir: string;
};

/** Makes the types of the document, checks the program against them, and runs it. */
export async function runTypeScriptClient(options: Run): Promise<ClientResult> {
  const dir = join(options.dir, "typescript");
  await cp(join(programs, "typescript"), dir, { recursive: true, filter: isNoPackage });
  // The packages that the program imports.
  await symlink(join(root, "node_modules"), join(dir, "node_modules"));
  const generator = join(programs, "typescript/node_modules/openapi-typescript/bin/cli.js");
  const made = ["--default-non-nullable=false", "-o", join(dir, "schema.ts")];
  await run(process.execPath, [generator, options.documentFile, ...made], timeoutMs);
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await run(process.execPath, [tsc, "-p", join(dir, "tsconfig.json")], timeoutMs);
  const program = join(dir, "client.ts");
  return resultOf(await run(process.execPath, [program, ...argumentsOf(options)], timeoutMs));
}

const isNoPackage = (path: string) => !path.endsWith("node_modules");

/** Makes a package of the document, and runs the program on it. */
export async function runPythonClient(options: Run, tools: PythonTools): Promise<ClientResult> {
  const dir = join(options.dir, "python");
  await mkdir(dir);
  await cp(join(programs, "python"), dir, { recursive: true });
  // What comes with the tools tidies up what it has made.
  const path = [dirname(tools.python), process.env["PATH"]].join(delimiter);
  await run(
    tools.python,
    [
      "-m",
      "openapi_python_client",
      "generate",
      `--path=${options.documentFile}`,
      "--meta=none",
      "--fail-on-warning",
      `--output-path=${join(dir, "audit_log_client")}`,
    ],
    timeoutMs,
    { ...process.env, PATH: path },
  );
  return resultOf(
    await run(tools.python, [join(dir, "client.py"), ...argumentsOf(options)], timeoutMs),
  );
}

const argumentsOf = ({ api, token, word }: Run) => [api.url, token, word];

function resultOf(output: string): ClientResult {
  return printed.parse(JSON.parse(output.split("\n").at(-1) ?? ""));
}

/** The document as the API serves it, in a file. */
export async function saveDocument(api: Api, dir: string): Promise<string> {
  const answer = await fetch(`${api.url}/api/v1/openapi.json`);
  const file = join(dir, "openapi.json");
  await writeFile(file, await answer.text());
  return file;
}
