/**
 * A module for `workerd`, which has the rate limiting binding as a shell only: what is behind it is Cloudflare's.
 * Like miniflare's it counts in windows by the clock, and like Cloudflare's in memory, so that a benchmark
 * measures the service and no emulation. Each binding has an instance of its own.
 */
export const emulateRateLimit = `export default function ({ limit, period }) {
  let window;
  const counts = new Map();
  return {
    async limit({ key }) {
      const now = Math.floor(Date.now() / (period * 1000));
      if (now !== window) counts.clear();
      window = now;
      const count = counts.get(key) ?? 0;
      if (count < limit) counts.set(key, count + 1);
      return { success: count < limit };
    },
  };
}
`;
