import { errors } from "@opensearch-project/opensearch";
import { retryAfterMs } from "../platform/retry.ts";

/** Whether a later call may end otherwise: no whole answer, 429, and what the cluster itself is at fault for. */
export function isPassingSearchError(error: unknown): boolean {
  if (!(error instanceof errors.ResponseError))
    return (
      error instanceof errors.OpenSearchClientError && !(error instanceof errors.ConfigurationError)
    );
  const status = error.statusCode ?? 500;
  return status === 429 || status >= 500;
}

/** What the cluster, or a proxy before it, asked to be waited, in milliseconds. */
export function searchRetryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof errors.ResponseError)) return undefined;
  return retryAfterMs(error.headers?.["retry-after"], Date.now());
}
