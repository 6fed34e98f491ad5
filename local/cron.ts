/**
 * Fires the `scheduled` handler of each Worker once a minute, and once at the start, as the crons in
 * the wrangler.toml files do when deployed: `wrangler dev` never does so by itself, and its
 * /cdn-cgi/local/scheduled reaches the first Worker only. Its Local Explorer takes a Worker's name.
 *
 * @returns stops it.
 */
export function startCron(options: {
  /** Where `wrangler dev` listens. */
  url: string;
  workers: readonly string[];
  onFailure(worker: string, reason: string): void;
  everyMs?: number;
}): () => void {
  const stopped = new AbortController();
  const running = new Set<string>();
  const fire = async (worker: string): Promise<void> => {
    // A slow one is not started twice.
    if (running.has(worker)) return;
    running.add(worker);
    try {
      await fireScheduled(options.url, worker, stopped.signal);
    } catch (error) {
      if (!stopped.signal.aborted) {
        options.onFailure(worker, error instanceof Error ? error.message : String(error));
      }
    } finally {
      running.delete(worker);
    }
  };
  const fireAll = (): void => {
    for (const worker of options.workers) void fire(worker);
  };
  fireAll();
  const timer = setInterval(fireAll, options.everyMs ?? 60_000);
  return () => {
    clearInterval(timer);
    stopped.abort();
  };
}

/**
 * @param scheduledTime for when the handler is told that it was scheduled, in milliseconds since 1970
 * @throws when the handler throws, or there is no such Worker
 */
export async function fireScheduled(
  url: string,
  worker: string,
  signal?: AbortSignal,
  scheduledTime = Date.now(),
): Promise<void> {
  const target = new URL("/cdn-cgi/local/explorer/api/local/scheduled", url);
  target.searchParams.set("worker", worker);
  const response = await fetch(target, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ cron: "* * * * *", scheduled_time: scheduledTime }),
    ...(signal ? { signal } : {}),
  });
  const text = await response.text();
  if (!response.ok || !text.includes('"outcome":"ok"')) {
    throw new Error(`${response.status} ${text.slice(0, 300)}`);
  }
}
