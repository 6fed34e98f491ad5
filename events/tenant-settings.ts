import { z } from "zod";
import { masking } from "./masking.ts";

/** What the API must know of a tenant before it writes: settings_of() in migrations/. Null is the default. */
const settings = z.object({ masking: masking.nullable() });

/** `version` is raised with every change: a request says which it goes by. */
export type TenantSettings = z.infer<typeof settings> & { version: number };

export const defaultSettings: TenantSettings = { version: 0, masking: null };

/** As admit() gives them. */
export const tenantSettings = z
  .object({ version: z.int().nonnegative(), settings })
  .transform(({ version, settings }): TenantSettings => ({ version, ...settings }));
