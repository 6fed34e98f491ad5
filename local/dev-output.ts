/** A Worker's own line in wrangler's output: its name, then what it wrote. */
const WORKER_LINE = /^\[(?!wrangler:)[\w.-]+\] (.*)$/;

function isSevere(text: string): boolean {
  try {
    const event: unknown = JSON.parse(text);
    if (typeof event !== "object" || event === null || !("level" in event)) return false;
    return event.level === "ERROR" || event.level === "CRITICAL";
  } catch {
    return false;
  }
}

/**
 * Which lines of wrangler's output belong in the terminal: build errors with what follows them, and
 * log lines of the Workers that are errors; with `verbose` every log line of the Workers. The rest
 * is in the log file.
 */
export function createOutputFilter(verbose: boolean): (line: string) => string | undefined {
  let inError = false;
  return (line) => {
    const written = WORKER_LINE.exec(line)?.[1];
    if (written !== undefined) {
      inError = written.includes("[ERROR]");
      return verbose || inError || isSevere(written) ? line : undefined;
    }
    if (line.includes("[ERROR]")) inError = true;
    // An error goes on until wrangler says something else: its own lines have a mark in front.
    else if (/^(\[wrangler:|▲|⎔|Using |\S+ has access to)/.test(line)) inError = false;
    return inError ? line : undefined;
  };
}
