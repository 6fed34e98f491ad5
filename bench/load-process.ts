import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startChild } from "../local/child.ts";
import { loadResult, type LoadJob, type LoadResult } from "./load.ts";

export type Loader = { run(job: LoadJob): Promise<LoadResult>; stop(): Promise<void> };

/** The process that makes the load: one for the whole run, so that its code is warm after the first job. */
export async function startLoader(): Promise<Loader> {
  const script = fileURLToPath(new URL("load.ts", import.meta.url));
  const child = await startChild(process.execPath, [script], { ipc: true });
  return {
    async run(job) {
      const answer = once(child.process, "message");
      child.process.send(job);
      const first = await Promise.race([answer, child.exited]);
      if (typeof first === "string") {
        throw new Error(`The load's process ended (${first}):\n${child.tail()}`);
      }
      return loadResult.parse(first[0]);
    },
    stop: () => child.stop(),
  };
}
