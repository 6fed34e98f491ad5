import { z } from "zod";

/** `full`: nothing stays. `partial`: a few characters at the end stay. `hash`: equal values stay equal. */
export const hows = ["full", "partial", "hash"] as const;
export type How = (typeof hows)[number];

const how = z.enum(hows, `must be one of ${hows.join(", ")}`);

/** A tenant's own rules of masking, beside those that always hold. */
export const masking = z.strictObject({
  keys: z
    .array(z.strictObject({ key: z.string().min(1).max(100), how }))
    .max(100)
    .optional(),
});
export type Masking = z.infer<typeof masking>;
