import { z } from "zod";

/** The forms of variables that more than one section of the configuration has. */
export const required = z.string("is not set");
export const optional = z.string().optional();
export const secret = required.min(
  32,
  "must be at least 32 characters: `openssl rand -base64 32` makes one",
);

/** A number within bounds, as its digits. @param name what the message says that it must be */
export const wholeNumber = (least: number, most: number, name = "a whole number") =>
  z
    .string()
    .refine(
      (text) => /^\d{1,9}$/.test(text) && Number(text) >= least && Number(text) <= most,
      `must be ${name} from ${least} to ${most}`,
    )
    .transform(Number);

/** The items of a list parted by commas. */
export const list = (value: string | undefined) =>
  (value ?? "")
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
