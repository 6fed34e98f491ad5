import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { checkConfigCommand } from "./check-config.ts";
import { deployCommand, deployOrder } from "./deploy.ts";

const dir = mkdtempSync(join(tmpdir(), "audit-log-operator-"));
const secret = "0123456789abcdef0123456789abcdef";
const whole = {
  DATABASE_URL: "postgres://u:p@db.example.com/audit",
  JWT_SECRET: secret,
  HASH_SECRET: secret,
  AWS_ACCESS_KEY_ID: "key",
  AWS_SECRET_ACCESS_KEY: "secret",
  SQS_LOG_QUEUE_URL: "https://sqs.ap-southeast-1.amazonaws.com/1/logs",
  SQS_EXPORT_QUEUE_URL: "https://sqs.ap-southeast-1.amazonaws.com/1/exports",
  OPENSEARCH_HOST: "search.example.com",
};

function envFile(name: string, variables: Record<string, string>): string {
  const file = join(dir, name);
  writeFileSync(
    file,
    Object.entries(variables)
      .map(([key, value]) => `${key}="${value}"`)
      .join("\n"),
  );
  return file;
}

let printed: string[] = [];
beforeEach(() => {
  printed = [];
  for (const level of ["log", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void printed.push(String(line)));
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(() => rmSync(dir, { recursive: true }));

test("a whole configuration is said to be whole, from a file or from the environment", () => {
  expect(checkConfigCommand(["--variables", envFile("whole", whole)], {})).toBe(0);
  expect(checkConfigCommand([], { ...whole, PATH: "/bin" })).toBe(0);
  expect(printed).toEqual(["The configuration is whole.", "The configuration is whole."]);
});

test("every problem is named, a wrong name among them, and no value is shown", () => {
  const file = envFile("broken", {
    ...whole,
    JWT_SECRET: "hush",
    DATABASE_URL: "mysql://hush",
    OPENSEARCH_PROT: "hush",
  });
  expect(checkConfigCommand(["--variables", file], {})).toBe(1);
  const output = printed.join("\n");
  for (const name of ["JWT_SECRET", "DATABASE_URL", "OPENSEARCH_PROT"])
    expect(output).toContain(`- ${name} `);
  expect(output).not.toContain("hush");
});

test.each([[["--variable", "x"]], [["--variables", "/no/such/file"]]])(
  "%j ends with the usage",
  async (args) => {
    expect(checkConfigCommand(args, {})).toBe(2);
    expect(await deployCommand(args, {})).toBe(2);
    expect(printed.join("\n")).toContain("Usage: npm run deploy");
  },
);

test("nothing is deployed with a configuration that is not whole", async () => {
  expect(await deployCommand([], {})).toBe(1);
  expect(printed.join("\n")).toContain("nothing was deployed");
});

test("the indexer is deployed first and the API last", () => {
  const files = [
    "wrangler.toml",
    "consumers/exporter/wrangler.toml",
    "consumers/indexer/wrangler.toml",
  ];
  expect(deployOrder(files)).toEqual([files[2], files[1], files[0]]);
});

test("a dry run bundles every Worker", async () => {
  const code = await deployCommand(["--variables", envFile("dry", whole), "--dry-run"], {});
  expect(code).toBe(0);
  expect(printed).toEqual([
    "1 of 4: consumers/indexer/wrangler.toml",
    "2 of 4: consumers/exporter/wrangler.toml",
    "3 of 4: consumers/maintenance/wrangler.toml",
    "4 of 4: wrangler.toml",
  ]);
});
