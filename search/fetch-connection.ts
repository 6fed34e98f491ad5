import { EventEmitter } from "node:events";
import type { ClientRequest, IncomingMessage } from "node:http";
import { Connection, errors } from "@opensearch-project/opensearch";
import { AwsClient } from "aws4fetch";
import { timedHop } from "../platform/hop-times.ts";

type Params = Parameters<Connection["request"]>[0];
type Callback = Parameters<Connection["request"]>[1];
type Answer = { response: IncomingMessage; text: string };

/** The answer has more bytes than this connection reads. The cluster is well, and is not asked the same again. */
export class AnswerTooLarge extends errors.RequestAbortedError {
  constructor() {
    super("The answer is too large");
  }
}

/**
 * The client's connection by fetch. Its own goes through node:http, whose emulation in workerd takes
 * more CPU than everything else in a search (`npm run bench`). This one holds no socket, so that the
 * client may serve many requests.
 */
export class FetchConnection extends Connection {
  protected readonly maxAnswerBytes: number = Infinity;

  override request(params: Params, callback: Callback): ClientRequest {
    const abort = new AbortController();
    void this.deliver(params, callback, abort.signal);
    // Of the request the client uses no more than this.
    return { abort: () => abort.abort() } as ClientRequest;
  }

  private async deliver(params: Params, callback: Callback, aborted: AbortSignal): Promise<void> {
    let answer: Answer;
    try {
      answer = await timedHop("search", () => this.send(params, aborted));
    } catch (error) {
      callback(asClientError(error), null);
      return;
    }
    callback(null, answer.response);
    // The callback has begun to listen.
    answer.response.emit("data", answer.text);
    answer.response.emit("end");
  }

  protected async prepare(url: URL, init: RequestInit): Promise<Request> {
    return new Request(url, init);
  }

  private async send(params: Params, aborted: AbortSignal): Promise<Answer> {
    const { path, headers = {} } = this.buildRequestObject(params);
    const signals = [aborted, ...(params.timeout ? [AbortSignal.timeout(params.timeout)] : [])];
    const sent = Object.entries(headers).map(([name, value]): [string, string] => [
      name,
      String(value),
    ]);
    const request = await this.prepare(new URL(path ?? "/", this.url), {
      method: params.method ?? "GET",
      headers: sent,
      body: typeof params.body === "string" && params.body !== "" ? params.body : null,
      signal: AbortSignal.any(signals),
    });
    const response = await fetch(request);
    return {
      response: messageOf(response),
      text: await readText(response, this.maxAnswerBytes),
    };
  }
}

/** The same connection, which gives up an answer that is larger: AnswerTooLarge. */
export function boundedConnection(
  base: typeof FetchConnection,
  maxAnswerBytes: number,
): typeof FetchConnection {
  return class BoundedConnection extends base {
    protected override readonly maxAnswerBytes = maxAnswerBytes;
  };
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  if (response.body === null || maxBytes === Infinity) return await response.text();
  const declared = Number(response.headers.get("Content-Length"));
  if (declared > maxBytes) {
    await response.body.cancel();
    throw new AnswerTooLarge();
  }
  // What is declared of a compressed answer is not what it becomes.
  if (declared > 0 && !response.headers.has("Content-Encoding")) return await response.text();
  const decoder = new TextDecoder();
  let bytes = 0;
  let text = "";
  for await (const chunk of response.body) {
    bytes += chunk.byteLength;
    // The rest is not fetched: to leave the loop cancels the body.
    if (bytes > maxBytes) throw new AnswerTooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Signing keys hold for a day: derived once, not for each request. */
const signingKeys = new Map<string, ArrayBuffer>();

/** A FetchConnection to a domain of Amazon OpenSearch Service: each request is signed (AWS Signature Version 4). */
export function signedConnection(keys: {
  accessKeyId: string;
  secretAccessKey: string;
  region: string;
}): typeof FetchConnection {
  const { accessKeyId, secretAccessKey, region } = keys;
  const aws = new AwsClient({
    accessKeyId,
    secretAccessKey,
    region,
    service: "es",
    retries: 0,
    cache: signingKeys,
  });
  return class SignedConnection extends FetchConnection {
    protected override async prepare(url: URL, init: RequestInit): Promise<Request> {
      const { headers, ...rest } = init;
      const request = await aws.sign(url, rest);
      // Not signed: a proxy on the way may change what is accepted, and the signature would not hold.
      for (const [name, value] of new Headers(headers)) request.headers.set(name, value);
      return request;
    }
  };
}

function asClientError(error: unknown): Error {
  if (error instanceof AnswerTooLarge) return error;
  const name = error instanceof Error ? error.name : "";
  if (name === "AbortError") return new errors.RequestAbortedError("Request aborted");
  if (name === "TimeoutError") return new errors.ConnectionError("Request timed out");
  return new errors.ConnectionError(error instanceof Error ? error.message : String(error));
}

/** The head of an answer in the form in which the client reads one: an emitter of its text and its end. */
function messageOf(response: Response): IncomingMessage {
  const headers = Object.fromEntries(response.headers);
  // fetch has undone it.
  delete headers["content-encoding"];
  const message = Object.assign(new EventEmitter(), {
    statusCode: response.status,
    headers,
    setEncoding: () => {},
    destroy: () => {},
  });
  return message as unknown as IncomingMessage;
}
