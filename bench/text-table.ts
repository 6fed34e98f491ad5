/** Columns side by side: the first to the left, the others to the right. */
export function alignColumns(rows: readonly (readonly string[])[]): string[] {
  const [head = []] = rows;
  const widths = head.map((_, n) => Math.max(...rows.map((row) => (row[n] ?? "").length)));
  return rows.map((row) =>
    widths
      .map((width, n) => (n === 0 ? (row[n] ?? "").padEnd(width) : (row[n] ?? "").padStart(width)))
      .join("  ")
      .trimEnd(),
  );
}

/** A count, its thousands apart; below 100 with one decimal. */
export function whole(value: number): string {
  return value < 100
    ? value.toFixed(1)
    : Math.round(value).toLocaleString("en").replaceAll(",", " ");
}

export function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}

export function ms(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(value < 10 ? 1 : 0);
}

export function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? "" : (bytes / 2 ** 20).toFixed(1);
}
