import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import packageInfo from "../../package.json" with { type: "json" };
import clientInfo from "../clients/typescript/package.json" with { type: "json" };

/** The packages in the first cells of the tables below a heading. */
async function described(heading: string): Promise<string[]> {
  const page = await readFile("docs/dependencies.md", "utf8");
  const section = page.split(/^## /m).find((one) => one.startsWith(`${heading}\n`)) ?? "";
  return section
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .flatMap((line) => [...(line.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)])
    .map((match) => match[1] ?? "");
}

test.each([
  ["In the Workers", packageInfo.dependencies],
  [
    "In tests and tools",
    { ...packageInfo.devDependencies, ...clientInfo.dependencies, ...clientInfo.devDependencies },
  ],
])("docs/dependencies.md says %j of each package, and of no other", async (heading, packages) => {
  expect((await described(heading)).toSorted()).toEqual(Object.keys(packages).toSorted());
});

test("versions are exact, and the lock file names no registry", async () => {
  const versions: string[] = Object.values({
    ...packageInfo.dependencies,
    ...packageInfo.devDependencies,
    ...clientInfo.dependencies,
    ...clientInfo.devDependencies,
  });
  for (const version of versions) expect(version).toMatch(/^(npm:[@\w/-]+@)?\d+\.\d+\.\d+[\w.-]*$/);
  expect(await readFile("package-lock.json", "utf8")).not.toMatch(/"resolved": "\w+:/);
});
