import { writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { z } from "zod";
import { startChild, type Running } from "../child.ts";
import { workerdConfig, type WorkerdConfig } from "./workerd-config.ts";

const startTimeoutMs = 20_000;

export type Workerd = Running & {
  pid: number;
  /** The loopback port of each socket, by name. */
  ports: Readonly<Record<string, number>>;
  stop(): Promise<void>;
  /** SIGKILL: what runs in it ends where it stands. Resolves when the process is gone. */
  kill(): Promise<void>;
};

const listening = z.object({
  event: z.enum(["listen", "listen-inspector"]),
  socket: z.string().default("inspector"),
  port: z.int(),
});
const workerdPackage = z.object({ default: z.string(), version: z.string() });

/** The program that wrangler and miniflare run, and its version. */
export function findWorkerd(): { program: string; version: string } {
  const here = createRequire(import.meta.url);
  const found: unknown = createRequire(here.resolve("miniflare"))("workerd");
  const { default: program, version } = workerdPackage.parse(found);
  return { program, version };
}

type WorkerdOptions = {
  /** Holds the bundles; the configuration is written there. */
  dir: string;
  name: string;
  config: WorkerdConfig;
  /** Adds a port `inspector`, for a profile. It costs some speed. */
  inspect?: boolean;
  /** Opens what workerd keeps behind `--experimental`: a Worker that calls `scheduled()` of another needs it. */
  experimental?: boolean;
  /** Is told every line that a Worker logs. */
  onOutput: (line: string) => void;
};

/** Starts `workerd` itself on a configuration; `wrangler dev` has a proxy in front that sets the speed. */
export async function startWorkerd(options: WorkerdOptions): Promise<Workerd> {
  const { dir, name, config, inspect = false, experimental = false, onOutput } = options;
  const expected = [
    ...config.sockets.map((socket) => socket.name),
    ...(inspect ? ["inspector"] : []),
  ];
  const file = join(dir, `${name}.capnp`);
  await writeFile(file, workerdConfig(config));
  const ports: Record<string, number> = {};
  let isReady = false;
  const ready = Promise.withResolvers<"ready">();
  const flags = [
    "--control-fd=1",
    ...(inspect ? ["--inspector-addr=127.0.0.1:0"] : []),
    ...(experimental ? ["--experimental"] : []),
  ];
  const child = await startChild(findWorkerd().program, ["serve", ...flags, file], {
    cwd: dir,
    onLine: (line) => {
      const told = listening.safeParse(parseJson(line));
      if (!told.success) {
        // Before it is ready, workerd only remarks on the configuration.
        if (isReady) onOutput(line);
        return;
      }
      ports[told.data.socket] = told.data.port;
      isReady = expected.every((socket) => socket in ports);
      if (isReady) ready.resolve("ready");
    },
  });
  const timer = setTimeout(() => void child.stop(), startTimeoutMs);
  const first = await Promise.race([ready.promise, child.exited]);
  clearTimeout(timer);
  if (first !== "ready") throw new Error(`workerd did not start (${first}):\n${child.tail()}`);
  return {
    pid: child.pid,
    ports,
    exited: child.exited,
    tail: child.tail,
    stop: () => child.stop(),
    async kill() {
      child.process.kill("SIGKILL");
      await child.exited;
    },
  };
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
