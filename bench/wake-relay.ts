/**
 * A Worker that stands where the API's binding leads, and hands `wake()` on to the process in which the
 * real poller runs. So the API has a process, and a CPU time, to itself, as it has a machine to itself
 * where it is deployed.
 */
export function wakeRelay(classNames: readonly string[]): string {
  return `import { DurableObject } from "cloudflare:workers";
class Relay extends DurableObject {
  async wake() {
    if (this.env.WAKE_URL) await fetch(this.env.WAKE_URL, { method: "POST" });
  }
}
export { ${classNames.map((name) => `Relay as ${name}`).join(", ")} };
export default { fetch: () => new Response(null, { status: 404 }) };
`;
}

/** A Worker beside the poller: a request to it wakes the object `name` of the binding POLLER. */
export function wakeTarget(name: string): string {
  return `export default {
  async fetch(request, env) {
    await env.POLLER.getByName(${JSON.stringify(name)}).wake();
    return new Response(null, { status: 204 });
  },
};
`;
}
