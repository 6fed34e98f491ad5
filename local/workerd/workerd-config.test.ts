import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findWorkerd, startWorkerd } from "./start-workerd.ts";
import { workerdConfig, type WorkerService } from "./workerd-config.ts";

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
  dir = await mkdtemp(join(tmpdir(), "audit-log-workerd-test-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("a Worker keeps the date and the flags that it was given", () => {
  const text = workerdConfig({ workers: [plain], sockets: [], objectsDir: "/objects" });
  expect(text).toContain('compatibilityDate = "2026-10-01"');
  expect(text).toContain('compatibilityFlags = ["nodejs_compat"]');
});

test("sockets are on loopback, and the Workers reach nothing else", () => {
  const sockets = [{ name: "http", service: "plain" }];
  const text = workerdConfig({ workers: [plain], sockets, objectsDir: "/objects" });
  expect(text.match(/address = "([^"]*)"/)?.[1]).toBe("127.0.0.1:0");
  expect(text).toContain('(name = "internet", network = (allow = ["local"]))');
});

test("workerd takes a variable of any text, and gives it to the Worker as it was", async () => {
  const value = 'a "quoted" \\ back\\n\nline, ü, 🙂, $, ${x}, \r\ttab';
  await writeFile(
    join(dir, "plain.js"),
    "export default { fetch: (request, env) => new Response(env.VALUE) };",
  );
  const workerd = await startWorkerd({
    dir,
    name: "test",
    config: {
      workers: [{ ...plain, variables: { VALUE: value } }],
      sockets: [{ name: "http", service: "plain" }],
      objectsDir: dir,
    },
    onOutput: () => {},
  });
  try {
    const response = await fetch(`http://127.0.0.1:${workerd.ports["http"]}/`);
    expect(await response.text()).toBe(value);
  } finally {
    await workerd.stop();
  }
});

test("a rate limit lets so many through in a period, for each key and each binding", async () => {
  const simple = { limit: 2, period: 60 };
  await writeFile(
    join(dir, "plain.js"),
    `export default { fetch: async (request, env) => {
      const asked = [env.ONE, env.ONE, env.ONE, env.OTHER].map((one) => one.limit({ key: "a" }));
      return Response.json(await Promise.all([...asked, env.ONE.limit({ key: "b" })]));
    } };`,
  );
  const rateLimits = [
    { name: "ONE", simple },
    { name: "OTHER", simple },
  ];
  const workerd = await startWorkerd({
    dir,
    name: "test",
    config: {
      workers: [{ ...plain, rateLimits }],
      sockets: [{ name: "http", service: "plain" }],
      objectsDir: dir,
    },
    onOutput: () => {},
  });
  try {
    const ask = async () => (await fetch(`http://127.0.0.1:${workerd.ports["http"]}/`)).json();
    const first = [true, true, false, true, true];
    expect(await ask()).toEqual(first.map((success) => ({ success })));
    // A minute may end between the two.
    const second = [false, false, false, true, true];
    expect([first, second]).toContainEqual(
      ((await ask()) as { success: boolean }[]).map(({ success }) => success),
    );
  } finally {
    await workerd.stop();
  }
});

test("workerd says what is wrong with a configuration instead of waiting", async () => {
  await expect(
    startWorkerd({
      dir,
      name: "test",
      config: { workers: [plain], sockets: [{ name: "http", service: "plain" }], objectsDir: dir },
      onOutput: () => {},
    }),
  ).rejects.toThrow(/plain\.js/);
});

test("the version is that of the program", () => {
  const { program, version } = findWorkerd();
  const told = spawnSync(program, ["--version"], { encoding: "utf8" }).stdout;
  const day = /\.(\d{4})(\d\d)(\d\d)\./.exec(version)?.slice(1).join("-");
  expect(told).toContain(day);
});
