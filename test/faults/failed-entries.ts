import type { IncomingHttpHeaders } from "node:http";
import { z } from "zod";
import type { BackendKind } from "./protocols.ts";

/** An answer, read whole. */
export type Whole = { status: number; headers: IncomingHttpHeaders; body: Buffer };

export type Split = {
  /** What is left for the backend. */
  body: Buffer;
  /** Entries that failed by chance. */
  failed: number;
  /** Nothing is left for the backend. */
  isAllFailed: boolean;
  /** Puts the failures into the backend's answer. */
  merge(answer: Whole): Whole;
};

type Chances = { share: number; random: () => number; poison: string | undefined };

/** Takes entries out of a batch call, and answers for them that they failed. Other calls stay as they are. */
export function failSome(
  kind: BackendKind,
  call: { name: string; body: Buffer },
  chances: Chances,
): Split {
  if (kind === "sqs" && chances.share > 0 && call.name.endsWith("Batch"))
    return splitBatch(call.body, chances);
  if (kind === "opensearch" && call.name === "_bulk") return splitBulk(call.body, chances);
  return { body: call.body, failed: 0, isAllFailed: false, merge: (answer) => answer };
}

const batch = z.looseObject({ Entries: z.array(z.looseObject({ Id: z.string() })) });
const batchAnswer = z.looseObject({ Failed: z.array(z.unknown()).optional() });

function splitBatch(body: Buffer, { share, random }: Chances): Split {
  const sent = batch.parse(JSON.parse(body.toString()));
  const failed = sent.Entries.filter(() => random() < share);
  const kept = sent.Entries.filter((entry) => !failed.includes(entry));
  const failures = failed.map(({ Id }) => ({
    Id,
    Code: "InternalError",
    Message: "a fault",
    SenderFault: false,
  }));
  return {
    body: Buffer.from(JSON.stringify({ ...sent, Entries: kept })),
    failed: failed.length,
    isAllFailed: kept.length === 0,
    merge(answer) {
      if (answer.status !== 200 || failures.length === 0) return answer;
      const text = answer.body.toString();
      const given = batchAnswer.parse(JSON.parse(text === "" ? "{}" : text));
      const merged = { ...given, Failed: [...(given.Failed ?? []), ...failures] };
      return asJson(answer, merged);
    },
  };
}

const action = z.record(
  z.string(),
  z.object({ _index: z.string().optional(), _id: z.string().optional() }),
);
const bulkAnswer = z.looseObject({ items: z.array(z.unknown()) });

/** Reads a _bulk whose every action has a document, as `index` and `create` have. */
function splitBulk(body: Buffer, { share, random, poison }: Chances): Split {
  const lines = body.toString().split("\n");
  const kept: string[] = [];
  /** One for each action, in order: undefined where the backend answers for it. */
  const items: (object | undefined)[] = [];
  let failed = 0;
  for (let at = 0; at + 1 < lines.length; at += 2) {
    const [head = "", document = ""] = lines.slice(at, at + 2);
    const isPoisoned = poison !== undefined && document.includes(poison);
    if (!isPoisoned && random() >= share) {
      kept.push(head, document);
      items.push(undefined);
      continue;
    }
    if (!isPoisoned) failed++;
    const status = isPoisoned ? 400 : random() < 0.5 ? 429 : 503;
    items.push(failedItem(head, status));
  }
  return {
    body: Buffer.from(`${kept.join("\n")}\n`),
    failed,
    isAllFailed: kept.length === 0,
    merge(answer) {
      if (answer.status !== 200 || items.every((item) => item === undefined)) return answer;
      const given = bulkAnswer.parse({ items: [], ...JSON.parse(answer.body.toString()) });
      const rest = given.items.values();
      const merged = items.map((item) => item ?? rest.next().value);
      return asJson(answer, { took: 1, ...given, errors: true, items: merged });
    },
  };
}

const reasons = {
  400: { type: "mapper_parsing_exception", reason: "poisoned, on purpose" },
  429: { type: "rejected_execution_exception", reason: "a fault" },
  503: { type: "unavailable_shards_exception", reason: "a fault" },
};

function failedItem(head: string, status: keyof typeof reasons): object {
  const [[operation = "index", target = {}] = []] = Object.entries(action.parse(JSON.parse(head)));
  return { [operation]: { ...target, status, error: reasons[status] } };
}

/** A changed answer: it is JSON, and not compressed any more. */
function asJson(answer: Whole, value: unknown): Whole {
  const headers = { ...answer.headers, "content-type": "application/json" };
  return { status: answer.status, headers, body: Buffer.from(JSON.stringify(value)) };
}
