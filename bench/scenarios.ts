import { type Entry, makeEntries, searchWords, userIds } from "./entries.ts";
import { requestText } from "./http-text.ts";

export const bulkSize = 100;

export const scenarioKeys = ["get", "list", "search", "post", "bulk"] as const;
/** What the option `--only` calls the exports, which are no requests to be repeated. */
export const exportKey = "export";

export type Scenario = {
  name: string;
  /** What the option `--only` calls it. */
  key: (typeof scenarioKeys)[number];
  requests: string[];
  status: number;
  /** What every answer has to hold. */
  contains: string;
  logsPerRequest: number;
  /** Answered by the search engine. */
  isSearch: boolean;
};

export type ScenarioInput = {
  readerToken: string;
  writerToken: string;
  /** Logs of the reader's tenant. */
  logIds: readonly string[];
  source: "opensearch" | "postgres";
  random: () => number;
};

/** Reads come first: they then meet the same logs in every run, however many the writes will add. */
export function makeScenarios(input: ScenarioInput): Scenario[] {
  const { readerToken, writerToken, logIds, source, random } = input;
  const get = (path: string) => requestText({ method: "GET", path, token: readerToken });
  const post = (path: string, body: object) =>
    requestText({ method: "POST", path, token: writerToken, body: JSON.stringify(body) });
  const filters = ["action=document.*", "severity=ERROR&severity=WARNING", "action=user.login"];
  const lists = userIds.flatMap((id) => [
    `/api/v1/logs?user_id=${id}`,
    ...filters.map((filter) => `/api/v1/logs?user_id=${id}&${filter}`),
  ]);
  const searches = searchWords.flatMap((word) => [
    `/api/v1/logs?search=${word}`,
    ...searchWords.map((second) => `/api/v1/logs?search=${word}+${second.slice(0, 4)}*`),
  ]);
  const search = {
    status: 200,
    contains: `"source":"${source}"`,
    logsPerRequest: 0,
    isSearch: source === "opensearch",
  };
  return [
    {
      name: "GET /logs/{id}",
      key: "get",
      requests: logIds.slice(0, 500).map((id) => get(`/api/v1/logs/${id}`)),
      status: 200,
      contains: '{"data":{"id":',
      logsPerRequest: 0,
      isSearch: false,
    },
    { name: "GET /logs", key: "list", requests: lists.map(get), ...search },
    { name: "GET /logs?search=", key: "search", requests: searches.map(get), ...search },
    {
      name: "POST /logs",
      key: "post",
      requests: makeEntries(500, random).map((entry) => post("/api/v1/logs", entry)),
      status: 201,
      contains: '{"data":{"id":',
      logsPerRequest: 1,
      isSearch: false,
    },
    {
      name: `POST /logs/bulk of ${bulkSize}`,
      key: "bulk",
      requests: makeBatches(20, random).map((logs) => post("/api/v1/logs/bulk", { logs })),
      status: 201,
      contains: `{"data":{"affected_rows":${bulkSize},`,
      logsPerRequest: bulkSize,
      isSearch: false,
    },
  ];
}

export function makeBatches(count: number, random: () => number): Entry[][] {
  return Array.from({ length: count }, () => makeEntries(bulkSize, random));
}
