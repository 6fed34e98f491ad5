/** What a queue's pollers are at; `lastActivityAt` in milliseconds since 1970, null where there never was any. */
export type PollerStatus = { pollers: number; lastActivityAt: number | null };

/** What a Worker sees of a poller in another Worker: the Durable Object's public methods. */
export type Wakeable = Rpc.DurableObjectBranded & {
  wake(): Promise<void>;
  status(): Promise<PollerStatus>;
};
