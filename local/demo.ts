import { randomBytes } from "node:crypto";
import { createClient, DemoError } from "./demo-client.ts";
import { STATE_DIR } from "./dev-state.ts";
import { compareCounts } from "./demo-compare.ts";
import { duration } from "./demo-run.ts";
import type { DemoRun, Step } from "./demo-run.ts";
import { exportLogs } from "./demo-export.ts";
import { runSearches, waitUntilSearchable } from "./demo-search.ts";
import { sendLogs } from "./demo-send.ts";
import { findStack } from "./demo-stack.ts";
import { recordedWebhooks } from "./webhook-payload.ts";
import { webhookToAuditLog } from "./webhook-to-audit-log.ts";

const steps: readonly Step[] = [
  { name: "Send", run: sendLogs },
  { name: "Wait, since the last POST was answered", run: waitUntilSearchable },
  { name: "Search", run: runSearches },
  { name: "Compare", run: compareCounts },
  { name: "Export", run: exportLogs },
];

async function demo(args: string[], stateDir: string): Promise<DemoRun> {
  const started = performance.now();
  const stack = await findStack(args, stateDir);
  const id = `demo-${new Date().toISOString().replace(/\D/g, "").slice(0, 14)}-${randomBytes(4).toString("hex")}`;
  const run: DemoRun = {
    stack,
    client: createClient(stack.url, stack.token),
    id,
    entries: recordedWebhooks().map((webhook) => webhookToAuditLog(webhook, id)),
    stored: { ids: new Set(), tenantId: undefined, lastAnswerAt: 0 },
    searchable: false,
    sources: new Set(),
    uncounted: [],
    problems: [],
  };
  console.log(`${run.entries.length} recorded GitHub webhooks, as audit logs to ${stack.url}`);
  console.log(`Find them again with request_id=${id}`);
  for (const step of steps) {
    console.log(`\n${step.name}`);
    await step.run(run);
  }
  console.log(`\nThe demo took ${duration(performance.now() - started)}.`);
  return run;
}

/** `npm run demo` with these arguments. Returns the exit code: 0 only where all counts agree. */
export async function demoCommand(args: string[], stateDir = STATE_DIR): Promise<number> {
  try {
    const { problems, uncounted } = await demo(args, stateDir);
    if (problems.length > 0) {
      console.error(`The counts do not agree:\n${problems.map((text) => `- ${text}`).join("\n")}`);
      return 1;
    }
    const past = uncounted.length === 0 ? "" : `, but nobody looked ${uncounted.join(" or ")}`;
    console.log(`All counts agree${past}.`);
    return 0;
  } catch (error) {
    if (!(error instanceof DemoError)) throw error;
    console.error(error.message);
    return 1;
  }
}

if (import.meta.main) {
  process.exitCode = await demoCommand(process.argv.slice(2));
}
