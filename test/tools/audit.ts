import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { z } from "zod";

export type Audit =
  | { outcome: "clean" }
  | { outcome: "vulnerable"; packages: string[] }
  /** The registry was not reached, or has no such endpoint. */
  | { outcome: "unknown"; reason: string };

const report = z.object({
  auditReportVersion: z.literal(2),
  vulnerabilities: z.record(z.string(), z.object({ severity: z.string(), range: z.string() })),
});
const refusal = z.object({ message: z.string() });

/** What `npm audit --json` says, whose exit code is the same for an advisory and for no answer. */
export function readAudit(output: string): Audit {
  let said: unknown;
  try {
    said = JSON.parse(output);
  } catch {
    return { outcome: "unknown", reason: "npm audit wrote no JSON" };
  }
  const found = report.safeParse(said);
  if (!found.success) {
    const { data } = refusal.safeParse(said);
    return { outcome: "unknown", reason: data?.message ?? "npm audit wrote no report" };
  }
  const packages = Object.entries(found.data.vulnerabilities).map(
    ([name, { severity, range }]) => `${name} ${range}: ${severity}`,
  );
  return packages.length === 0 ? { outcome: "clean" } : { outcome: "vulnerable", packages };
}

/** Asks the registry for advisories about what ships in the Workers. */
export async function auditDependencies(cwd: string): Promise<Audit> {
  const child = spawn("npm", ["audit", "--omit=dev", "--json"], {
    cwd,
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
  });
  const [output] = await Promise.all([text(child.stdout), once(child, "exit")]);
  return readAudit(output);
}
