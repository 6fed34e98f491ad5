import { describe } from "vitest";
import { errorJourneys } from "../journeys/errors.ts";
import { findLogsJourneys } from "../journeys/find-logs.ts";
import { isolationJourneys } from "../journeys/isolation.ts";
import { writeAndReadJourneys } from "../journeys/write-and-read.ts";
import { nowhere, searchMissing, workers, workersWith } from "./tools.ts";

describe("in workerd", () => {
  writeAndReadJourneys(workers);
  errorJourneys(workers);
  isolationJourneys(workers);
});

describe.skipIf(searchMissing !== "")(`with OpenSearch (skipped: ${searchMissing})`, () => {
  findLogsJourneys(workers, "opensearch");
});

describe("while OpenSearch does not answer", () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: nowhere }), "postgres");
  isolationJourneys(workersWith({ OPENSEARCH_HOST: nowhere }));
});

describe("without OpenSearch", () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: undefined }), "postgres");
});
