import { vi } from "vitest";
import { workerEnv } from "./tools.ts";

/** Does requests to the database of a tenant, and loses their answers: of all of them, or the first. */
export function loseAnswers(tenant: string, which: "first" | "all") {
  const real = globalThis.fetch;
  const seen = { count: 0 };
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const isOurs = String(init?.body).includes(tenant);
    if (url !== workerEnv["NEON_FETCH_ENDPOINT"] || !isOurs) return real(input, init);
    const answer = await real(input, init);
    seen.count++;
    if (which === "all" || seen.count === 1) throw new Error("connection reset");
    return answer;
  });
  return seen;
}
