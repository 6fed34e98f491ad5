/** The name of a queue's first poller. One name is one Durable Object, and so one poller, in the world. */
export const firstPoller = "poller-0";
