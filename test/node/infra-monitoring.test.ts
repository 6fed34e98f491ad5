import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parser as logqlParser } from "@grafana/lezer-logql";
import { parser as promqlParser } from "@prometheus-io/lezer-promql";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { z } from "zod";
import { type Metric, metrics } from "../../platform/metric-names.ts";

const read = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), "utf8");

const ruleFile = z.object({
  groups: z.array(z.object({ name: z.string(), rules: z.array(z.looseObject({})) })),
});
const rulesOf = (path: string) =>
  ruleFile.parse(parse(read(path))).groups.flatMap((one) => one.rules);

const alerts = z
  .array(
    z.strictObject({
      alert: z.string().regex(/^AuditLog[A-Za-z]+$/),
      expr: z.string(),
      for: z
        .string()
        .regex(/^\d+[smh]$/)
        .optional(),
      labels: z.strictObject({ severity: z.enum(["warning", "critical"]) }),
      annotations: z.strictObject({
        summary: z.string(),
        description: z.string(),
        runbook_url: z.string(),
      }),
    }),
  )
  .parse(rulesOf("infra/prometheus-alerts.yaml"));

const records = z
  .array(z.strictObject({ record: z.string(), expr: z.string() }))
  .parse(rulesOf("infra/loki-rules.yaml"));

const panelSchema = z.looseObject({
  id: z.number(),
  title: z.string(),
  type: z.string(),
  gridPos: z.object({ h: z.number(), w: z.number(), x: z.number(), y: z.number() }),
  datasource: z.object({ uid: z.string() }).optional(),
  targets: z
    .array(
      z.looseObject({
        expr: z.string(),
        legendFormat: z.string(),
        datasource: z.object({ uid: z.string() }),
      }),
    )
    .default([]),
});
const dashboard = z
  .looseObject({
    title: z.string(),
    panels: z.array(panelSchema),
    templating: z.object({ list: z.array(z.looseObject({ name: z.string(), type: z.string() })) }),
  })
  .parse(JSON.parse(read("infra/grafana-dashboard.json")));
const panels = dashboard.panels.filter((panel) => panel.type !== "row");

/** Grafana's own variables, by a value that they may have. */
const queries = panels.flatMap((panel) =>
  panel.targets.map(({ expr }) => expr.replaceAll("$__rate_interval", "5m")),
);
const expressions = [...alerts.map(({ expr }) => expr), ...queries];

type Selector = { metric: string; matchers: { label: string; value: string; isRegex: boolean }[] };

/** The series that a PromQL expression selects. Throws where it does not parse. */
function selectorsOf(expression: string): Selector[] {
  const found: Selector[] = [];
  promqlParser.parse(expression).iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`does not parse at ${node.from}: ${expression}`);
      const text = expression.slice(node.from, node.to);
      if (node.name === "VectorSelector")
        found.push({ metric: /^[\w:]+/.exec(text)?.[0] ?? "", matchers: [] });
      const matcher =
        node.name === "UnquotedLabelMatcher" && /^(\w+)\s*([=!]~?|!=)\s*"(.*)"$/.exec(text);
      if (matcher) {
        const [, label = "", operator = "", value = ""] = matcher;
        found.at(-1)?.matchers.push({ label, value, isRegex: operator.includes("~") });
      }
    },
  });
  return found;
}

const known: Record<string, Metric> = metrics;
const anchors = [...read("docs/runbook.md").matchAll(/^## (.+)$/gm)].map(
  ([, title = ""]) => `docs/runbook.md#${title.toLowerCase().replaceAll(" ", "-")}`,
);

describe("alert rules and dashboard", () => {
  test("are expressions of PromQL", () => {
    expect(expressions.length).toBeGreaterThan(30);
    for (const expression of expressions) {
      expect(selectorsOf(expression).length, expression).toBeGreaterThan(0);
    }
    expect(() => selectorsOf("sum(up")).toThrow("does not parse");
  });

  test("name only metrics and labels that the service exposes, or that Loki records", () => {
    const recorded = records.map(({ record }) => record);
    const wrong = expressions
      .flatMap(selectorsOf)
      .filter(({ metric }) => !recorded.includes(metric))
      .flatMap(({ metric, matchers }) => {
        const labels = known[metric]?.labels;
        if (!labels) return [metric];
        return matchers
          .filter(({ label, value, isRegex }) => {
            const values = labels[label];
            if (values === undefined) return true;
            const asked = isRegex ? value.split("|") : [value];
            return values !== null && asked.some((one) => !values.includes(one));
          })
          .map(({ label, value }) => `${metric}{${label}="${value}"}`);
      });
    expect(wrong).toEqual([]);
  });

  test("take the rate of counters only, and show no counter without one", () => {
    const wrong = expressions.flatMap((expression) => {
      const ranged = new Set(
        [...expression.matchAll(/(?:rate|increase)\((\w+)/g)].map(([, name = ""]) => name),
      );
      return selectorsOf(expression)
        .filter(({ metric }) => known[metric])
        .filter(({ metric }) => (known[metric]?.type === "counter") !== ranged.has(metric))
        .map(({ metric }) => `${metric} in ${expression}`);
    });
    expect(wrong).toEqual([]);
  });

  test("show every metric of the service on the dashboard", () => {
    const shown = new Set(queries.flatMap(selectorsOf).map(({ metric }) => metric));
    expect(Object.keys(metrics).filter((name) => !shown.has(name))).toEqual([]);
  });

  test("use only legends whose labels the series have", () => {
    for (const target of panels.flatMap((panel) => panel.targets)) {
      for (const [, label = ""] of target.legendFormat.matchAll(/{{(\w+)}}/g)) {
        const [selector] = selectorsOf(target.expr.replaceAll("$__rate_interval", "5m"));
        expect(Object.keys(known[selector?.metric ?? ""]?.labels ?? {})).toContain(label);
      }
    }
  });
});

describe("the alert rules", () => {
  test("are there for what an operator must hear of", () => {
    const used = new Set(alerts.flatMap(({ expr }) => selectorsOf(expr)).map((one) => one.metric));
    expect([...used]).toEqual(
      expect.arrayContaining([
        "audit_log_outbox_oldest_age_seconds",
        "audit_log_dead_letters",
        "audit_log_exports",
        "audit_log_degraded_searches_total",
        "audit_log_api:errors:rate5m",
        "audit_log_snapshot_age_seconds",
        "audit_log_build_info",
        "audit_log_backpressure",
        "audit_log_repairs_total",
        "audit_log_index_removals_oldest_age_seconds",
      ]),
    );
    const names = alerts.map(({ alert }) => alert);
    expect(new Set(names).size).toBe(names.length);
  });

  test("and the alarms each lead to a section of the runbook that is there", () => {
    expect(
      alerts.map((one) => one.annotations.runbook_url).filter((url) => !anchors.includes(url)),
    ).toEqual([]);
    const alarms = [...read("infra/aws.yaml").matchAll(/AlarmDescription: .*?(docs\S+)/g)];
    expect(alarms).toHaveLength(4);
    expect(alarms.map(([, url]) => url).filter((url) => !anchors.includes(url ?? ""))).toEqual([]);
    const led = new Set([
      ...alerts.map((one) => one.annotations.runbook_url),
      ...alarms.map(([, url]) => url),
    ]);
    expect(anchors.filter((anchor) => !led.has(anchor))).toEqual([]);
  });
});

describe("the recording rules", () => {
  test("are expressions of LogQL over fields that the API writes", () => {
    const source = read("worker/middleware/request-log.ts");
    for (const { expr } of records) {
      logqlParser.parse(expr).iterate({
        enter(node) {
          if (node.type.isError) throw new Error(`does not parse at ${node.from}: ${expr}`);
        },
      });
      expect(expr).toContain('logger="api_logger"');
      expect(expr).toContain('event="request"');
    }
    expect(source).toContain('createLogger("api_logger"');
    expect(source).toMatch(/"request", \{[^}]*\bstatus\b[^}]*\bduration_ms\b/);
    expect(read("wrangler.toml")).toMatch(/^name = "audit-log-api"$/m);
  });
});

describe("the dashboard", () => {
  test("takes its data source from a variable", () => {
    expect(dashboard.templating.list).toContainEqual(
      expect.objectContaining({ name: "datasource", type: "datasource" }),
    );
    for (const panel of panels) {
      expect(panel.datasource?.uid).toBe("${datasource}");
      for (const target of panel.targets) expect(target.datasource.uid).toBe("${datasource}");
    }
  });

  test("has its panels in rows, none over another", () => {
    const rows = dashboard.panels.filter((panel) => panel.type === "row").map(({ title }) => title);
    expect(rows.slice(0, 7)).toEqual([
      "State",
      "Ingest and index lag",
      "Queues",
      "Pollers",
      "Exports",
      "Search",
      "Repairs",
    ]);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(24);
      return Array.from({ length: w * h }, (_, n) => `${x + (n % w)},${y + Math.floor(n / w)}`);
    });
    expect(new Set(cells).size).toBe(cells.length);
  });
});
