/**
 * Waits for work no longer than a time: for what has no timeout of its own, such as a call of a Durable
 * Object. The work itself may go on.
 *
 * @throws what the work throws, or an Error when the time is over
 */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
