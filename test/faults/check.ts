/** One invariant, on how much it was checked, and every place where it does not hold. */
export type Check = { name: string; checked: number; broken: readonly string[] };
