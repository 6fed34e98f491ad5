import { app } from "./app.ts";

export { MetricsSnapshot } from "./operations/metrics-snapshot.ts";

export default app;
