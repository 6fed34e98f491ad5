// Collects what the docs page is made of into dist/docs, which wrangler uploads as static assets: the
// page works without any other host. Plain JavaScript, so that wrangler may run it with any Node.
import { copyFileSync, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const swagger = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
const target = join(here, "../../dist/docs");

mkdirSync(target, { recursive: true });
for (const file of ["index.html", "start.js"]) copyFileSync(join(here, file), join(target, file));
for (const file of ["swagger-ui.css", "swagger-ui-bundle.js"])
  copyFileSync(join(swagger, file), join(target, file));
