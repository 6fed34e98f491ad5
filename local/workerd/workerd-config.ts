import { emulateRateLimit } from "./emulate-rate-limit.ts";

/** One Worker as `workerd` serves it. */
export type WorkerService = {
  name: string;
  /** The bundle, relative to the configuration file. */
  module: string;
  compatibilityDate: string;
  compatibilityFlags: readonly string[];
  variables: Readonly<Record<string, string>>;
  /** Durable Object classes that it has itself. */
  classes: readonly string[];
  /** Bindings to Durable Objects, its own or those of another Worker here. */
  objects: readonly { binding: string; className: string; service: string }[];
  /** Bindings to other Workers here. */
  services?: readonly { binding: string; service: string }[];
  /** Bindings that limit requests: so many in a period, in seconds. Without them nothing is limited. */
  rateLimits?: readonly { name: string; simple: { limit: number; period: number } }[];
};

export type WorkerdConfig = {
  workers: readonly WorkerService[];
  /** Where requests come in. Without a port, or at 0, a free one is taken. */
  sockets: readonly { name: string; service: string; port?: number }[];
  /** A folder for what Durable Objects store. */
  objectsDir: string;
};

const objectsDisk = "objects";
const rateLimitModule = "local:rate-limit";

/**
 * A configuration for `workerd serve`, in Cap'n Proto's text form (workerd.capnp in the package has its
 * schema). Every socket is on loopback; the Workers reach nothing but loopback.
 */
export function workerdConfig({ workers, sockets, objectsDir }: WorkerdConfig): string {
  const services = [
    `(name = "internet", network = (allow = ["local"]))`,
    `(name = ${text(objectsDisk)}, disk = (path = ${text(objectsDir)}, writable = true))`,
    ...workers.map((worker) => `(name = ${text(worker.name)}, worker = ${workerOf(worker)})`),
  ];
  const listeners = sockets.map(
    ({ name, service, port = 0 }) =>
      `(name = ${text(name)}, address = "127.0.0.1:${port}", http = (), service = ${text(service)})`,
  );
  return [
    `using Workerd = import "/workerd/workerd.capnp";`,
    `const config :Workerd.Config = (`,
    `  services = ${list(services, "  ")},`,
    `  sockets = ${list(listeners, "  ")},`,
    `  extensions = [(modules = [(name = ${text(rateLimitModule)}, internal = true, esModule = ${text(emulateRateLimit)})])],`,
    `);`,
    "",
  ].join("\n");
}

function workerOf(worker: WorkerService): string {
  const bindings = [
    ...Object.entries(worker.variables).map(
      ([name, value]) => `(name = ${text(name)}, text = ${text(value)})`,
    ),
    ...worker.objects.map(({ binding, className, service }) => {
      const target = `(className = ${text(className)}, serviceName = ${text(service)})`;
      return `(name = ${text(binding)}, durableObjectNamespace = ${target})`;
    }),
    ...(worker.services ?? []).map(
      ({ binding, service }) => `(name = ${text(binding)}, service = ${text(service)})`,
    ),
  ];
  const limits = (worker.rateLimits ?? []).map(({ name, simple: { limit, period } }) => {
    const inner = `[(name = "limit", json = "${limit}"), (name = "period", json = "${period}")]`;
    const wrapped = `(moduleName = ${text(rateLimitModule)}, innerBindings = ${inner})`;
    return `(name = ${text(name)}, wrapped = ${wrapped})`;
  });
  const namespaces = worker.classes.map((name) => {
    const key = text(`${worker.name}-${name}`);
    return `(className = ${text(name)}, uniqueKey = ${key}, enableSql = true)`;
  });
  const parts = [
    `modules = [(name = "index.js", esModule = embed ${text(worker.module)})]`,
    `compatibilityDate = ${text(worker.compatibilityDate)}`,
    `compatibilityFlags = [${worker.compatibilityFlags.map(text).join(", ")}]`,
    `bindings = ${list([...bindings, ...limits], "    ")}`,
    ...(namespaces.length === 0
      ? []
      : [
          `durableObjectNamespaces = ${list(namespaces, "    ")}`,
          `durableObjectStorage = (localDisk = ${text(objectsDisk)})`,
        ]),
  ];
  return `(\n    ${parts.join(",\n    ")})`;
}

function list(items: readonly string[], indent: string): string {
  return `[${items.map((item) => `\n${indent}  ${item},`).join("")}\n${indent}]`;
}

/** A text literal: UTF-8 as it is, and escapes as in C. */
function text(value: string): string {
  const escaped = value
    .replaceAll(/["\\]/g, (character) => `\\${character}`)
    .replaceAll("\n", "\\n")
    .replaceAll("\r", "\\r");
  return `"${escaped}"`;
}
