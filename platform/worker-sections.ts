import { type SectionName, sectionNames } from "./config.ts";

/**
 * What each Worker needs of the configuration, by its name in wrangler.toml. It is deployed with the variables
 * of these sections and no others, and its code gets no others either: so a consumer that is taken over has no
 * way to make a token, or to test a guess of what was hashed.
 */
export const workerSections = {
  "audit-log-api": sectionNames.filter((name) => name !== "pollers"),
  "audit-log-indexer": ["database", "sqs", "search", "pollers"],
  "audit-log-exporter": ["database", "readDatabase", "sqs", "s3", "search", "pollers"],
  "audit-log-maintenance": ["database", "readDatabase", "sqs", "search"],
} as const satisfies Record<string, readonly SectionName[]>;
