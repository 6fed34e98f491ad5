import { type SQL, sql } from "drizzle-orm";

/** The form of every time that leaves the service, of a timestamp in UTC: RFC 3339 with milliseconds. */
const timeForm = `'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'`;

/** A timestamptz as text of that form; null of null. What Postgres makes of one by itself is `+00:00` at its end. */
export const timeText = (at: SQL): SQL =>
  sql`to_char(${at} at time zone 'UTC', ${sql.raw(timeForm)})`;

/** A timestamptz as whole milliseconds since 1970. */
export const timeMs = (at: SQL): SQL => sql`floor(extract(epoch from ${at}) * 1000)`;
