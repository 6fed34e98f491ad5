import { z } from "zod";

/** The forms of variables that more than one section of the configuration has. */
export const required = z.string("is not set");
export const optional = z.string().optional();
export const secret = required.min(
  32,
  "must be at least 32 characters: `openssl rand -base64 32` makes one",
);

/** The items of a list parted by commas. */
export const list = (value: string | undefined) =>
  (value ?? "")
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
