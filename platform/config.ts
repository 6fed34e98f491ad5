import { z } from "zod";
import { ApiError } from "./errors.ts";
import { logLevels, type LogLevel } from "./logger.ts";
import { originSection } from "./origin-settings.ts";
import { list, optional, required, secret, wholeNumber } from "./setting-forms.ts";
import { tokenSection } from "./token-settings.ts";

const httpUrl = z
  .url({ protocol: /^https?$/, error: "must be an http:// or https:// URL" })
  .transform((url) => url.replace(/\/+$/, ""))
  .optional();

const databaseUrl = z
  .string()
  .regex(/^postgres(ql)?:\/\/[^/]+@[^/]+\/.+/, "must be postgres://user:password@host/name");

const databaseSection = z
  .object({
    DATABASE_URL: required.pipe(databaseUrl),
    NEON_FETCH_ENDPOINT: httpUrl,
  })
  .transform((env) => ({ url: env.DATABASE_URL, fetchEndpoint: env.NEON_FETCH_ENDPOINT }));

/** A section of its own: a wrong replica stops nothing, reads stay with the primary. */
const readDatabaseSection = z
  .object({
    DATABASE_READ_URL: optional.pipe(databaseUrl.optional()),
    NEON_FETCH_ENDPOINT: httpUrl,
  })
  .transform(({ DATABASE_READ_URL: url, NEON_FETCH_ENDPOINT: fetchEndpoint }) => ({
    replica: url === undefined ? undefined : { url, fetchEndpoint },
  }));

const tenantSection = z
  .object({
    TENANT_AUTO_CREATE: z.enum(["true", "false"], "must be true or false").default("true"),
  })
  .transform((env) => ({ autoCreate: env.TENANT_AUTO_CREATE === "true" }));

const readAuditSection = z
  .object({
    DEFAULT_READ_AUDIT: z
      .enum(["changes", "searches", "all"], "must be changes, searches or all")
      .default("searches"),
  })
  .transform((env) => ({ defaultLevel: env.DEFAULT_READ_AUDIT }));

const retentionSection = z
  .object({
    DEFAULT_RETENTION_DAYS: wholeNumber(1, 36_500, "a whole number of days").default(90),
  })
  .transform((env) => ({ defaultDays: env.DEFAULT_RETENTION_DAYS }));

const maskSection = z
  .object({ HASH_SECRET: secret, MASK_KEYS: optional })
  .transform((env) => ({ hashSecret: env.HASH_SECRET, extraKeys: list(env.MASK_KEYS) }));

const awsKeys = {
  AWS_ACCESS_KEY_ID: required,
  AWS_SECRET_ACCESS_KEY: required,
  AWS_REGION: z.string().default("ap-southeast-1"),
  AWS_ENDPOINT_URL: httpUrl,
};

const sqsSection = z
  .object({
    ...awsKeys,
    SQS_ENDPOINT: httpUrl,
    SQS_LOG_QUEUE_URL: required.pipe(z.url("must be the queue's URL")),
    SQS_EXPORT_QUEUE_URL: required.pipe(z.url("must be the queue's URL")),
  })
  .transform((env) => ({
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    region: env.AWS_REGION,
    endpoint:
      env.SQS_ENDPOINT ?? env.AWS_ENDPOINT_URL ?? `https://sqs.${env.AWS_REGION}.amazonaws.com`,
    logQueueUrl: env.SQS_LOG_QUEUE_URL,
    exportQueueUrl: env.SQS_EXPORT_QUEUE_URL,
  }));

const s3Section = z
  .object({
    ...awsKeys,
    EXPORT_S3_BUCKET: z.string().min(3, "must be the name of a bucket").default("logs-export"),
  })
  .transform((env) => ({
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    region: env.AWS_REGION,
    endpoint: env.AWS_ENDPOINT_URL ?? `https://s3.${env.AWS_REGION}.amazonaws.com`,
    bucket: env.EXPORT_S3_BUCKET,
  }));

const searchSection = z
  .object({
    OPENSEARCH_HOST: required,
    OPENSEARCH_PORT: optional.pipe(
      z
        .string()
        .refine((port) => /^\d{1,5}$/.test(port) && Number(port) <= 65_535, "must be a port number")
        .optional(),
    ),
    OPENSEARCH_AUTH: z.enum(["basic", "sigv4"], "must be basic or sigv4").default("basic"),
    OPENSEARCH_USER: optional,
    OPENSEARCH_PASS: optional,
    AWS_ACCESS_KEY_ID: optional,
    AWS_SECRET_ACCESS_KEY: optional,
    AWS_REGION: awsKeys.AWS_REGION,
  })
  .transform((env, context) => {
    const node = openSearchNode(env.OPENSEARCH_HOST, env.OPENSEARCH_PORT);
    if (!node) {
      context.addIssue({
        code: "custom",
        path: ["OPENSEARCH_HOST"],
        message: "must be a host, or a URL without user and path",
      });
      return z.NEVER;
    }
    const auth = env.OPENSEARCH_AUTH === "sigv4" ? signingKeys(env) : userAndPassword(env);
    if (auth && "missing" in auth) {
      context.addIssue({ code: "custom", path: [auth.missing], message: auth.message });
      return z.NEVER;
    }
    return { node, auth };
  });

const metricsSection = z
  .object({ METRICS_TOKEN: z.string().min(16, "must be at least 16 characters").optional() })
  .transform((env) => ({ token: env.METRICS_TOKEN }));
type SearchAuth =
  | { kind: "basic"; username: string; password: string }
  | { kind: "sigv4"; accessKeyId: string; secretAccessKey: string; region: string };
type Missing = { missing: string; message: string };

function userAndPassword(env: {
  OPENSEARCH_USER?: string | undefined;
  OPENSEARCH_PASS?: string | undefined;
}): SearchAuth | Missing | undefined {
  const { OPENSEARCH_USER: username, OPENSEARCH_PASS: password } = env;
  if (username === undefined && password === undefined) return undefined;
  const message = "is not set, but the other of user and password is";
  if (username === undefined) return { missing: "OPENSEARCH_USER", message };
  if (password === undefined) return { missing: "OPENSEARCH_PASS", message };
  return { kind: "basic", username, password };
}

/**
 * A user and password beside it are not used, and are no mistake: a secret that is taken out of the file of
 * variables stays with the Workers.
 */
function signingKeys(env: {
  AWS_ACCESS_KEY_ID?: string | undefined;
  AWS_SECRET_ACCESS_KEY?: string | undefined;
  AWS_REGION: string;
}): SearchAuth | Missing {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = env;
  const message = "is not set, but OPENSEARCH_AUTH=sigv4 signs with it";
  if (accessKeyId === undefined) return { missing: "AWS_ACCESS_KEY_ID", message };
  if (secretAccessKey === undefined) return { missing: "AWS_SECRET_ACCESS_KEY", message };
  return { kind: "sigv4", accessKeyId, secretAccessKey, region: env.AWS_REGION };
}
const pollerSection = z
  .object({
    MAX_POLLERS: wholeNumber(1, 20).default(4),
  })
  .transform((env) => ({ max: env.MAX_POLLERS }));

const logSection = z
  .object({
    DEBUG: z.enum(["true", "false"], "must be true or false").optional(),
    LOG_LEVEL: z
      .string()
      .toUpperCase()
      .pipe(z.enum(logLevels, `must be among ${logLevels.join(", ")}`))
      .default("INFO"),
  })
  .transform((env): LogLevel => (env.DEBUG === "true" ? "DEBUG" : env.LOG_LEVEL));

const sections = {
  database: databaseSection,
  readDatabase: readDatabaseSection,
  tokens: tokenSection,
  tenants: tenantSection,
  readAudit: readAuditSection,
  retention: retentionSection,
  masking: maskSection,
  sqs: sqsSection,
  s3: s3Section,
  search: searchSection,
  metrics: metricsSection,
  origins: originSection,
  pollers: pollerSection,
};

type Sections = { [Name in keyof typeof sections]: z.output<(typeof sections)[Name]> };
export type SectionName = keyof Sections;
export const sectionNames = Object.keys(sections) as readonly SectionName[];
export type ConfigProblem = { section: SectionName | "logging"; variable: string; message: string };
export type Config = {
  logLevel: LogLevel;
  /** A section is missing where one of its variables is missing or wrong: only what needs it stops. */
  sections: Partial<Sections>;
  problems: ConfigProblem[];
};
export type DatabaseConfig = Sections["database"];
export type TokenConfig = Sections["tokens"];
export type SqsConfig = Sections["sqs"];
export type S3Config = Sections["s3"];
export type SearchConfig = Sections["search"];

/**
 * Parses every variable once; never throws. A Worker's environment is its variables and secrets. One
 * that is empty is as good as not set.
 *
 * @param names what the Worker needs: of the rest nothing is read, and nothing is a problem
 */
export function parseConfig(
  environment: object,
  names: readonly SectionName[] = sectionNames,
): Config {
  const env = Object.fromEntries(
    Object.entries(environment)
      .map(([name, value]) => [name, typeof value === "string" ? value.trim() : value] as const)
      .filter(([, value]) => value !== ""),
  );
  const problemsOf = (section: ConfigProblem["section"], error: z.ZodError): ConfigProblem[] =>
    error.issues.map((issue) => ({
      section,
      variable: issue.path.join("."),
      message: issue.message,
    }));
  const problems: ConfigProblem[] = [];
  const parsed: Record<string, unknown> = {};
  for (const name of names) {
    const result = sections[name].safeParse(env);
    if (result.success) parsed[name] = result.data;
    else problems.push(...problemsOf(name, result.error));
  }
  const logging = logSection.safeParse(env);
  if (!logging.success) problems.push(...problemsOf("logging", logging.error));
  return { logLevel: logging.data ?? "INFO", sections: parsed as Partial<Sections>, problems };
}

/** @throws ApiError `misconfigured` when a variable of the section is missing or wrong. */
export function requireSection<Name extends SectionName>(
  config: Config,
  name: Name,
): Sections[Name] {
  const section = config.sections[name];
  if (section === undefined) {
    throw new ApiError(
      "misconfigured",
      "The service lacks configuration for this request. Its operator finds what is missing in the log.",
    );
  }
  return section;
}

/** The URL of the cluster: a scheme and a port inside the host win over the defaults. */
function openSearchNode(host: string, port: string | undefined): string | undefined {
  const isLocal = /^(localhost|127\.[\d.]+|\[::1\])(:|\/|$)/.test(host);
  const scheme = /^https?:\/\//.exec(host)?.[0] ?? (isLocal ? "http://" : "https://");
  const authority = host.replace(/^https?:\/\//, "").replace(/\/$/, "");
  // No path and no user: neither would reach the cluster, and a wrong one would be hard to find.
  if (/[/@?#\s]/.test(authority) || !URL.canParse(scheme + authority)) return undefined;
  const url = new URL(scheme + authority);
  if (!/:\d+$/.test(authority) && port !== undefined) url.port = port;
  return url.origin;
}

/** The variables of sections, and those of logging, which every Worker has. */
export function variablesOf(names: readonly SectionName[]): string[] {
  const parts = [...names.map((name) => sections[name]), logSection];
  return [...new Set(parts.flatMap((section) => Object.keys(section.in.shape)))];
}

/** Every variable that the Workers read. */
export const variables: readonly string[] = variablesOf(sectionNames);
