// A program as a user would write it on the types that openapi-typescript makes. Its test generates them
// beside it, as schema.ts, and runs it with the address, a token and a word to put into the log.
import createClient from "openapi-fetch";
import type { paths } from "./schema.ts";

const [url = "", token = "", word = ""] = process.argv.slice(2);
const api = createClient<paths>({
  baseUrl: `${url}/api/v1`,
  headers: { Authorization: `Bearer ${token}` },
});

async function main(): Promise<void> {
  const stored = await api.POST("/logs", {
    params: { header: { "Idempotency-Key": word } },
    body: {
      action: "document.deleted",
      resource_type: "document",
      resource_id: "doc_42",
      severity: "WARNING",
      description: `Deleted ${word}`,
      metadata: { reason: word },
    },
  });
  if (!stored.data) throw new Error(stored.error.detail);
  const { id } = stored.data.data;

  const found = await until(async () => {
    const query = { search: word, action: ["document.*"], page_size: 5 };
    const page = await api.GET("/logs", { params: { query } });
    if (!page.data) throw new Error(page.error.detail);
    return page.data.items.find((log) => log.id === id);
  });

  const asked = await api.POST("/logs/export", {
    body: { format: "jsonl", compression: "none", filters: { "metadata.reason": word } },
  });
  if (!asked.data) throw new Error(asked.error.detail);
  const path = { pipeline_id: asked.data.data.id };
  const fileUrl = await until(async () => {
    const answer = await api.GET("/logs/export/{pipeline_id}", { params: { path } });
    if (!answer.data) throw new Error(answer.error.detail);
    if (answer.data.data.status === "FAILED") throw new Error(answer.data.data.error?.message);
    return answer.data.data.status === "DONE" ? answer.data.data.file_url : undefined;
  });
  const rows = (await (await fetch(fileUrl)).text()).trimEnd().split("\n");
  console.log(JSON.stringify({ id, severity: found.severity, rows: rows.length }));
}

async function until<T>(look: () => Promise<T | null | undefined>): Promise<T> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found != null) return found;
    if (Date.now() > deadline) throw new Error("It did not come in 60 seconds.");
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

await main();
