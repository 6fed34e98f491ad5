import { vi } from "vitest";
import { z } from "zod";
import { workerEnv } from "./tools.ts";

const batch = z.object({
  queries: z.array(z.looseObject({ query: z.string(), params: z.array(z.unknown()) })),
});

/** What the queries of db/ say of the tenant, in each form that they have. A parameter must stay in use. */
const tenantConditions: [RegExp, string][] = [
  [/(?:"\w+"\.)?"?\btenant_id"? = (\$\d+)/g, "($1::text is not null)"],
  [/(?:"tenants"\."id"|\btenants\.id) = (\$\d+)/g, "($1::text is not null)"],
  [/\bfrom tenants where id = (\$\d+)/g, "from tenants where ($1::text is not null)"],
  [
    /\(tenant_id, sub, scope, key\) = \((\$\d+), (\$\d+, \$\d+, \$\d+)\)/g,
    "($1::text is not null and (sub, scope, key) = ($2))",
  ],
];
const userConditions: [RegExp, string][] = [
  [/(?:"audit_logs"\.)?"user_id" in \((\$\d+(?:, \$\d+)*)\)/g, "(array[$1]::text[] is not null)"],
];

type Removal = {
  /** Of the `user` role's own name too. */
  user?: boolean;
  /** Also takes the role away: what the owner of the tables sees, whom no policy holds. */
  policy?: boolean;
};

/**
 * Runs something whose queries lose their conditions on the way to the database, as if the code had forgotten
 * them. What is left is row-level security.
 *
 * @returns its result, and how many conditions were taken out: without any, nothing would be proved
 */
export async function withoutConditions<T>(
  run: () => Promise<T>,
  { user = false, policy = false }: Removal = {},
): Promise<{ result: T; removed: number }> {
  const real = globalThis.fetch;
  let removed = 0;
  const forget = (query: string, conditions: [RegExp, string][]): string =>
    conditions.reduce((text, [condition, instead]) => {
      removed += text.match(condition)?.length ?? 0;
      return text.replaceAll(condition, instead);
    }, query);
  const spy = vi.spyOn(globalThis, "fetch").mockImplementation((to, init) => {
    if (String(to) !== workerEnv["NEON_FETCH_ENDPOINT"]) return real(to, init);
    const { queries } = batch.parse(JSON.parse(String(init?.body)));
    const changed = queries.map(({ query, params, ...rest }, n) => ({
      ...rest,
      query: forget(query, [...tenantConditions, ...(user ? userConditions : [])]),
      params: policy && n === 0 ? params.map((one) => (isRole(one) ? "none" : one)) : params,
    }));
    return real(to, { ...init, body: JSON.stringify({ queries: changed }) });
  });
  try {
    return { result: await run(), removed };
  } finally {
    spy.mockRestore();
  }
}

const isRole = (value: unknown): boolean => /^audit_(api|exporter)$/.test(String(value));
