import { createServer } from "node:net";

/** True when a server can listen on this loopback port now. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ port, host: "127.0.0.1", exclusive: true }, () => {
      probe.close(() => resolve(true));
    });
  });
}

// Outgoing connections take their ports from 32768 (Linux) or 49152 (macOS) upwards: a port asked of
// the system there may be gone again when the server that it was meant for starts.
const LOWEST = 20_000;
const HIGHEST = 32_000;

/** A loopback port that nothing listens on, outside the range of outgoing connections. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST - LOWEST));
    if (await isPortFree(port)) return port;
  }
  throw new Error(`No free port between ${LOWEST} and ${HIGHEST} on 127.0.0.1.`);
}
