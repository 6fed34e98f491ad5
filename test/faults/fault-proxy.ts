import { once } from "node:events";
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as httpRequest,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { failSome, type Whole } from "./failed-entries.ts";
import { type BackendKind, errorAnswer, nameOfCall } from "./protocols.ts";

/** What may be done to a call. What the backend then knows, and what the caller, is the difference. */
export type Fault =
  /** The connection is reset in the middle of the request: the backend never gets it. */
  | { kind: "reset" }
  /** The backend does it, and its whole answer is lost: the connection is reset instead. */
  | { kind: "lose-answer" }
  /** The backend does it, and half of its answer arrives. */
  | { kind: "truncate" }
  /** The backend gets it so much later, also where the caller has given up by then. */
  | { kind: "delay"; ms: number }
  /** The backend never gets it; 429 and 503 come with Retry-After, in seconds. */
  | { kind: "answer"; status: 429 | 500 | 503; retryAfter: number }
  /** Single entries of an SQS batch or a _bulk fail, each with this probability; the others are done. */
  | { kind: "entries"; share: number };

export type Call = {
  /** `ReceiveMessage`, `UploadPart`, `_bulk`, `sql`: see nameOfCall. */
  name: string;
  method: string;
  /** With its query. */
  path: string;
  body: Buffer;
};

export type Rule = {
  /** From 0 to 1. The first rule that fits and hits is applied; a delay lets the later ones have their turn. */
  probability: number;
  fault: Fault;
  /** Every call where it is left out. */
  on?: (call: Call) => boolean;
};

/** A call that the backend has answered, and whether its caller got all of the answer. */
export type Answered = { call: Call; status: number; answer: Buffer; isDelivered: boolean };

export type FaultProxyOptions = {
  kind: BackendKind;
  /** The backend, as http://127.0.0.1:PORT. */
  target: string;
  /** From 0 up to and without 1; a seeded one gives the same decisions for the same calls. */
  random: () => number;
  /** A _bulk refuses every document that holds this text with 400, faults or none. */
  poison?: string;
  onAnswer?: (answered: Answered) => void;
};

export type FaultProxy = {
  /** Where the Workers are pointed to, instead of the backend. */
  url: string;
  /** May be replaced at any time; with none, it is a plain proxy. */
  rules: readonly Rule[];
  /** What it did so far, by kind of fault; single entries are counted singly. */
  readonly counts: ReadonlyMap<string, number>;
  /** Calls that came in, and those that are not over. */
  readonly calls: number;
  readonly underWay: number;
  /** Refuses connections, and resets those that are open, until accept() is called. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  stop(): Promise<void>;
};

const maxBodyBytes = 64 * 1024 * 1024;
/** Longer than a long poll, and than anything that the service waits for. */
const targetTimeoutMs = 200_000;

/**
 * Stands before one backend, on loopback, and does to its calls what the rules say. A call is read whole
 * before it is forwarded, and forwarded even when its caller has gone: the network does that too.
 */
export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { kind, target, random, onAnswer = () => {} } = options;
  const counts = new Map<string, number>();
  const agent = new Agent({ keepAlive: true });
  const count = (name: string, by = 1): void => void counts.set(name, (counts.get(name) ?? 0) + by);
  let calls = 0;
  let underWay = 0;

  const proxy = {
    url: "",
    rules: [] as readonly Rule[],
    counts,
    get calls() {
      return calls;
    },
    get underWay() {
      return underWay;
    },
    async refuse() {
      if (!server.listening) return;
      count("refuse");
      await close();
    },
    async accept() {
      if (!server.listening) await listen();
    },
    async stop() {
      if (server.listening) await close();
      agent.destroy();
    },
  };

  function chosen(call: Call): { delayMs: number; fault: Fault | undefined } {
    let delayMs = 0;
    for (const { probability, fault, on } of proxy.rules) {
      if ((on && !on(call)) || random() >= probability) continue;
      if (fault.kind !== "delay") return { delayMs, fault };
      delayMs += fault.ms;
      count("delay");
    }
    return { delayMs, fault: undefined };
  }

  async function pass(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const body = await readWhole(incoming);
    const method = incoming.method ?? "GET";
    const path = incoming.url ?? "/";
    const call = { method, path, body, name: nameOfCall(kind, method, path, incoming.headers) };
    const { delayMs, fault } = chosen(call);
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (fault?.kind === "reset") {
      count("reset");
      outgoing.destroy();
      return;
    }
    if (fault?.kind === "answer") {
      count(String(fault.status));
      send(outgoing, errorAnswer(kind, fault.status, fault.retryAfter));
      return;
    }
    const share = fault?.kind === "entries" ? fault.share : 0;
    const split = failSome(kind, call, { share, random, poison: options.poison });
    if (split.failed > 0) count("entries", split.failed);
    // Answers must be readable here, so that failures can be put into them.
    const { "accept-encoding": _, ...headers } = incoming.headers;
    const whole = split.isAllFailed
      ? split.merge({ status: 200, headers: {}, body: Buffer.from("{}") })
      : split.merge(await forward(call, split.body, headers));
    const isWhole = fault?.kind !== "lose-answer" && fault?.kind !== "truncate";
    onAnswer({
      call,
      status: whole.status,
      answer: whole.body,
      isDelivered: isWhole && !outgoing.destroyed,
    });
    if (isWhole) {
      send(outgoing, whole);
      return;
    }
    count(fault.kind);
    if (fault.kind === "lose-answer") outgoing.destroy();
    else await sendHalf(outgoing, whole);
  }

  function forward(call: Call, body: Buffer, headers: IncomingHttpHeaders): Promise<Whole> {
    const { promise, resolve, reject } = Promise.withResolvers<Whole>();
    const outward = httpRequest(new URL(call.path, target), {
      method: call.method,
      headers: { ...headers, "content-length": body.length },
      agent,
      timeout: targetTimeoutMs,
    });
    outward.once("timeout", () => outward.destroy(new Error("The backend did not answer.")));
    outward.once("error", reject);
    outward.once("response", (answer) => {
      const { statusCode: status = 502, headers: answered } = answer;
      readWhole(answer).then((read) => resolve({ status, headers: answered, body: read }), reject);
    });
    outward.end(body);
    return promise;
  }

  const server = createServer((incoming, outgoing) => {
    // A caller that is gone, or a backend that is: either way there is nobody to tell but by the connection.
    outgoing.on("error", () => {});
    calls++;
    underWay++;
    pass(incoming, outgoing)
      .catch(() => outgoing.destroy())
      .finally(() => underWay--);
  });
  // A caller that uses a connection again must never meet one that is just being closed.
  server.keepAliveTimeout = 0;
  server.requestTimeout = 0;
  let port = 0;
  async function listen(): Promise<void> {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    ({ port } = server.address() as AddressInfo);
    proxy.url = `http://127.0.0.1:${port}`;
  }
  async function close(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  }
  await listen();
  return proxy;
}

async function readWhole(stream: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > maxBodyBytes) throw new Error(`A body is larger than ${maxBodyBytes} bytes.`);
  }
  return Buffer.concat(chunks);
}

/** Headers that belong to one connection, and the length, which may have changed. */
const ofTheConnection = ["connection", "keep-alive", "transfer-encoding", "content-length"];

function head({ headers, body }: Whole, isHead: boolean): IncomingHttpHeaders {
  const kept = Object.entries(headers).filter(([name]) => !ofTheConnection.includes(name));
  // The answer to a HEAD tells the length of a body that it does not have.
  const length = isHead ? headers["content-length"] : String(body.length);
  return {
    ...Object.fromEntries(kept),
    ...(length === undefined ? {} : { "content-length": length }),
  };
}

function send(outgoing: ServerResponse, whole: Whole): void {
  if (outgoing.destroyed) return;
  outgoing.writeHead(whole.status, head(whole, outgoing.req.method === "HEAD"));
  outgoing.end(whole.body);
}

async function sendHalf(outgoing: ServerResponse, whole: Whole): Promise<void> {
  if (outgoing.destroyed) return;
  outgoing.writeHead(whole.status, head(whole, outgoing.req.method === "HEAD"));
  outgoing.flushHeaders();
  const half = whole.body.subarray(0, Math.floor(whole.body.length / 2));
  await new Promise((resolve) => outgoing.write(half, resolve));
  outgoing.destroy();
}
