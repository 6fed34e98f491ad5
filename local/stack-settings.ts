import { variables } from "../platform/config.ts";

/** The local stack's keys are known to everyone, so they are worth nothing outside of it. */
export const LOCAL_JWT_SECRET = "local-stack-only-jwt-secret-never-deploy-this";
export const LOCAL_HASH_SECRET = "local-stack-only-hash-secret-never-deploy-this";
export const LOCAL_METRICS_TOKEN = "local-stack-only-metrics-token";

/** The service's settings that the caller's environment has: they reach the Workers as they are. */
export function givenSettings(environment: NodeJS.ProcessEnv): Record<string, string> {
  const given: Record<string, string> = {};
  for (const name of variables) {
    const value = environment[name];
    // DEBUG is also what many Node packages read, with names of loggers in it.
    if (value && (name !== "DEBUG" || value === "true" || value === "false")) given[name] = value;
  }
  return given;
}
