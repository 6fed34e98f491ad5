import { type Database, sqlState } from "../../db/client.ts";
import {
  type ExportPage,
  type ExportRange,
  maxPageBytes,
  maxPageRows,
  type RangeRows,
  readBounds,
  readRange,
} from "../../db/export-pages.ts";

/** How many logs a page looks at: at first, and at most, where the filter selects next to none of them. */
const firstStep = 500;
const mostStep = 1_000_000;
/** Pages that are read while one is encoded: with one alone the database rests while its answer is on its way. */
const pagesAhead = 2;
/** Bounds of pages to come are read together, as long as they span no more logs than this. */
const mostBounds = 16;
const mostLogsAhead = 100_000;

/** A page may take 8 s, the statement timeout of asExporter; it should take less than this. */
const slowMs = 1_500;
const fastMs = 500;
const mostTries = 6;
/** A step grows where a page has room for so many times as much, less a reserve for larger rows. */
const worthIt = 1.5;
const usedRoom = 0.9;
const queryCanceled = "57014";

/** A piece of the range, which becomes a page; where it ends is known before its rows are. */
type Piece = {
  after: string;
  step: number;
  to: Promise<string>;
  rows: Promise<RangeRows & { ms: number }>;
};

/**
 * The pages of an export from Postgres, in order, each with the next ones read ahead. The range is cut into
 * pieces by the primary key alone, so that one can be asked for before the one before has come. How many logs
 * a piece has follows from how many of them the filter selects, how large those are, and how long it took.
 */
export class ReadAhead {
  private step = firstStep;
  /** Where the next pieces end, in order. */
  private bounds: string[] = [];
  /** Pieces that follow each other, and the page that was given last. */
  private ahead: Piece[] = [];
  private readonly db: Database;
  private readonly range: ExportRange;

  constructor(db: Database, range: ExportRange) {
    this.db = db;
    this.range = range;
  }

  /**
   * The page after an id, which is that of the page before. Where a page takes too long for the database, a
   * smaller one is tried.
   *
   * @throws DatabaseUnavailable
   */
  async page(after: string): Promise<ExportPage> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.read(after);
      } catch (error) {
        this.ahead = [];
        if (sqlState(error) !== queryCanceled || tries === mostTries) throw error;
        this.changeStep(this.step / 4);
      }
    }
  }

  private async read(after: string): Promise<ExportPage> {
    // Behind a piece that was cut, what was read ahead does not fit.
    if (this.ahead[0]?.after !== after) this.ahead = [];
    const piece = this.ahead.shift() ?? this.begin(after);
    const to = await piece.to;
    const isAtEnd = to === this.range.upper;
    await this.readAhead(to);
    const { rows, bytes, isCut, ms } = await piece.rows;
    if (isCut || ms > slowMs) this.changeStep(piece.step / 2);
    else if (ms < fastMs) {
      const room = Math.min(maxPageRows / rows.length, maxPageBytes / bytes) * usedRoom;
      if (room > worthIt) this.changeStep(piece.step * Math.min(room, 2));
    }
    // The rest of a cut piece is a piece of its own.
    const last = isCut ? rows.at(-1) : undefined;
    return { rows, after: last?.id ?? to, isLast: isAtEnd && !isCut };
  }

  private async readAhead(from: string): Promise<void> {
    let end = (await this.ahead.at(-1)?.to) ?? from;
    while (this.ahead.length < pagesAhead && end !== this.range.upper) {
      const next = this.begin(end);
      this.ahead.push(next);
      end = await next.to;
    }
  }

  private begin(after: string): Piece {
    const { step } = this;
    const to = this.boundAfter(after, step);
    const rows = to.then(async (bound) => {
      const began = Date.now();
      const found = await readRange(this.db, { ...this.range, after }, bound);
      return { ...found, ms: Date.now() - began };
    });
    // Whoever reads the piece sees it; no one may ever do.
    rows.catch(() => {});
    return { after, step, to, rows };
  }

  private async boundAfter(after: string, step: number): Promise<string> {
    const known = this.bounds.filter((bound) => bound > after);
    if (known[0] !== undefined) {
      this.bounds = known.slice(1);
      return known[0];
    }
    const count = Math.max(1, Math.min(mostBounds, Math.floor(mostLogsAhead / step)));
    const found = await readBounds(this.db, { ...this.range, after }, step, count);
    if (found.length < count) found.push(this.range.upper);
    const [first = this.range.upper, ...further] = found;
    // Else they are made for a step that is given up already.
    if (step === this.step) this.bounds = further;
    return first;
  }

  private changeStep(wanted: number): void {
    const step = Math.min(Math.max(Math.round(wanted), 1), mostStep);
    if (step === this.step) return;
    this.step = step;
    this.bounds = [];
  }
}
