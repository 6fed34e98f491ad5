import { SignJWT } from "jose";

export type Answer = { status: number; text: string; headers: Headers };

/** The calls of one tenant. They reject where no whole answer came. */
export type ApiClient = {
  tenant: string;
  call(
    method: string,
    path: string,
    body?: string,
    headers?: Record<string, string>,
  ): Promise<Answer>;
};

/** More than the API itself ever waits for its backends. */
const timeoutMs = 40_000;

export async function apiClient(
  url: string,
  tenant: string,
  jwtSecret: string,
): Promise<ApiClient> {
  const token = await new SignJWT({ tenant_id: tenant, roles: ["writer", "auditor"] })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(`sender of ${tenant}`)
    .setExpirationTime("6h")
    .sign(new TextEncoder().encode(jwtSecret));
  return {
    tenant,
    async call(method, path, body, headers = {}) {
      const response = await fetch(`${url}/api/v1${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        signal: AbortSignal.timeout(timeoutMs),
        ...(body === undefined ? {} : { body }),
      });
      return { status: response.status, text: await response.text(), headers: response.headers };
    },
  };
}
