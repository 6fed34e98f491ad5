/** A generator of the same numbers in every run: mulberry32, from 0 up to and without 1. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const actions = ["document.viewed", "document.updated", "document.deleted", "user.login"] as const;
const severities = ["INFO", "INFO", "INFO", "INFO", "WARNING", "ERROR"] as const;
const teams = ["finance", "legal", "research", "sales", "support"] as const;
const words = ["quarterly", "budget", "contract", "roadmap", "invoice", "payroll"] as const;
const browser =
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

export const userIds = Array.from({ length: 50 }, (_, n) => `user_${1000 + n}`);
export const searchWords = words;

export type Entry = ReturnType<typeof makeEntry>;

/** An audit log as a web application sends it: about 600 bytes of JSON. */
export function makeEntry(random: () => number) {
  const pick = <T>(values: readonly [T, ...T[]] | readonly T[]): T => {
    const value = values[Math.floor(random() * values.length)];
    if (value === undefined) throw new RangeError("Nothing to pick from.");
    return value;
  };
  const number = (below: number): number => Math.floor(random() * below);
  const user = pick(userIds);
  const action = pick(actions);
  const title = `${pick(words)} ${pick(words)} ${number(1000)}`;
  return {
    action,
    resource_type: action.startsWith("user") ? "session" : "document",
    resource_id: `doc_${number(100_000)}`,
    resource_name: title,
    user_id: user,
    email: `${user}@example.com`,
    session_id: `s_${number(1_000_000)}`,
    request_id: `req_${number(1_000_000_000)}`,
    ip_address: `203.0.113.${number(256)}`,
    user_agent: browser,
    severity: pick(severities),
    outcome: "success",
    description: `${title}: ${action} by ${user}`,
    metadata: {
      team: pick(teams),
      version: number(100),
      size_bytes: number(10_000_000),
      labels: [pick(words), pick(words)],
      client: { name: "web", build: `2026.${number(12)}.${number(30)}` },
    },
  };
}

export function makeEntries(count: number, random: () => number): Entry[] {
  return Array.from({ length: count }, () => makeEntry(random));
}
