import { expect, test } from "vitest";
import { readResponse, requestText } from "./http-text.ts";

const bytes = (text: string) => Buffer.from(text);

test("a request says how many bytes its body has, not how many characters", () => {
  const text = requestText({ method: "POST", path: "/logs", token: "t", body: '{"a":"ü🙂"}' });
  expect(text.startsWith("POST /logs HTTP/1.1\r\n")).toBe(true);
  expect(text).toContain("\r\nContent-Length: 14\r\n");
  expect(text.endsWith('\r\n\r\n{"a":"ü🙂"}')).toBe(true);
});

test("a response without content ends with its head", () => {
  const response = readResponse(bytes("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n"));
  expect(response).toEqual({ status: 204, body: "" });
});

test.each([
  ["a body of a known length", "HTTP/1.1 201 Created\r\ncontent-length: 7\r\n\r\nü=🙂"],
  [
    "a body in chunks",
    "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nü=\r\n4\r\n🙂\r\n0\r\n\r\n",
  ],
])("%s is read whole, and not before it is there", (_name, text) => {
  const whole = bytes(text);
  for (let end = 0; end < whole.length; end++) {
    expect(readResponse(whole.subarray(0, end))).toBeUndefined();
  }
  expect(readResponse(whole)).toEqual({ status: 201, body: "ü=🙂" });
});

test("a chunk may hold what looks like the end", () => {
  const text = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n0\r\n\r\nab\r\n0\r\n\r\n";
  expect(readResponse(bytes(text))).toEqual({ status: 200, body: "0\r\n\r\nab" });
});

test("what is no HTTP response throws", () => {
  expect(() => readResponse(bytes("SSH-2.0-x\r\n\r\n"))).toThrow(/not an HTTP/);
  expect(() => readResponse(bytes("HTTP/1.1 200 OK\r\n\r\nbody"))).toThrow(/length/);
});
