/** What a Worker sees of a poller in another Worker: the Durable Object's one public method. */
export type Wakeable = Rpc.DurableObjectBranded & { wake(): Promise<void> };
