import { entry } from "../journeys/api.ts";

/** The things of one tenant that the routes' paths can name. */
export type World = {
  tenant: string;
  logId: string;
  exportId: string;
  /** A new key, since one that was revoked is not there any more. */
  newKeyId: () => Promise<string>;
};

/** Who may call an operation, as the service's contract has it, and how it is called. */
export type Row = {
  may: "anyone" | readonly string[];
  /** An API key may not, whatever its roles. */
  needsToken?: true;
  /** The statuses of an answer to who may. */
  done: readonly number[];
  body?: () => unknown;
  /** The parameters of the path; other operations have none. */
  path?: (world: World) => Record<string, string> | Promise<Record<string, string>>;
};

const ofTenant = ({ tenant }: World) => ({ tenant_id: tenant });
const ofLog = ({ logId }: World) => ({ log_id: logId });
const ofExport = ({ exportId }: World) => ({ pipeline_id: exportId });
/** One that has not come, so that there is nothing to do. */
const noMonth = "2199.01";

/** In its own name, for the role `user`. */
const ownLog = () => entry({ user_id: "alice" });

/**
 * Written by hand, apart from what the code declares, so that a wrong declaration is found. An operation that
 * has no row here fails the suite.
 */
export const contract: Record<string, Row> = {
  getHealth: { may: "anyone", done: [200] },

  createLog: { may: ["admin", "writer", "user"], done: [201], body: ownLog },
  createLogs: {
    may: ["admin", "writer", "user"],
    done: [201],
    body: () => ({ logs: [ownLog(), ownLog()] }),
  },
  getLog: { may: ["admin", "auditor", "user"], done: [200], path: ofLog },
  listLogs: { may: ["admin", "auditor", "user"], done: [200] },
  getLogStats: { may: ["admin", "auditor"], done: [200] },

  cleanUpLogs: { may: ["admin"], done: [200] },

  startExport: { may: ["admin", "auditor"], done: [202] },
  listExports: { may: ["admin", "auditor"], done: [200] },
  getExport: { may: ["admin", "auditor"], done: [200], path: ofExport },
  // It may be done already.
  cancelExport: { may: ["admin", "auditor"], done: [200, 409], path: ofExport },
  retryExport: { may: ["admin", "auditor"], done: [202, 409], path: ofExport },

  listTenants: { may: ["platform_admin"], done: [200] },
  createTenant: {
    may: ["platform_admin"],
    done: [201],
    body: () => ({ id: `made-${crypto.randomUUID()}` }),
  },
  getTenant: { may: ["platform_admin", "admin"], done: [200], path: ofTenant },
  changeTenant: {
    may: ["platform_admin", "admin"],
    done: [200],
    path: ofTenant,
    body: () => ({ tokens_not_before: "2020-01-01T00:00:00Z" }),
  },

  listApiKeys: { may: ["admin"], needsToken: true, done: [200], path: ofTenant },
  createApiKey: {
    may: ["admin"],
    needsToken: true,
    done: [201],
    path: ofTenant,
    body: () => ({ name: "k", roles: ["writer"] }),
  },
  revokeApiKey: {
    may: ["admin"],
    needsToken: true,
    done: [200],
    path: async ({ tenant, newKeyId }) => ({ tenant_id: tenant, key_id: await newKeyId() }),
  },

  listDeadLetters: { may: ["platform_admin"], done: [200] },
  redriveDeadLetters: {
    may: ["platform_admin"],
    done: [200],
    body: () => ({ ids: [crypto.randomUUID()] }),
  },
  listReindexes: { may: ["platform_admin"], done: [200] },
  startReindex: { may: ["platform_admin"], done: [404], body: () => ({ month: noMonth }) },
  cancelReindex: { may: ["platform_admin"], done: [404], path: () => ({ month: noMonth }) },
};
