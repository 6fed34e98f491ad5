import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";

const run = promisify(execFile);
const folder = join(import.meta.dirname, "promlint");

export type Promlint = { url: string; stop: () => void };

/**
 * Prometheus' own linter (a program in Go, which is built at its first use) behind HTTP, so that a test
 * inside workerd can ask it: POST a scrape, and get what is wrong with it, a line each.
 */
export async function startPromlint(): Promise<Promlint | { missing: string }> {
  try {
    await run("go", ["version"]);
  } catch {
    return { missing: "the program `go` is not in PATH" };
  }
  const server = createServer(async (request, response) => {
    const scrape = await text(request);
    const linter = execFile("go", ["run", "."], { cwd: folder, timeout: 120_000 });
    linter.stdin?.end(scrape);
    const [said, complaints, [code]] = await Promise.all([
      linter.stdout ? text(linter.stdout) : "",
      linter.stderr ? text(linter.stderr) : "",
      once(linter, "close"),
    ]);
    // It fails without a word on standard output where it could not be built.
    response.statusCode = code === 0 || said !== "" ? 200 : 500;
    response.end(said || complaints);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return { url: `http://127.0.0.1:${port}`, stop: () => void server.close() };
}
