import { describe, expect, it } from "vitest";
import { sentAuditLog } from "../events/audit-log.ts";
import { recordedWebhooks } from "./webhook-payload.ts";
import type { JsonObject } from "./webhook-payload.ts";
import { webhookToAuditLog } from "./webhook-to-audit-log.ts";

const run = "demo-1";
const webhooks = recordedWebhooks();

function recorded(
  name: string,
  matches: (payload: JsonObject) => boolean = () => true,
): JsonObject {
  const found = webhooks.find((webhook) => webhook.name === name && matches(webhook.payload));
  if (found === undefined) throw new Error(`no recorded ${name} like that`);
  return found.payload;
}

const map = (name: string, payload: JsonObject) => webhookToAuditLog({ name, payload }, run);
const does = (action: string) => (payload: JsonObject) => payload["action"] === action;

function depth(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depth));
}

describe("every recorded webhook", () => {
  const entries = webhooks.map((webhook) => ({ webhook, entry: webhookToAuditLog(webhook, run) }));

  it("is read from the package", () => {
    expect(webhooks.length).toBeGreaterThan(300);
  });

  it.each(entries)("$webhook.name $webhook.payload.action is taken by the API", ({ entry }) => {
    expect(sentAuditLog.safeParse(JSON.parse(JSON.stringify(entry))).error).toBeUndefined();
  });

  it("stays within the contract's limits, read on its own", () => {
    const beyond = entries.filter(({ entry }) => {
      const required = [entry.action, entry.resource_type, entry.resource_id];
      const short = [entry.resource_id, entry.resource_name, entry.user_id, entry.actor_name];
      const deepest = [entry.metadata, entry.before_state, entry.after_state].map(depth);
      return (
        required.some((text) => text.trim() === "") ||
        short.some((text) => text !== undefined && text.length > 2048) ||
        entry.targets.length > 20 ||
        entry.targets.some(({ type, id }) => type === "" || id === "") ||
        Math.max(...deepest) > 20 ||
        Buffer.byteLength(JSON.stringify(entry)) > 256 * 1024
      );
    });
    expect(beyond).toEqual([]);
  });

  it("leaves out event_id, so that every run stores its own logs, and names the run", () => {
    for (const { entry } of entries) {
      expect(entry).not.toHaveProperty("event_id");
      expect(entry.request_id).toBe(run);
    }
  });

  it("is about an object with an id of its own: none falls back to the event's name", () => {
    const fallbacks = entries.filter(({ webhook, entry }) => entry.resource_id === webhook.name);
    expect(fallbacks).toEqual([]);
  });
});

describe("the mapping", () => {
  it("gives an edited issue its changed fields, before and after", () => {
    const payload = {
      ...recorded("issues", does("edited")),
      changes: { title: { from: "Speling" } },
    };
    expect(map("issues", payload)).toEqual({
      action: "issues.edited",
      resource_type: "issue",
      resource_id: "444500041",
      resource_name: "Spelling error in the README file",
      user_id: "Codertocat",
      actor_type: "user",
      actor_name: "Codertocat",
      request_id: run,
      description: "It looks like you accidently spelled 'commit' with two 't's.",
      occurred_at: "2019-05-15T15:20:18Z",
      targets: [{ type: "repository", id: "186853002", name: "Codertocat/Hello-World" }],
      before_state: { title: "Speling" },
      after_state: { title: "Spelling error in the README file" },
      metadata: {
        event: "issues",
        repository: "Codertocat/Hello-World",
        repository_private: false,
        author: "Codertocat",
        milestone: "v1.0",
        labels: ["bug"],
        assignees: ["Codertocat"],
        number: 1,
        state: "open",
        html_url: "https://github.com/Codertocat/Hello-World/issues/1",
        locked: false,
      },
    });
  });

  it("reads the recorded changes: a comment's text, a renamed repository, a new owner, a field that was empty", () => {
    expect(map("issue_comment", recorded("issue_comment", does("edited")))).toMatchObject({
      before_state: { body: "You are totally right! I'll get this fixed right away." },
      after_state: { body: "You are totally right! I'll get this fixed today." },
    });
    expect(map("repository", recorded("repository", does("renamed")))).toMatchObject({
      before_state: { name: "Hello-World" },
      after_state: { name: "Hello-World" },
    });
    expect(map("repository", recorded("repository", does("transferred")))).toMatchObject({
      before_state: { owner: "octocat" },
      after_state: { owner: "Octocoders" },
    });
    expect(map("projects_v2_item", recorded("projects_v2_item", does("archived")))).toMatchObject({
      before_state: { archived_at: null },
      after_state: { archived_at: "2022-06-08T17:19:35-04:00" },
    });
  });

  it("does not invent a new value that GitHub does not tell", () => {
    expect(map("member", recorded("member", does("edited")))).toMatchObject({
      before_state: { old_permission: "write" },
      after_state: {},
    });
  });

  it("calls a push by its event, about the branch, from one commit to the next", () => {
    const payload = {
      ...recorded("push"),
      ref: "refs/heads/feature/login",
      before: "a".repeat(40),
      after: "b".repeat(40),
      commits: [
        {
          id: "b".repeat(40),
          message: "Fix it",
          author: { username: "octocat" },
          added: ["x"],
          modified: [],
          removed: [],
        },
      ],
    };
    const entry = map("push", payload);
    expect(entry).toMatchObject({
      action: "push",
      resource_type: "branch",
      resource_id: "Codertocat/Hello-World:feature/login",
      resource_name: "feature/login",
      user_id: "Codertocat",
      email: "21031067+Codertocat@users.noreply.github.com",
      before_state: { sha: "a".repeat(40) },
      after_state: { sha: "b".repeat(40) },
    });
    expect(entry.metadata).toMatchObject({
      ref: "refs/heads/feature/login",
      commits: [
        {
          id: "b".repeat(40),
          message: "Fix it",
          author: "octocat",
          added: 1,
          modified: 0,
          removed: 0,
        },
      ],
    });
  });

  it("leaves the all-zero commit of a created or deleted ref out of the states", () => {
    const entry = map(
      "push",
      recorded("push", (payload) => payload["deleted"] === true),
    );
    expect(entry.after_state).toEqual({});
    expect(entry.before_state).toEqual({ sha: "6113728f27ae82c7b1a177c8d03f9e96e0adf246" });
  });

  it("names the person in a membership: the collaborator as the resource, the team's member as a target, both by login", () => {
    expect(map("member", recorded("member", does("added")))).toEqual({
      action: "member.added",
      resource_type: "member",
      resource_id: "hacktocat",
      user_id: "hacktocat",
      actor_type: "user",
      actor_name: "hacktocat",
      request_id: run,
      targets: [{ type: "repository", id: "186853002", name: "Codertocat/Hello-World" }],
      before_state: {},
      after_state: {},
      metadata: {
        event: "member",
        repository: "Codertocat/Hello-World",
        repository_private: false,
        html_url: "https://github.com/hacktocat",
      },
    });
    expect(map("membership", recorded("membership", does("removed")))).toMatchObject({
      resource_type: "team",
      resource_id: "3253328",
      resource_name: "github",
      targets: [
        { type: "user", id: "Codertocat" },
        { type: "organization", id: "38302899", name: "Octocoders" },
      ],
      severity: "WARNING",
    });
  });

  it("calls a bot a service, GitHub itself the system, and anybody else a user", () => {
    const bot = recorded("check_suite", does("rerequested"));
    expect(map("check_suite", bot)).toMatchObject({
      user_id: "octocoders-linter[bot]",
      actor_type: "service",
      actor_name: "octocoders-linter",
    });
    expect(map("dependabot_alert", recorded("dependabot_alert"))).toMatchObject({
      user_id: "github",
      actor_type: "system",
    });
    const advisory = map("security_advisory", recorded("security_advisory"));
    expect(advisory).toMatchObject({ actor_type: "system", actor_name: "GitHub" });
    expect(advisory).not.toHaveProperty("user_id");
    expect(map("fork", recorded("fork"))).toMatchObject({
      user_id: "Octocoders",
      actor_type: "user",
    });
  });

  it("makes an alert's number unique by its repository", () => {
    expect(map("code_scanning_alert", recorded("code_scanning_alert"))).toMatchObject({
      resource_type: "code_scanning_alert",
      resource_id: "Codertocat/Hello-World:10",
    });
  });

  it("says how a check ended, and that a failed one is an error", () => {
    const payload = recorded("check_run", does("completed"));
    const failed = { ...payload, check_run: { id: 7, name: "lint", conclusion: "failure" } };
    expect(map("check_run", failed)).toMatchObject({
      outcome: "failure",
      severity: "ERROR",
      resource_name: "lint",
    });
  });

  it("falls back to the repository, and at last to the event, for an event that it does not know", () => {
    const repository = { id: 5, full_name: "a/b" };
    expect(map("brand_new", { repository })).toMatchObject({
      resource_type: "brand_new",
      resource_id: "5",
      action: "brand_new",
    });
    expect(map("brand_new", {})).toMatchObject({
      resource_type: "brand_new",
      resource_id: "brand_new",
    });
  });
});
