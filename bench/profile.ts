import { writeFile } from "node:fs/promises";
import { z } from "zod";
import { openInspector } from "./inspector.ts";
import type { Served } from "./system.ts";

const stopped = z.object({ profile: z.unknown() });

/**
 * Takes a CPU profile of a Worker while `work` goes on, by the inspector of its workerd, and writes it in
 * the form that the performance tools of Chrome and VS Code open.
 */
export async function profiled<T>(
  served: Served,
  file: string,
  work: () => Promise<T>,
): Promise<T> {
  const inspector = await openInspector(served);
  try {
    await inspector.call("Profiler.enable");
    await inspector.call("Profiler.setSamplingInterval", { interval: 500 });
    await inspector.call("Profiler.start");
    const result = await work();
    const { profile } = stopped.parse(await inspector.call("Profiler.stop"));
    await writeFile(file, JSON.stringify(profile));
    return result;
  } finally {
    inspector.close();
  }
}
