/** No request takes as long: one that was cut off never says that it is over, and its place is free then. */
const longestMs = 15_000;
const maxKept = 10_000;
/** When each request that is under way began, by what it is counted for; the oldest first. */
const underWay = new Map<string, Set<{ since: number }>>();

/**
 * Takes one of the places that there are for requests under way at the same time in this isolate.
 *
 * @param key what they are counted for
 * @param most how many places there are
 * @returns what gives the place back, or undefined where none is free
 */
export function takePlace(key: string, most: number): (() => void) | undefined {
  const now = Date.now();
  const taken = underWay.get(key) ?? new Set();
  for (const place of taken) {
    if (now - place.since < longestMs) break;
    taken.delete(place);
  }
  if (taken.size >= most) return undefined;
  const place = { since: now };
  taken.add(place);
  // Only tenants whose requests were cut off stay without any under way.
  if (underWay.size >= maxKept) underWay.clear();
  underWay.set(key, taken);
  return () => {
    taken.delete(place);
    if (taken.size === 0 && underWay.get(key) === taken) underWay.delete(key);
  };
}
