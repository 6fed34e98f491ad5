import { type Database, sqlState } from "../../db/client.ts";
import { type ExportPage, type ExportRange, readBounds, readRange } from "../../db/export-pages.ts";
import { maxPageBytes, maxPieceRows, maxPieces, type ReadPieces } from "../../db/export-pieces.ts";

/** How many logs a piece looks at: at first, and at most, where the filter selects next to none of them. */
const firstStep = 32;
const mostStep = 60_000;
/** Pages that are read while one is encoded: with one alone the database rests while its answer is on its way. */
const pagesAhead = 2;
/** Bounds of pages to come are read together, as long as they span no more logs than this. */
const mostBounds = 256;
const mostLogsAhead = 100_000;

/** A page may take 8 s, the statement timeout of asExporter; it should take less than this. */
const slowMs = 1_500;
const fastMs = 500;
const mostTries = 6;
const queryCanceled = "57014";

/** A piece should have about so much, which is enough for a value and little for the memory of anyone. */
const goodBytes = 56 * 1024;
const goodRows = maxPieceRows / 2;
/** What a row has as long as none was seen. */
const firstRowBytes = 1024;
/** The step is changed where it should be so many times as long, or as short. */
const worthIt = 1.5;

/** A stretch of the range, which becomes a page, in pieces; where they end is known before their rows are. */
type Stretch = {
  after: string;
  step: number;
  limit: number;
  ends: Promise<string[]>;
  read: Promise<ReadPieces & { ms: number }>;
};

/**
 * The pages of an export from Postgres, in order, each with the next ones read ahead. The range is cut into
 * pieces by the primary key alone, so that a page can be asked for before the one before has come. How many
 * logs a piece has follows from how many of them the filter selects, how large those are, and how long it took.
 */
export class ReadAhead {
  private step = firstStep;
  /** Bytes of a row, and rows of a piece, as they were last. */
  private rowBytes = firstRowBytes;
  private pieceRows = firstStep;
  /** How many rows of a piece are looked at: those behind them wait for the next page. */
  private limit = limitFor(firstRowBytes);
  /** Where the next pieces end, in order. */
  private ends: string[] = [];
  /** Those behind them, which are being read. */
  private more: { behind: string; ends: Promise<string[]> } | undefined;
  /** Stretches that follow each other, and the page that was given last. */
  private ahead: Stretch[] = [];
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
    for (let tries = 1; ;) {
      try {
        const page = await this.read(after);
        if (page) return page;
      } catch (error) {
        this.ahead = [];
        if (sqlState(error) !== queryCanceled || tries++ === mostTries) throw error;
        this.changeStep(this.step / 4);
      }
    }
  }

  /** @returns undefined where the first piece was too long: it is shorter the next time */
  private async read(after: string): Promise<ExportPage | undefined> {
    // Behind a piece that was cut, what was read ahead does not fit.
    if (this.ahead[0]?.after !== after) this.ahead = [];
    const stretch = this.ahead.shift() ?? this.begin(after);
    const ends = await stretch.ends;
    const end = ends.at(-1) ?? this.range.upper;
    await this.readAhead(end);
    const read = await stretch.read;
    this.learn(stretch, ends.length, read);
    const { chunks, cut, release } = read;
    if (cut === undefined) return { chunks, after: end, isLast: end === this.range.upper, release };
    // What was not given begins behind the rows that were, or behind the piece before.
    const given =
      [chunks.at(-1)?.lastId ?? after, ends[cut - 1] ?? after].toSorted().at(-1) ?? after;
    if (given > after) return { chunks, after: given, isLast: false, release };
    release();
    this.ahead = [];
    this.limit = Math.max(Math.floor(stretch.limit / 4), 1);
    return undefined;
  }

  private async readAhead(from: string): Promise<void> {
    let end = (await this.ahead.at(-1)?.ends)?.at(-1) ?? from;
    while (this.ahead.length < pagesAhead && end !== this.range.upper) {
      const next = this.begin(end);
      this.ahead.push(next);
      end = (await next.ends).at(-1) ?? this.range.upper;
    }
  }

  private begin(after: string): Stretch {
    const { step, limit } = this;
    const ends = this.endsAfter(after, step);
    const read = ends.then(async (known) => {
      const began = Date.now();
      const found = await readRange(this.db, { ...this.range, after }, known, limit);
      return { ...found, ms: Date.now() - began };
    });
    // Whoever reads the stretch sees it; no one may ever do.
    read.catch(() => {});
    return { after, step, limit, ends, read };
  }

  private async endsAfter(after: string, step: number): Promise<string[]> {
    const { upper } = this.range;
    const pieces = this.piecesOfPage();
    const known = this.ends.filter((end) => end > after);
    if (known.length < pieces && known.at(-1) !== upper) {
      const behind = known.at(-1) ?? after;
      const more = this.more?.behind === behind ? this.more.ends : this.readEnds(behind, step);
      this.more = undefined;
      known.push(...(await more));
    }
    // Else they are made for a step that is given up already.
    if (step === this.step) {
      this.ends = known.slice(pieces);
      this.readMore(known.at(-1), pieces * 2);
    }
    return known.slice(0, pieces);
  }

  /** Reads further bounds as soon as fewer are left than that: no page has to wait for them. */
  private readMore(behind: string | undefined, least: number): void {
    if (this.more || this.ends.length >= least) return;
    if (behind === undefined || behind === this.range.upper) return;
    const ends = this.readEnds(behind, this.step);
    // Whoever needs them sees it.
    ends.catch(() => {});
    this.more = { behind, ends };
  }

  private async readEnds(after: string, step: number): Promise<string[]> {
    const fit = Math.min(mostBounds, Math.floor(mostLogsAhead / step));
    const count = Math.max(this.piecesOfPage(), fit);
    const ends = await readBounds(this.db, { ...this.range, after }, step, count);
    return ends.length < count ? [...ends, this.range.upper] : ends;
  }

  private piecesOfPage(): number {
    const fit = Math.floor(maxPageBytes / (this.pieceRows * this.rowBytes));
    return Math.min(Math.max(fit, 1), maxPieces);
  }

  /** Changes what comes next by what came of a stretch. */
  private learn({ step }: Stretch, pieces: number, read: ReadPieces & { ms: number }): void {
    const { rows, bytes, cut, ms } = read;
    if (rows > 0) this.rowBytes = bytes / rows;
    this.limit = limitFor(this.rowBytes);
    const wanted = Math.min(goodRows, goodBytes / this.rowBytes);
    const room = wanted / (rows / pieces);
    if (ms > slowMs) this.changeStep(step / 2);
    else if (room < 1 / worthIt) this.changeStep(step * room);
    else if (room > worthIt && ms < fastMs && cut === undefined)
      this.changeStep(step * Math.min(room, 2));
    this.pieceRows = (rows / pieces / step) * this.step;
  }

  private changeStep(wanted: number): void {
    const step = Math.min(Math.max(Math.round(wanted), 1), mostStep);
    if (step === this.step) return;
    this.step = step;
    this.ends = [];
    this.more = undefined;
  }
}

/** Twice as many rows as a piece should have. */
function limitFor(rowBytes: number): number {
  return Math.min(Math.max(Math.floor((2 * goodBytes) / rowBytes), 1), maxPieceRows);
}
