import { describe, expect, test } from "vitest";
import { ApiError, problems, type ProblemCode, reasonOf } from "./errors.ts";

const codes = Object.keys(problems) as ProblemCode[];

describe("every code", () => {
  test.each(codes)("%s has a status of an error and a title", (code) => {
    const { status, title } = problems[code];
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(600);
    expect(title).toMatch(/^[A-Z].*[^.]$/);
  });

  test.each(codes)("%s says when to try again only where that may help", (code) => {
    const { headers } = new ApiError(code, "detail");
    expect("Retry-After" in headers).toBe(problems[code].status === 503);
  });
});

describe("ApiError", () => {
  test("keeps what a client is told, and the cause for the log", () => {
    const cause = new Error("inner");
    const errors = [{ path: "/a", message: "is wrong" }];
    const error = new ApiError("validation_failed", "See errors.", {
      errors,
      headers: { Allow: "GET" },
      cause,
    });
    expect(error).toMatchObject({
      code: "validation_failed",
      message: "See errors.",
      errors,
      headers: { Allow: "GET" },
      cause,
    });
  });

  test("lets a header be replaced", () => {
    expect(
      new ApiError("misconfigured", "x", { headers: { "Retry-After": "60" } }).headers,
    ).toEqual({ "Retry-After": "60" });
  });
});

describe("reasonOf", () => {
  test("is the error's name and sentence, and those of its cause", () => {
    expect(reasonOf(new TypeError("bad"))).toBe("TypeError: bad");
    expect(reasonOf(new Error("outer", { cause: new Error("inner") }))).toBe("Error: outer: inner");
    expect(reasonOf(new Error("outer", { cause: "text" }))).toBe("Error: outer");
  });

  test("takes what is no error", () => {
    expect(reasonOf("text")).toBe("text");
    expect(reasonOf(undefined)).toBe("undefined");
    expect(reasonOf(null)).toBe("null");
  });

  test("is at most 500 characters", () => {
    expect(reasonOf(new Error("x".repeat(10_000)))).toHaveLength(500);
  });
});
