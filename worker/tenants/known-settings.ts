import { SettingsChanged } from "../../db/client.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { defaultSettings, type TenantSettings } from "../../events/tenant-settings.ts";
import { keepRecent } from "../../platform/keep-recent.ts";

const maxKnown = 1_000;
const maxTries = 3;
/** Of this isolate, by the tenant's id. */
const known = new Map<string, TenantSettings>();

/** The settings that the tenant was last seen to have here, or undefined where no request has met others than the defaults. */
export function knownSettings(tenantId: string): TenantSettings | undefined {
  return known.get(tenantId);
}

/**
 * Does something that goes by its tenant's settings. It gets those that this isolate knows, and a scope that
 * says so to the database: where the tenant has others nothing is done, and it is called again with them.
 * So a change holds for whatever begins after it, and costs a round trip only where one was made.
 *
 * @param work what it gives to the database must be made anew of the settings each time
 * @throws SettingsChanged where they change faster than that
 */
export async function withSettings<T>(
  scope: TenantScope,
  work: (settings: TenantSettings, scope: TenantScope) => Promise<T>,
): Promise<T> {
  const { tenantId, admission } = scope;
  let settings = knownSettings(tenantId) ?? defaultSettings;
  for (let tries = 1; ; tries++) {
    const settingsVersion = settings.version;
    const assuming = admission ? { ...scope, admission: { ...admission, settingsVersion } } : scope;
    try {
      return await work(settings, assuming);
    } catch (error) {
      if (!(error instanceof SettingsChanged)) throw error;
      remember(tenantId, settings, error.settings);
      if (tries === maxTries) throw error;
      settings = error.settings;
    }
  }
}

/** Not where another request has learnt meanwhile of a later change. */
function remember(tenantId: string, refuted: TenantSettings, settings: TenantSettings): void {
  const version = known.get(tenantId)?.version ?? defaultSettings.version;
  if (version !== refuted.version && version > settings.version) return;
  keepRecent(known, tenantId, settings, maxKnown);
}
