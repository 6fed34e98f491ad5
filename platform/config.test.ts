import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConfig, requireSection } from "./config.ts";
import { ApiError } from "./errors.ts";

const env = {
  DATABASE_URL: "postgres://user:password@host:5432/audit",
  JWT_SECRET: "x".repeat(32),
  HASH_SECRET: "y".repeat(32),
  AWS_ACCESS_KEY_ID: "key",
  AWS_SECRET_ACCESS_KEY: "secret",
  SQS_LOG_QUEUE_URL: "https://sqs/1/logs",
  SQS_EXPORT_QUEUE_URL: "https://sqs/1/exports",
  OPENSEARCH_HOST: "search.example.com",
};
const parsed = (changes: Record<string, string | undefined> = {}) =>
  parseConfig({ ...env, ...changes });
const sectionNames = [
  "database",
  "masking",
  "metrics",
  "origins",
  "pollers",
  "readAudit",
  "readDatabase",
  "retention",
  "s3",
  "search",
  "sqs",
  "tenants",
  "tokens",
];

describe("a configuration", () => {
  test("with all that has no default is whole", () => {
    const config = parsed();
    expect(config.problems).toEqual([]);
    expect(Object.keys(config.sections).toSorted()).toEqual(expect.arrayContaining(sectionNames));
    expect(config.sections).toMatchObject({
      database: { url: env.DATABASE_URL, fetchEndpoint: undefined },
      tokens: {
        keys: { kind: "secrets", algorithm: "HS256", secrets: [env.JWT_SECRET] },
        maxAgeSeconds: 86_400,
        issuer: undefined,
        audience: undefined,
        defaultTenant: undefined,
        defaultRoles: [],
      },
      tenants: { autoCreate: true },
      retention: { defaultDays: 90 },
      masking: { hashSecret: env.HASH_SECRET, extraKeys: [] },
      sqs: { region: "ap-southeast-1", endpoint: "https://sqs.ap-southeast-1.amazonaws.com" },
      pollers: { max: 4 },
      s3: { endpoint: "https://s3.ap-southeast-1.amazonaws.com", bucket: "logs-export" },
    });
    expect(config.logLevel).toBe("INFO");
  });

  test("that is empty has a problem for each variable that is needed, and never throws", () => {
    const { problems, sections } = parseConfig({});
    expect(new Set(problems.map((problem) => problem.variable))).toEqual(new Set(Object.keys(env)));
    expect(problems.every((problem) => problem.message === "is not set")).toBe(true);
    expect(Object.keys(sections)).toEqual([
      "readDatabase",
      "tenants",
      "readAudit",
      "retention",
      "metrics",
      "origins",
      "pollers",
    ]);
  });

  test.each([
    ["DATABASE_URL", "mysql://u:p@host/db", ["database"]],
    ["DATABASE_URL", "postgres://host/db", ["database"]],
    ["DATABASE_URL", " ", ["database"]],
    ["NEON_FETCH_ENDPOINT", "ftp://host", ["database", "readDatabase"]],
    ["DATABASE_READ_URL", "mysql://host/name", ["readDatabase"]],
    ["DEFAULT_READ_AUDIT", "everything", ["readAudit"]],
    ["JWT_SECRET", "short", ["tokens"]],
    ["JWT_ALGORITHM", "none", ["tokens"]],
    ["JWT_ALGORITHM", "HS256,RS256", ["tokens"]],
    ["JWT_SECRET_PREVIOUS", "short", ["tokens"]],
    ["JWT_JWKS_URL", "http://issuer.example/keys", ["tokens"]],
    ["JWT_JWKS_URL", "https", ["tokens"]],
    ["MAX_TOKEN_AGE", "1w", ["tokens"]],
    ["MAX_TOKEN_AGE", "59", ["tokens"]],
    ["MAX_TOKEN_AGE", "367d", ["tokens"]],
    ["MAX_TOKEN_AGE", "forever", ["tokens"]],
    ["DEFAULT_ROLE", "platform_admin", ["tokens"]],
    ["DEFAULT_ROLE", "writer,root", ["tokens"]],
    ["TENANT_AUTO_CREATE", "no", ["tenants"]],
    ["ALLOWED_ORIGINS", "*", ["origins"]],
    ["ALLOWED_ORIGINS", "https://*.example.com", ["origins"]],
    ["ALLOWED_ORIGINS", "https://app.example.com/", ["origins"]],
    ["ALLOWED_ORIGINS", "https://app.example.com,null", ["origins"]],
    ["ALLOWED_ORIGINS", "https://App.example.com", ["origins"]],
    ["ALLOWED_ORIGINS", "http://app.example.com", ["origins"]],
    ["DEFAULT_RETENTION_DAYS", "0", ["retention"]],
    ["DEFAULT_RETENTION_DAYS", "36501", ["retention"]],
    ["DEFAULT_RETENTION_DAYS", "90d", ["retention"]],
    ["HASH_SECRET", "short", ["masking"]],
    ["AWS_ACCESS_KEY_ID", undefined, ["s3", "sqs"]],
    ["AWS_ENDPOINT_URL", "localhost:4566", ["s3", "sqs"]],
    ["SQS_LOG_QUEUE_URL", "logs", ["sqs"]],
    ["EXPORT_S3_BUCKET", "x", ["s3"]],
    ["OPENSEARCH_HOST", "not a host", ["search"]],
    ["OPENSEARCH_PORT", "https", ["search"]],
    ["METRICS_TOKEN", "short", ["metrics"]],
    ["OPENSEARCH_AUTH", "aws", ["search"]],
    ["MAX_POLLERS", "0", ["pollers"]],
    ["MAX_POLLERS", "21", ["pollers"]],
    ["MAX_POLLERS", "2.5", ["pollers"]],
    ["LOG_LEVEL", "LOUD", []],
    ["DEBUG", "yes", []],
  ])("with %s=%j stops only what needs it", (variable, value, stopped) => {
    const { problems, sections } = parsed({ [variable]: value });
    const there: string[] = Object.keys(sections);
    expect(sectionNames.filter((name) => !there.includes(name))).toEqual(stopped);
    expect(new Set(problems.map((problem) => problem.variable.split(".")[0]))).toEqual(
      new Set([variable]),
    );
  });

  test.each([1, 20])("may have %i pollers at most", (max) => {
    expect(parsed({ MAX_POLLERS: String(max) }).sections.pollers).toEqual({ max });
  });

  test("names no value in its problems", () => {
    const { problems } = parsed({
      JWT_SECRET: "hunter2",
      DATABASE_URL: "hunter2",
      HASH_SECRET: "hunter2",
      DEFAULT_ROLE: "hunter2",
      OPENSEARCH_PORT: "hunter2",
    });
    expect(problems).toHaveLength(5);
    expect(JSON.stringify(problems)).not.toContain("hunter2");
  });

  test("of any values never throws", () => {
    const names = [
      ...Object.keys(env),
      "DEBUG",
      "LOG_LEVEL",
      "DEFAULT_ROLE",
      "MASK_KEYS",
      "OPENSEARCH_PORT",
      "NEON_FETCH_ENDPOINT",
    ];
    const value = fc.oneof(
      fc.string(),
      fc.constantFrom("", " ", "\0", "http://", "https://[", "postgres://@/"),
      fc.integer(),
      fc.constant({}),
    );
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...names), value), (some) => {
        const config = parseConfig(some);
        expect(["DEBUG", "INFO", "WARNING", "ERROR"]).toContain(config.logLevel);
      }),
    );
  });
});

describe("the keys of tokens", () => {
  const url = "https://issuer.example/keys";

  test("are the secret and the one before", () => {
    const previous = "z".repeat(32);
    expect(parsed({ JWT_SECRET_PREVIOUS: previous }).sections.tokens?.keys).toEqual({
      kind: "secrets",
      algorithm: "HS256",
      secrets: [env.JWT_SECRET, previous],
    });
  });

  test.each(["RS256", "PS256", "ES256", "EdDSA"])("are public ones for %s", (algorithm) => {
    const { sections } = parsed({ JWT_ALGORITHM: algorithm, JWT_JWKS_URL: url });
    expect(sections.tokens?.keys).toEqual({ kind: "jwks", algorithm, url });
    // A secret that is still there is not used, and one that is not is not missed.
    const { problems } = parsed({
      JWT_ALGORITHM: algorithm,
      JWT_JWKS_URL: url,
      JWT_SECRET: undefined,
    });
    expect(problems).toEqual([]);
  });

  test.each([
    [{ JWT_ALGORITHM: "ES256" }, "JWT_JWKS_URL"],
    [{ JWT_ALGORITHM: "HS256", JWT_JWKS_URL: url, JWT_SECRET: undefined }, "JWT_SECRET"],
  ])("of %j are missing", (changes, variable) => {
    const { problems, sections } = parsed(changes);
    expect(sections.tokens).toBeUndefined();
    expect(problems).toMatchObject([{ section: "tokens", variable }]);
  });

  test("may be fetched without encryption on the same machine only", () => {
    for (const host of ["127.0.0.1:9", "localhost", "[::1]:80"])
      expect(parsed({ JWT_JWKS_URL: `http://${host}/keys` }).problems).toEqual([]);
    for (const host of ["127.0.0.1.example", "localhost.example", "10.0.0.1", "user@issuer"])
      expect(parsed({ JWT_JWKS_URL: `http://${host}/keys` }).problems).toHaveLength(1);
  });

  test.each([
    ["3600", 3_600],
    ["90m", 5_400],
    ["24h", 86_400],
    ["7d", 604_800],
    ["60s", 60],
  ])("sign tokens that live for %s at most", (text, seconds) => {
    expect(parsed({ MAX_TOKEN_AGE: text }).sections.tokens?.maxAgeSeconds).toBe(seconds);
  });
});

describe("what a variable means", () => {
  test("DEBUG=true sets the level, else LOG_LEVEL does in any letter case", () => {
    expect(parsed({ DEBUG: "true", LOG_LEVEL: "ERROR" }).logLevel).toBe("DEBUG");
    expect(parsed({ DEBUG: "false", LOG_LEVEL: "warning" }).logLevel).toBe("WARNING");
    expect(parsed({ DEBUG: "", LOG_LEVEL: "ERROR" }).logLevel).toBe("ERROR");
  });

  test("lists are parted by commas, and white space around is dropped", () => {
    const { sections } = parsed({
      DEFAULT_ROLE: " writer , auditor,",
      MASK_KEYS: "national_id,, shoe size ",
    });
    expect(sections.tokens?.defaultRoles).toEqual(["writer", "auditor"]);
    expect(sections.masking?.extraKeys).toEqual(["national_id", "shoe size"]);
    expect(parsed({ DEFAULT_ROLE: "", MASK_KEYS: "" }).sections.tokens?.defaultRoles).toEqual([]);
  });

  test("a replica is read only where DATABASE_READ_URL names one", () => {
    expect(parsed().sections.readDatabase).toEqual({ replica: undefined });
    const url = "postgres://user:password@replica.example.com/audit";
    expect(parsed({ DATABASE_READ_URL: url }).sections.readDatabase?.replica?.url).toBe(url);
  });

  test("SQS_ENDPOINT beats AWS_ENDPOINT_URL, which beats AWS itself", () => {
    const local = { AWS_ENDPOINT_URL: "http://localhost:4566" };
    expect(parsed(local).sections).toMatchObject({
      sqs: { endpoint: "http://localhost:4566" },
      s3: { endpoint: "http://localhost:4566" },
    });
    expect(parsed({ ...local, SQS_ENDPOINT: "http://queue" }).sections).toMatchObject({
      sqs: { endpoint: "http://queue" },
      s3: { endpoint: "http://localhost:4566" },
    });
    expect(parsed({ AWS_ENDPOINT_URL: "", AWS_REGION: "eu-west-1" }).sections.sqs?.endpoint).toBe(
      "https://sqs.eu-west-1.amazonaws.com",
    );
  });

  test.each([
    ["search.example.com", undefined, "https://search.example.com"],
    ["search.example.com", "9200", "https://search.example.com:9200"],
    ["search.example.com:9201", "9200", "https://search.example.com:9201"],
    ["https://search.example.com:9201/", "9200", "https://search.example.com:9201"],
    ["http://search.example.com", "9200", "http://search.example.com:9200"],
    ["localhost", "9200", "http://localhost:9200"],
    ["127.0.0.1:9201", "9200", "http://127.0.0.1:9201"],
    ["[::1]", "9200", "http://[::1]:9200"],
    ["https://localhost", "", "https://localhost"],
  ])("OPENSEARCH_HOST=%s with OPENSEARCH_PORT=%s is %s", (host, port, node) => {
    expect(parsed({ OPENSEARCH_HOST: host, OPENSEARCH_PORT: port }).sections.search?.node).toBe(
      node,
    );
  });

  test("OpenSearch gets a user only with a password", () => {
    const { search } = parsed({ OPENSEARCH_USER: "admin", OPENSEARCH_PASS: "x" }).sections;
    expect(search?.auth).toEqual({ kind: "basic", username: "admin", password: "x" });
    expect(parsed().sections.search?.auth).toBeUndefined();
    for (const [given, missing] of [
      ["OPENSEARCH_USER", "OPENSEARCH_PASS"],
      ["OPENSEARCH_PASS", "OPENSEARCH_USER"],
    ] as const) {
      const { sections, problems } = parsed({ [given]: "hunter2" });
      expect(sections.search).toBeUndefined();
      expect(problems).toEqual([
        {
          section: "search",
          variable: missing,
          message: "is not set, but the other of user and password is",
        },
      ]);
    }
  });

  test("OPENSEARCH_AUTH=sigv4 takes the keys and the region of AWS, and uses no password", () => {
    const { search } = parsed({
      OPENSEARCH_AUTH: "sigv4",
      OPENSEARCH_USER: "left over",
      AWS_REGION: "eu-west-1",
    }).sections;
    expect(search?.auth).toEqual({
      kind: "sigv4",
      accessKeyId: env.AWS_ACCESS_KEY_ID,
      secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
      region: "eu-west-1",
    });
    for (const name of ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]) {
      const { sections, problems } = parsed({ OPENSEARCH_AUTH: "sigv4", [name]: "" });
      expect(sections.search).toBeUndefined();
      expect(problems).toContainEqual({
        section: "search",
        variable: name,
        message: "is not set, but OPENSEARCH_AUTH=sigv4 signs with it",
      });
    }
  });
});

describe("requireSection", () => {
  test("gives a section that is whole", () => {
    expect(requireSection(parsed(), "database").url).toBe(env.DATABASE_URL);
  });

  test("throws for one that is not, and says nothing of it to the client", () => {
    const ask = () => requireSection(parsed({ DATABASE_URL: undefined }), "database");
    expect(ask).toThrow(ApiError);
    expect(ask).toThrow(expect.objectContaining({ code: "misconfigured" }));
    expect(ask).not.toThrow(/DATABASE|postgres/i);
  });
});
