import { expect, test } from "vitest";
import { isGuarded, plainStarts } from "./formulas.ts";

test("what begins a value plainly is never guarded, whatever stands behind it", () => {
  const encoder = new TextEncoder();
  const wrong: string[] = [];
  for (let code = 0; code < 0x110000; code++) {
    const character = String.fromCodePoint(code).toWellFormed();
    const start = encoder.encode(character)[0] ?? 0;
    if (plainStarts[start] === 1 && (isGuarded(character) || isGuarded(`${character}=1`)))
      wrong.push(code.toString(16));
  }
  expect(wrong).toEqual([]);
});

test("a word in most scripts begins plainly", () => {
  for (const word of ["abc", "Émile", "Ångström", "Жуков", "中文", "한국어", "Ωmega"])
    expect(plainStarts[new TextEncoder().encode(word)[0] ?? 0], word).toBe(1);
});
