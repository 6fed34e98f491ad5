/** The name of a queue's poller. One name is one Durable Object, and so one poller, in the world. */
export const pollerName = (n: number) => `poller-${n}`;
/** The queue's first poller: it is woken, watches the queue's depth and calls the others to help. */
export const firstPoller = pollerName(0);
