import { describe } from "vitest";
import { errorJourneys } from "../journeys/errors.ts";
import { findLogsJourneys } from "../journeys/find-logs.ts";
import { isolationJourneys } from "../journeys/isolation.ts";
import { writeAndReadJourneys } from "../journeys/write-and-read.ts";
import { nowhere, searchMissing, workers, workersWith } from "./tools.ts";

// Each has tenants of its own, and mostly waits for the index: many go side by side.
const concurrent = { concurrent: true };

describe("in workerd", concurrent, () => {
  writeAndReadJourneys(workers);
  errorJourneys(workers);
  isolationJourneys(workers);
});

describe.skipIf(searchMissing !== "")(
  `with OpenSearch (skipped: ${searchMissing})`,
  concurrent,
  () => {
    findLogsJourneys(workers, "opensearch");
  },
);

describe("while OpenSearch does not answer", concurrent, () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: nowhere }), "postgres");
  isolationJourneys(workersWith({ OPENSEARCH_HOST: nowhere }));
});

describe("without OpenSearch", concurrent, () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: undefined }), "postgres");
});
