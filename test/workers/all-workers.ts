import { app } from "../../worker/app.ts";

export { LogPoller } from "../../consumers/indexer/index.ts";
export default app;
