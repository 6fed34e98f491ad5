import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parseConfig, variables } from "../platform/config.ts";
import { workerSections } from "../platform/worker-sections.ts";
import { secretsOf } from "./deploy.ts";
import { findConfigs, readConfig } from "./workers.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const everything = Object.fromEntries(variables.map((name) => [name, name]));
const workers = findConfigs(root).map((file) => ({
  dir: dirname(file),
  name: readConfig(readFileSync(file, "utf8")).name,
}));

test("every Worker is told what it needs, and one that is not is not deployed", () => {
  expect(workers.map(({ name }) => name).toSorted()).toEqual(
    Object.keys(workerSections).toSorted(),
  );
  expect(() => secretsOf("audit-log-other", everything)).toThrow("audit-log-other");
});

test("no consumer gets what makes tokens, tests hashes or shows metrics", () => {
  for (const { name } of workers.filter((worker) => worker.name !== "audit-log-api")) {
    const own = Object.keys(secretsOf(name, everything));
    expect(own).toContain("DATABASE_URL");
    expect(own.filter((one) => /^(JWT_|HASH_|METRICS_|MASK_|TENANT_|ALLOWED_)/.test(one))).toEqual(
      [],
    );
  }
  expect(secretsOf("audit-log-indexer", everything)).not.toHaveProperty("EXPORT_S3_BUCKET");
  expect(secretsOf("audit-log-maintenance", everything)).not.toHaveProperty("EXPORT_S3_BUCKET");
});

test("between them the Workers get every variable", () => {
  const given = workers.flatMap(({ name }) => Object.keys(secretsOf(name, everything)));
  expect([...new Set(given)].toSorted()).toEqual([...new Set(variables)].toSorted());
});

test.each(workers.filter(({ name }) => name !== "audit-log-api"))(
  "the code of $name asks for no other section",
  ({ dir, name }) => {
    const files = globSync("**/*.ts", { cwd: dir }).map((file) => join(dir, file));
    const shared = globSync("consumers/*.ts", { cwd: root }).map((file) => join(root, file));
    const text = [...files, ...shared]
      .filter((file) => !file.endsWith(".test.ts"))
      .map((file) => readFileSync(file, "utf8"))
      .join("\n");
    const asked = [
      ...[...text.matchAll(/requireSection\([\w.]+, "(\w+)"\)/g)].map(([, one = ""]) => one),
      ...[...text.matchAll(/config\.sections\.(\w+)/g)].map(([, one = ""]) => one),
      ...[...text.matchAll(/const \{ ([\w, ]+) \} = (?:this\.)?config\.sections;/g)].flatMap(
        ([, list = ""]) => list.split(", "),
      ),
    ];
    const own = Object.entries(workerSections).find(([worker]) => worker === name);
    // What pollers share lies in a folder above the maintenance Worker's, which has none.
    const allowed: string[] = [...(own?.[1] ?? []), "pollers"];
    expect(new Set(asked).size).toBeGreaterThan(2);
    expect(asked.filter((one) => !allowed.includes(one))).toEqual([]);
  },
);

test("what a Worker does not need is no problem of it", () => {
  const { problems, sections } = parseConfig({}, ["database"]);
  expect(problems.map((one) => one.variable)).toEqual(["DATABASE_URL"]);
  expect(sections).toEqual({});
});
