import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { startWorkerd } from "../local/workerd/start-workerd.ts";
import type { WorkerService } from "../local/workerd/workerd-config.ts";
import { wakeRelay, wakeTarget } from "./wake-relay.ts";

const plain: WorkerService = {
  name: "plain",
  module: "plain.js",
  compatibilityDate: "2026-10-01",
  compatibilityFlags: ["nodejs_compat"],
  variables: {},
  classes: [],
  objects: [],
};

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "audit-log-bench-test-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a wake() of one process reaches the object of another, by the relay", async () => {
  const poller = `import { DurableObject } from "cloudflare:workers";
export class Poller extends DurableObject {
  async wake() { await this.ctx.storage.put("woken", ((await this.ctx.storage.get("woken")) ?? 0) + 1); }
  async count() { return this.ctx.storage.get("woken"); }
}
export default {
  async fetch(request, env) {
    return new Response(String(await env.POLLER.getByName("one").count()));
  },
};`;
  const caller = `export default {
  async fetch(request, env) {
    await env.POLLER.getByName("one").wake();
    return new Response("woken");
  },
};`;
  await writeFile(join(dir, "poller.js"), poller);
  await writeFile(join(dir, "target.js"), wakeTarget("one"));
  await writeFile(join(dir, "caller.js"), caller);
  await writeFile(join(dir, "relay.js"), wakeRelay(["Poller"]));
  const bound = [{ binding: "POLLER", className: "Poller", service: "poller" }];
  const common = { dir, onOutput: () => {} };
  const behind = await startWorkerd({
    ...common,
    name: "behind",
    config: {
      workers: [
        { ...plain, name: "poller", module: "poller.js", classes: ["Poller"], objects: bound },
        { ...plain, name: "target", module: "target.js", objects: bound },
      ],
      sockets: [
        { name: "poller", service: "poller" },
        { name: "wake", service: "target" },
      ],
      objectsDir: dir,
    },
  });
  const wakeUrl = `http://127.0.0.1:${behind.ports["wake"]}/`;
  try {
    const front = await startWorkerd({
      ...common,
      name: "front",
      config: {
        workers: [
          { ...plain, name: "caller", module: "caller.js", objects: bound },
          {
            ...plain,
            name: "poller",
            module: "relay.js",
            classes: ["Poller"],
            variables: { WAKE_URL: wakeUrl },
          },
        ],
        sockets: [{ name: "caller", service: "caller" }],
        objectsDir: dir,
      },
    });
    try {
      const answer = await fetch(`http://127.0.0.1:${front.ports["caller"]}/`);
      expect(await answer.text()).toBe("woken");
    } finally {
      await front.stop();
    }
    const count = await fetch(`http://127.0.0.1:${behind.ports["poller"]}/`);
    expect(await count.text()).toBe("1");
  } finally {
    await behind.stop();
  }
});
