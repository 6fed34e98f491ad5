import { z } from "zod";
import { hows, keyWords } from "./mask-rules.ts";
import { maxFormLength, parseForm } from "./mask-form.ts";
import { personalNames } from "./personal-values.ts";

const how = z.enum(hows, `must be one of ${hows.join(", ")}`).meta({
  id: "MaskingHow",
  description:
    "`full`: `***`. `hash`: `hash:…`, the same for equal values of the tenant, so that exact filters find them. `partial`: `***` and the last characters, a quarter at most and four, of a short value none.",
  examples: ["hash"],
});

/** A tenant's row is read as jsonb, which takes neither of them. */
const isPlainText = (text: string) => text.isWellFormed() && !text.includes("\0");
const plainTextMessage = "must be valid Unicode without NUL";
const noNul = "^[^\\u0000]*$";

/** The fields that hold personal data only where a tenant's users put it there: see maskLog. */
const fields = z
  .strictObject({
    user_id: z
      .literal(
        "hash",
        "must be hash: the user role is held to logs of its own user_id, which must stay comparable",
      )
      .meta({
        description: "Also `recorded_by`, where a user records its own log.",
        examples: ["hash"],
      }),
    session_id: how,
    request_id: how,
    ip_address: how,
    user_agent: how,
    actor_name: how,
    resource_id: how,
    resource_name: how,
    description: how,
    target_id: how,
    target_name: how,
  })
  .partial();
export type MaskedField = keyof z.infer<typeof fields>;

const maxKeys = 100;
const maxPatterns = 20;
/** Each character of a form may be held against each character of a log. */
const maxFormsLength = 500;

const keyRule = z
  .strictObject({
    key: z
      .string()
      .max(100, "must be at most 100 characters")
      .refine((key) => keyWords(key).length > 0, "must have a letter")
      .refine(isPlainText, plainTextMessage)
      .meta({
        pattern: noNul,
        description:
          "Matches by whole words, however they are written: `national_id` is `nationalId` too. One of the keys that are always masked may be named to choose how.",
        examples: ["national_id"],
      }),
    how,
  })
  .meta({ id: "MaskingKey", description: "A key and how its values are masked." });

const patternRule = z
  .strictObject({
    name: z
      .enum(personalNames, `must be one of ${personalNames.join(", ")}`)
      .optional()
      .meta({ description: "A form that the service knows.", examples: ["email"] }),
    form: z
      .string()
      .max(maxFormLength, `must be at most ${maxFormLength} characters`)
      .superRefine((text, context) => {
        const parsed = isPlainText(text) ? parseForm(text) : plainTextMessage;
        if (typeof parsed === "string") context.addIssue({ code: "custom", message: parsed });
      })
      .optional()
      .meta({
        pattern: noNul,
        description:
          "A form of your own: `#` is a digit, `?` a letter or a digit, `*` a row of them, `\\` before one of these is itself; other characters are themselves, in any letter case.",
        examples: ["EMP-####"],
      }),
    how,
  })
  .refine(
    ({ name, form }) => (name === undefined) !== (form === undefined),
    "must have either a name or a form",
  )
  .meta({
    id: "MaskingPattern",
    description: "Values, by a name or by a form of the tenant's own, and how they are masked.",
  });

/** A tenant's own rules of masking, beside those that always hold. */
export const masking = z
  .strictObject({
    keys: z
      .array(keyRule)
      .max(maxKeys, `must hold at most ${maxKeys} keys`)
      .meta({
        description: "Of `metadata`, `before_state` and `after_state`, at any depth.",
        examples: [[{ key: "national_id", how: "hash" }]],
      }),
    patterns: z
      .array(patternRule)
      .max(maxPatterns, `must hold at most ${maxPatterns} patterns`)
      .refine(
        (rules) => rules.reduce((sum, { form = "" }) => sum + form.length, 0) <= maxFormsLength,
        `must have forms of at most ${maxFormsLength} characters together`,
      )
      .meta({
        description: "Of texts and numbers inside the objects, and of `description`.",
        examples: [[{ name: "email", how: "hash" }]],
      }),
    fields: fields.meta({
      id: "MaskingFields",
      description: "Fields of a log that are masked as a whole.",
      examples: [{ user_id: "hash" }],
    }),
    email: z.enum(["masked", "clear"], "must be masked or clear").meta({
      description:
        "`clear` keeps the address readable. The filter `email` works with both. `masked` by default.",
      examples: ["clear"],
    }),
  })
  .partial()
  .meta({ id: "Masking", description: "Rules of masking, beside those that always hold." });
export type Masking = z.infer<typeof masking>;
