import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import {
  createIndex,
  ensureMonthIndex,
  errorType,
  newAlias,
  oldAlias,
  putTemplate,
  readAlias,
  writeAlias,
} from "./index-template.ts";

const aliasAnswer = z.record(z.string(), z.unknown());

/** The indices behind an alias; none where there is no such alias. */
export async function indicesOf(client: Client, alias: string): Promise<string[]> {
  try {
    const { body } = await client.indices.getAlias({ name: alias });
    return Object.keys(aliasAnswer.parse(body)).toSorted();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

const notFound = z.object({ statusCode: z.literal(404) });

const isMissing = (error: unknown) => notFound.safeParse(error).success;

/**
 * Makes a month's next index beside the one that it has, and gives both the aliases by which the indexer
 * writes into the two. What an attempt before has left is deleted first.
 */
export async function prepareReindex(
  client: Client,
  month: string,
): Promise<{ source: string; target: string }> {
  await putTemplate(client);
  await ensureMonthIndex(client, month);
  const [source = `${writeAlias(month)}-1`] = await indicesOf(client, writeAlias(month));
  for (const left of await indicesOf(client, newAlias(month)))
    if (left !== source) await deleteIndex(client, left);
  let number = Number(source.slice(source.lastIndexOf("-") + 1)) + 1;
  let target = `${writeAlias(month)}-${number}`;
  while (!(await createIndex(client, target, [newAlias(month)])))
    target = `${writeAlias(month)}-${++number}`;
  await client.indices.updateAliases({
    body: { actions: [{ add: { index: source, alias: oldAlias(month) } }] },
  });
  return { source, target };
}

/** Whether both indices are still there, each behind its alias. */
export async function areInPlace(
  client: Client,
  month: string,
  { source, target }: { source: string; target: string },
): Promise<boolean> {
  const old = await indicesOf(client, oldAlias(month));
  const next = await indicesOf(client, newAlias(month));
  return old.length === 1 && old[0] === source && next.length === 1 && next[0] === target;
}

/**
 * In one step makes searches read, and those who know nothing of a reindex write, the new index instead of
 * the old: no search sees both, or neither. Safe to repeat.
 */
export async function swapAliases(client: Client, month: string, target: string): Promise<void> {
  const reading = await indicesOf(client, readAlias);
  const writing = await indicesOf(client, writeAlias(month));
  const isOld = (index: string) => index !== target && index.startsWith(`${writeAlias(month)}-`);
  await client.indices.updateAliases({
    body: {
      actions: [
        ...reading.filter(isOld).map((index) => ({ remove: { index, alias: readAlias } })),
        ...writing
          .filter((index) => index !== target)
          .map((index) => ({ remove: { index, alias: writeAlias(month) } })),
        { add: { index: target, alias: readAlias } },
        { add: { index: target, alias: writeAlias(month) } },
      ],
    },
  });
}

/** After the swap: the old index goes, and the new one is the month's only one, under its lasting names. */
export async function removeOld(client: Client, month: string): Promise<void> {
  const [current] = await indicesOf(client, writeAlias(month));
  for (const index of await indicesOf(client, oldAlias(month)))
    if (index !== current) await deleteIndex(client, index);
  await removeAlias(client, newAlias(month));
}

/** Instead of the swap: the new index goes. */
export async function removeNew(client: Client, month: string): Promise<void> {
  const [current] = await indicesOf(client, writeAlias(month));
  for (const index of await indicesOf(client, newAlias(month)))
    if (index !== current) await deleteIndex(client, index);
  await removeAlias(client, oldAlias(month));
}

async function removeAlias(client: Client, alias: string): Promise<void> {
  for (const index of await indicesOf(client, alias))
    await client.indices.updateAliases({ body: { actions: [{ remove: { index, alias } }] } });
}

async function deleteIndex(client: Client, index: string): Promise<void> {
  try {
    await client.indices.delete({ index });
  } catch (error) {
    if (errorType(error) !== "index_not_found_exception") throw error;
  }
}
