import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { startChild, type Running } from "../../local/child.ts";
import { freePort } from "../../local/ports.ts";
import { type PythonTools, run } from "./python-tools.ts";

const startTimeoutMs = 60_000;

export type Moto = Running & { url: string; stop(): Promise<void> };

/** moto, a stand-in for AWS that knows CloudFormation and IAM and checks signatures, on loopback. */
export async function startMoto(tools: PythonTools): Promise<Moto> {
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const child = await startChild(
    tools.python,
    ["-m", "moto.server", "-H", "127.0.0.1", "-p", String(port)],
    { cwd: tmpdir() },
  );
  const until = Date.now() + startTimeoutMs;
  for (;;) {
    const answer = await fetch(`${url}/moto-api/data.json`, {
      signal: AbortSignal.timeout(5_000),
    }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return { url, exited: child.exited, tail: child.tail, stop: child.stop };
    if (!child.running() || Date.now() > until) {
      await child.stop();
      throw new Error(`moto did not start:\n${child.tail()}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** From now on a request needs a signature that is right and a key whose policies allow it. */
export async function demandRights(moto: Moto): Promise<void> {
  const answer = await fetch(`${moto.url}/moto-api/reset-auth`, { method: "POST", body: "0" });
  if (!answer.ok) throw new Error(`moto would not check rights: ${answer.status}`);
}

const keySchema = z.object({ accessKeyId: z.string(), secretAccessKey: z.string() });
const oneOrMore = z.union([z.string().transform((one) => [one]), z.array(z.string())]);
const policySchema = z.object({
  Statement: z.array(
    z.object({
      Effect: z.enum(["Allow", "Deny"]),
      Principal: z.string().optional(),
      Action: oneOrMore,
      Resource: oneOrMore,
      Condition: z.unknown().optional(),
    }),
  ),
});
const policyText = z.string().transform((text) => policySchema.parse(JSON.parse(text)));

const stackSchema = z.object({
  template: z.object({
    Parameters: z.record(z.string(), z.looseObject({})),
    Resources: z.record(z.string(), z.looseObject({ Properties: z.looseObject({}) })),
  }),
  outputs: z.record(z.string(), z.string()),
  outputLines: z.array(z.string()),
  queues: z.record(
    z.string(),
    z.looseObject({
      QueueArn: z.string(),
      Policy: policyText,
      RedrivePolicy: z.string().optional(),
    }),
  ),
  bucket: z.looseObject({ name: z.string(), policy: policySchema }),
  alarms: z.array(z.looseObject({ AlarmName: z.string(), AlarmActions: z.array(z.string()) })),
  userPolicies: z.array(policySchema),
  key: keySchema,
  strangersKey: keySchema,
});

/** What the APIs of AWS say of a stack. Queues are by the names of the template's resources. */
export type Stack = z.output<typeof stackSchema>;
export type Policy = z.output<typeof policySchema>;

/** @param outputsQuery the JMESPath by which operators read the outputs */
export async function deployStack(
  tools: PythonTools,
  moto: Moto,
  region: string,
  outputsQuery: string,
  parameters: Record<string, string>,
): Promise<Stack> {
  const printed = await run(tools.python, [
    fileURLToPath(new URL("deploy_stack.py", import.meta.url)),
    fileURLToPath(new URL("../../infra/aws.yaml", import.meta.url)),
    moto.url,
    region,
    outputsQuery,
    ...Object.entries(parameters).map(([name, value]) => `${name}=${value}`),
  ]);
  return stackSchema.parse(JSON.parse(printed.split("\n").at(-1) ?? ""));
}
