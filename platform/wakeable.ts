/** What a queue's pollers do, as the first of them knows it. */
export type PollerStatus = {
  /** How many are awake; 0 while the queue has been empty for a minute or more. */
  pollers: number;
  /** When it was last woken or last received a message, in milliseconds since 1970; null for never. */
  lastActivityAt: number | null;
};

/** What a Worker sees of a queue's first poller in another Worker. */
export type Wakeable = Rpc.DurableObjectBranded & {
  /** Makes sure that it polls for the next minute at least, unless it waits after an error. */
  wake(): Promise<void>;
  /** Answered from memory and storage: asking wakes nothing. */
  status(): Promise<PollerStatus>;
};
