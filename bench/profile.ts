import { writeFile } from "node:fs/promises";
import { z } from "zod";
import type { Served } from "./system.ts";

const target = z.object({ id: z.string(), title: z.string(), webSocketDebuggerUrl: z.string() });
const answer = z.object({ id: z.int(), result: z.unknown().optional() });
const stopped = z.object({ profile: z.unknown() });

/**
 * Takes a CPU profile of a Worker while `work` goes on, by the inspector of its workerd, and writes it in
 * the form that the performance tools of Chrome and VS Code open.
 */
export async function profiled<T>(
  { service, inspectorPort }: Served,
  file: string,
  work: () => Promise<T>,
): Promise<T> {
  const listed = await fetch(`http://127.0.0.1:${inspectorPort}/json`);
  const targets = z.array(target).parse(await listed.json());
  const found = targets.find(({ id, title }) => id === service || title.includes(service));
  if (!found) throw new Error(`The inspector does not show ${service}.`);
  const socket = new WebSocket(found.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", reject, { once: true });
  });
  const waiting = new Map<number, (result: unknown) => void>();
  socket.addEventListener("message", (event) => {
    const told = answer.safeParse(JSON.parse(String(event.data)));
    if (told.success) waiting.get(told.data.id)?.(told.data.result);
  });
  let last = 0;
  const call = (method: string, params: object = {}): Promise<unknown> => {
    const id = ++last;
    socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve) => waiting.set(id, resolve));
  };
  try {
    await call("Profiler.enable");
    await call("Profiler.setSamplingInterval", { interval: 500 });
    await call("Profiler.start");
    const result = await work();
    const { profile } = stopped.parse(await call("Profiler.stop"));
    await writeFile(file, JSON.stringify(profile));
    return result;
  } finally {
    socket.close();
  }
}
