import { z } from "zod";
import type { Served } from "./system.ts";

const target = z.object({ id: z.string(), title: z.string(), webSocketDebuggerUrl: z.string() });
const answer = z.object({ id: z.int(), result: z.unknown().optional() });

/** The inspector of a Worker in its workerd, by the Chrome DevTools Protocol. */
export type Inspector = {
  call(method: string, params?: object): Promise<unknown>;
  close(): void;
};

export async function openInspector({ service, inspectorPort }: Served): Promise<Inspector> {
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
    if (!told.success) return;
    waiting.get(told.data.id)?.(told.data.result);
    waiting.delete(told.data.id);
  });
  let last = 0;
  return {
    call(method, params = {}) {
      const id = ++last;
      socket.send(JSON.stringify({ id, method, params }));
      return new Promise((resolve) => waiting.set(id, resolve));
    },
    close: () => socket.close(),
  };
}
