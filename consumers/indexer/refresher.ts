/**
 * Answers when everything that was indexed before the call has become searchable. However many ask, the
 * index is refreshed at most once an interval: a refresh for each write would cost 14 times the throughput.
 */
export class Refresher {
  private waiting = new Set<string>();
  private next: Promise<void> | undefined;
  private lastBegan = 0;
  private readonly refresh: (months: ReadonlySet<string>) => Promise<void>;
  private readonly intervalMs: number;

  /** @param refresh makes these months' indices searchable */
  constructor(refresh: (months: ReadonlySet<string>) => Promise<void>, intervalMs: number) {
    this.refresh = refresh;
    this.intervalMs = intervalMs;
  }

  /** Resolves after a refresh of the months that began after this call. Rejects as the refresh does. */
  refreshed(months: Iterable<string>): Promise<void> {
    for (const month of months) this.waiting.add(month);
    this.next ??= this.refreshNext();
    return this.next;
  }

  private async refreshNext(): Promise<void> {
    const wait = this.lastBegan + this.intervalMs - Date.now();
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, wait)));
    const months = this.waiting;
    this.waiting = new Set();
    // From here on, who asks waits for another: this refresh may not see what they indexed.
    this.next = undefined;
    this.lastBegan = Date.now();
    await this.refresh(months);
  }
}
