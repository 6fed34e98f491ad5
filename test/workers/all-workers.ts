import { ExportPoller } from "../../consumers/exporter/index.ts";
import { LogPoller } from "../../consumers/indexer/index.ts";
import { app } from "../../worker/app.ts";
import { MetricsSnapshot } from "../../worker/operations/metrics-snapshot.ts";

export { ExportPoller, LogPoller, MetricsSnapshot };

/** A poller whose OpenSearch does not answer. */
export class DeafPoller extends LogPoller {
  constructor(context: DurableObjectState, env: ConstructorParameters<typeof LogPoller>[1]) {
    const deaf = { ...env, OPENSEARCH_HOST: "http://127.0.0.1:9" };
    super(context, deaf);
  }
}

export default app;
