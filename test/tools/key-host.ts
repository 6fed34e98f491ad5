import { once } from "node:events";
import { createServer } from "node:http";
import { text } from "node:stream/consumers";

/** How a path is answered from now on. */
export type KeyHostAnswer = {
  status?: number;
  body?: string;
  headers?: Record<string, string>;
  /** Before the answer, in milliseconds. */
  delayMs?: number;
};

export type KeyHost = { url: string; stop: () => void };

/**
 * An issuer's host of keys, for tests inside workerd, which can start no server: PUT a path with a
 * KeyHostAnswer, GET it as it was put, and POST it to learn how often it was got since it was put.
 */
export async function startKeyHost(): Promise<KeyHost> {
  const answers = new Map<string, { answer: KeyHostAnswer; asked: number }>();
  const server = createServer(async (request, response) => {
    const path = request.url ?? "";
    const sent = await text(request);
    if (request.method === "PUT") {
      answers.set(path, { answer: JSON.parse(sent), asked: 0 });
      response.end();
      return;
    }
    const known = answers.get(path);
    if (request.method === "POST" || !known) {
      response.statusCode = known ? 200 : 404;
      response.end(String(known?.asked ?? 0));
      return;
    }
    known.asked += 1;
    const { status = 200, body = "", headers = {}, delayMs = 0 } = known.answer;
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    response.writeHead(status, { "Content-Type": "application/json", ...headers });
    response.end(body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
