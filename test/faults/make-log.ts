/** In the text of a log that OpenSearch refuses for good. */
export const poison = "arsenic";

/** Words that stand in descriptions and nowhere else, so that what a search finds can be told without one. */
export const searchWords = ["wallaby", "numbat", "quokka", "bilby"] as const;

const actions = ["document.viewed", "document.deleted", "user.login", "user.logout"] as const;
const severities = ["INFO", "WARNING", "ERROR"] as const;
export const userIds = ["u_1", "u_2", "u_3", "u_4", "u_5"] as const;

/** A log as it is sent, and the fields that must come back the same. */
export type SentLog = {
  /** Its resource_id: no other log of any run has it. */
  marker: string;
  isPoisoned: boolean;
  /** The entry's JSON. */
  text: string;
  fields: {
    action: string;
    severity: string;
    resource_type: string;
    resource_id: string;
    user_id: string;
    description: string;
  };
  /** JSON text: the order of keys and every digit must stay. */
  metadata: string;
};

export function pick<T>(random: () => number, values: readonly T[]): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new RangeError("Nothing to pick from.");
  return value;
}

/**
 * @param marker of no other log
 * @param paddingBytes how much more its metadata holds
 */
export function makeLog(
  random: () => number,
  marker: string,
  { isPoisoned = false, paddingBytes = 0 } = {},
): SentLog {
  const number = (below: number): number => Math.floor(random() * below);
  const word = !isPoisoned && random() < 0.3 ? ` ${pick(random, searchWords)}` : "";
  const fields = {
    action: pick(random, actions),
    severity: pick(random, severities),
    resource_type: pick(random, ["document", "session"]),
    resource_id: marker,
    user_id: pick(random, userIds),
    description: `=what "happened", ünd 🙂\n${isPoisoned ? poison : "line"} ${number(1000)}${word}`,
  };
  const padding = paddingBytes > 0 ? `,"padding":"${randomText(random, paddingBytes)}"` : "";
  const metadata = `{"z":90071992547409${number(100)},"a":{"price":1.${number(10)}0,"list":[1,null,"é"]}${padding}}`;
  const text = `${JSON.stringify(fields).slice(0, -1)},"metadata":${metadata}}`;
  return { marker, isPoisoned, text, fields, metadata };
}

/** Words of letters that repeat little, so that gzip does not make them vanish. */
function randomText(random: () => number, length: number): string {
  let text = "";
  while (text.length < length) text += `${Math.floor(random() * 2 ** 40).toString(36)} `;
  return text.slice(0, length);
}
