import { describe } from "vitest";
import { findLogsJourneys } from "../journeys/find-logs.ts";
import { writeAndReadJourneys } from "../journeys/write-and-read.ts";
import { nowhere, searchMissing, workers, workersWith } from "./tools.ts";

describe("in workerd", () => {
  writeAndReadJourneys(workers);
});

describe.skipIf(searchMissing !== "")(`with OpenSearch (skipped: ${searchMissing})`, () => {
  findLogsJourneys(workers, "opensearch");
});

describe("while OpenSearch does not answer", () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: nowhere }), "postgres");
});

describe("without OpenSearch", () => {
  findLogsJourneys(workersWith({ OPENSEARCH_HOST: undefined }), "postgres");
});
