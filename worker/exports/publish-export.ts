import type { Context } from "hono";
import { exportMessageFor } from "../../events/messages.ts";
import type { AppEnv } from "../env.ts";
import { sendAndWake } from "../send-and-wake.ts";

/** After the answer: tells the exporter of an export. */
export function publishExport(c: Context<AppEnv>, exportId: string): void {
  const { caller, requestId } = c.var;
  const message = exportMessageFor(caller.tenantId, exportId, requestId);
  const fields = { tenant_id: caller.tenantId, export_id: exportId };
  c.executionCtx.waitUntil(sendAndWake(c, "export", [message], fields));
}
