import { Server } from "node:net";
import { parseArgs } from "node:util";
import { startFauxqs } from "fauxqs";

// fauxqs listens on every interface and cannot be told otherwise. This process has no other server.
const listen: unknown = Reflect.get(Server.prototype, "listen");
Reflect.set(
  Server.prototype,
  "listen",
  function listenOnLoopback(this: Server, first: unknown, ...rest: unknown[]): unknown {
    if (typeof listen !== "function") throw new TypeError("Server.listen is not a function.");
    const options = typeof first === "object" && first !== null ? first : {};
    return Reflect.apply(listen, this, [{ ...options, host: "127.0.0.1" }, ...rest]);
  },
);

const { values } = parseArgs({
  options: { port: { type: "string" }, "data-dir": { type: "string" } },
});

process.once("disconnect", () => process.exit());

const dataDir = values["data-dir"];
const server = await startFauxqs({
  port: Number(values.port ?? 0),
  logger: false,
  ...(dataDir ? { dataDir } : {}),
});

process.once("SIGTERM", () => {
  void server.stop().then(() => process.exit());
});
process.send?.({ port: server.port });
