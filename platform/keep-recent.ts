/**
 * Puts an entry behind all others of a map that holds so many at most: the first goes, which was put there
 * longest ago.
 */
export function keepRecent<K, V>(map: Map<K, V>, key: K, value: V, most: number): void {
  // Taken out first: an entry that is only changed keeps its old place.
  map.delete(key);
  for (const oldest of map.keys()) {
    if (map.size < most) break;
    map.delete(oldest);
  }
  map.set(key, value);
}
