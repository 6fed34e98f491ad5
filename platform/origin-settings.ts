import { z } from "zod";
import { list, optional } from "./setting-forms.ts";

const asOrigin = "must be origins by commas, such as https://app.example.com";

/** Why a page's origin is not taken; undefined where it is. */
function problemOf(text: string): string | undefined {
  // A token in the wrong page's hands is a tenant's logs in them, so pages are named one by one.
  if (text.includes("*")) return "must name each origin: `*` would let every page in";
  if (!URL.canParse(text) || new URL(text).origin !== text) return asOrigin;
  const { protocol, hostname } = new URL(text);
  const isLocal = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
  if (protocol === "https:" || (protocol === "http:" && isLocal)) return undefined;
  return "must be https:// origins: who is on the way of an http:// page can change it";
}

/** Pages of other origins that may call the API from a browser. None unless it is set. */
export const originSection = z
  .object({
    ALLOWED_ORIGINS: optional.transform((text, context) => {
      const origins = list(text);
      for (const message of new Set(origins.map(problemOf)))
        if (message !== undefined) context.addIssue({ code: "custom", message });
      return origins;
    }),
  })
  .transform((env) => ({ allowed: env.ALLOWED_ORIGINS }));
