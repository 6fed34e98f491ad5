/** What a Worker sees of a poller in another Worker: the Durable Object's one public method. */
export type Wakeable = Rpc.DurableObjectBranded & { wake(): Promise<void> };

/** The name of a queue's poller. One name is one object in the world. */
export const firstPoller = "poller-0";
