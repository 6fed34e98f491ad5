import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";
import { allRateLimits, windowSeconds } from "./worker/limits/rate-limits.ts";

/** As deployed: tests have tenants of their own, and those that run into a limit put theirs in the tier `low`. */
const ratelimits = Object.fromEntries(
  allRateLimits().map(([name, limit]) => [
    name,
    { namespace_id: name, simple: { limit, period: windowSeconds } } as const,
  ]),
);

export default defineConfig({
  test: {
    globalSetup: "test/backends.ts",
    // Tests share two cores with a database, a search engine and a queue.
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    coverage: {
      provider: "istanbul",
      include: ["{worker,consumers,db,aws,search,events,platform,local}/**/*.ts"],
      // aws-server.ts runs in a process of its own, which its tests start.
      exclude: ["**/*.test.ts", "**/.wrangler/**", "local/aws-server.ts"],
      reporter: ["text", "html", "cobertura"],
      thresholds: { lines: 95 },
    },
    projects: [
      {
        // Inside workerd: everything that runs in a Worker.
        plugins: [
          cloudflareTest(({ inject }) => ({
            main: "test/workers/all-workers.ts",
            miniflare: {
              compatibilityDate: "2026-10-01",
              compatibilityFlags: ["nodejs_compat"],
              bindings: inject("workerEnv"),
              ratelimits,
              assets: { directory: "dist/docs", binding: "ASSETS" },
              durableObjects: {
                EXPORT_POLLER: { className: "ExportPoller", useSQLite: true },
                LOG_POLLER: { className: "LogPoller", useSQLite: true },
                METRICS: { className: "MetricsSnapshot", useSQLite: true },
                DEAF_POLLER: { className: "DeafPoller", useSQLite: true },
              },
            },
          })),
        ],
        extends: true,
        test: {
          name: "workers",
          // One workerd for all files: a poller that is cut off in its long poll takes a message with it.
          isolate: false,
          include: [
            "{worker,consumers,db,aws,search,events,platform}/**/*.test.ts",
            "test/workers/**/*.test.ts",
          ],
        },
      },
      {
        extends: true,
        test: {
          name: "node",
          include: ["local/**/*.test.ts", "bench/**/*.test.ts", "test/{node,faults}/**/*.test.ts"],
        },
      },
    ],
  },
});
