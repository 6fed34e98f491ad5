import { expect, vi } from "vitest";
import { workerEnv } from "./tools.ts";

/** Round trips to the database of a tenant's request while this runs. */
export async function roundTrips(
  tenant: string,
  run: () => Promise<{ status: number }>,
): Promise<number> {
  const fetch = vi.spyOn(globalThis, "fetch");
  expect((await run()).status).toBeLessThan(300);
  const endpoint = workerEnv["NEON_FETCH_ENDPOINT"] ?? "";
  // Pollers of the same isolate ask the database too, in other roles.
  const made = fetch.mock.calls.filter(
    ([to, init]) =>
      String(to).startsWith(endpoint) &&
      String(init?.body).includes('"audit_api"') &&
      String(init?.body).includes(tenant),
  );
  vi.restoreAllMocks();
  return made.length;
}
