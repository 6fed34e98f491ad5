import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { openInspector } from "./inspector.ts";
import type { Served } from "./system.ts";

/** `Runtime.getHeapUsage`: objects, what the embedder's own objects hold, and the bytes of array buffers. */
const usage = z.object({
  usedSize: z.number(),
  embedderHeapUsedSize: z.number(),
  backingStorageSize: z.number(),
});

export type HeapPeak = { total: number; objects: number; buffers: number };

const everyMs = { garbage: 20, live: 100 };

/**
 * The most that a Worker's isolate held while `work` went on, in bytes, as seen between two turns of its
 * event loop.
 *
 * @param counted with what awaits the garbage collector, looked at every 20 ms; or only what is live: the
 *   collector is run every 100 ms
 */
export async function heapPeakDuring(
  served: Served,
  counted: "garbage" | "live",
  work: () => Promise<unknown>,
): Promise<HeapPeak> {
  const inspector = await openInspector(served);
  const peak: HeapPeak = { total: 0, objects: 0, buffers: 0 };
  const state = { isOver: false };
  const watch = async (): Promise<void> => {
    while (!state.isOver) {
      if (counted === "live") await inspector.call("HeapProfiler.collectGarbage");
      const now = usage.parse(await inspector.call("Runtime.getHeapUsage"));
      const objects = now.usedSize + now.embedderHeapUsedSize;
      const total = objects + now.backingStorageSize;
      if (total > peak.total)
        Object.assign(peak, { total, objects, buffers: now.backingStorageSize });
      await sleep(everyMs[counted]);
    }
  };
  try {
    await inspector.call("HeapProfiler.collectGarbage");
    const watching = watch();
    await work().finally(() => {
      state.isOver = true;
    });
    await watching;
    return peak;
  } finally {
    inspector.close();
  }
}
