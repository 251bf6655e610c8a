// Appends to the route log for this node. What comes while an append is under way goes with the next one, so that a
// thousand clients that subscribe at once cost a few calls; one append is under way at a time, so that the order of the
// calls is the order in the log. Changes of this node's routes that follow each other make one entry: a thousand clients
// that come back cost every node a few of them. An append that fails is repeated until the store is closed: every entry may stand in
// the log twice, since whoever applies it ignores what it knows.

import type { Logger } from '../observability/logger.ts';
import { encodeLogRecord, type LogRecord, type RouteChange } from '../routing/log-codec.ts';
import type { LogAppend, Store } from '../store/store.ts';
import { type Clock, delay } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';

/** Of one call: bounds what the store handles in one go. A change is a write of its own there. */
const ENTRIES_MAX = 256;
const CHANGES_OF_CALL = 1024;
const BYTES_MAX = 512 * 1024;
/** Changes, and characters of their filters, up to which an entry takes more: the log is bounded by its entries. */
const CHANGES_MAX = 16;
const FILTERS_MAX = 1024;
const RETRY_MIN_MS = 100;
const RETRY_MAX_MS = 1000;

export interface LogAppenderOptions {
  readonly store: Pick<Store, 'appendLog'>;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Highest version of the log that this node has seen. */
  versionSeen(): number;
  /** Told of the highest version given to entries of this node. */
  onAppended(version: number): void;
}

interface Caller {
  readonly resolve: (version: number) => void;
  readonly reject: (error: unknown) => void;
}

/** One entry to be appended, and who waits for it. */
class Waiting {
  readonly record: LogRecord;
  readonly callers: Caller[] = [];
  /** Changes of this node's routes, to which more may come; null for any other record. */
  readonly #changes: RouteChange[] | null = null;
  #filters = 0;

  constructor(record: LogRecord, incarnation: string) {
    if (record.kind !== 'routes' || record.incarnation !== incarnation) {
      this.record = record;
      return;
    }
    this.#changes = [];
    this.record = { ...record, changes: this.#changes };
    this.#add(record.changes);
  }

  /** Takes this node's changes in, if it has some itself: one that says nothing is waited for by others as it is. */
  takes(changes: readonly RouteChange[]): boolean {
    const own = this.#changes;
    if (own === null || own.length === 0 || changes.length === 0) return false;
    if (own.length + changes.length > CHANGES_MAX || this.#filters > FILTERS_MAX) return false;
    this.#add(changes);
    return true;
  }

  encode(): LogAppend {
    return { payload: encodeLogRecord(this.record), routes: this.#changes ?? NO_ROUTES };
  }

  reject(error: unknown): void {
    for (const caller of this.callers) caller.reject(error);
  }

  #add(changes: readonly RouteChange[]): void {
    for (const change of changes) {
      this.#changes!.push(change);
      this.#filters += change.filter.length;
    }
  }
}

const NO_ROUTES: readonly RouteChange[] = [];

export class LogAppender {
  readonly #options: LogAppenderOptions;
  #waiting: Waiting[] = [];
  #isRunning = false;
  #isClosed = false;

  constructor(options: LogAppenderOptions) {
    this.#options = options;
  }

  /** Entries that are not appended yet. */
  get pending(): number {
    return this.#waiting.length;
  }

  /**
   * Appends a record and resolves with the version of its entry. Rejects with SWARMQ_ERR_STORE_CLOSED when the store is
   * closed, and when this node has been declared dead: its routes are refused then.
   */
  append(record: LogRecord): Promise<number> {
    if (this.#isClosed) return Promise.reject(closed('the route log is closed'));
    return new Promise((resolve, reject) => {
      this.#entryOf(record).callers.push({ resolve, reject });
      this.#wake();
    });
  }

  #entryOf(record: LogRecord): Waiting {
    const { incarnation } = this.#options;
    const last = this.#waiting.at(-1);
    const isOwn = record.kind === 'routes' && record.incarnation === incarnation;
    if (isOwn && last?.takes(record.changes)) return last;
    const entry = new Waiting(record, incarnation);
    this.#waiting.push(entry);
    return entry;
  }

  close(): void {
    this.#isClosed = true;
    for (const one of this.#waiting.splice(0)) one.reject(closed('the route log is closed'));
  }

  #wake(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // What else this turn of the event loop appends goes with the first call.
    this.#options.clock.soon(() => void this.#run());
  }

  async #run(): Promise<void> {
    const { store, incarnation, versionSeen } = this.#options;
    let retryMs = RETRY_MIN_MS;
    while (this.#waiting.length > 0 && !this.#isClosed) {
      const { batch, entries } = this.#takeBatch();
      try {
        this.#answer(batch, await store.appendLog(incarnation, entries, versionSeen()));
        retryMs = RETRY_MIN_MS;
      } catch (error) {
        if (isClosedError(error) || this.#isClosed) {
          this.#isClosed = true;
          for (const one of [...batch, ...this.#waiting.splice(0)]) one.reject(error);
          break;
        }
        this.#options.logger.warn({ err: error }, 'appending to the route log failed and is repeated');
        this.#waiting = [...batch, ...this.#waiting];
        await delay(this.#options.clock, retryMs);
        retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
      }
    }
    this.#isRunning = false;
  }

  #takeBatch(): { batch: Waiting[]; entries: LogAppend[] } {
    const entries: LogAppend[] = [];
    let bytes = 0;
    let changes = 0;
    for (const one of this.#waiting) {
      if (entries.length === ENTRIES_MAX) break;
      const entry = one.encode();
      bytes += entry.payload.length;
      changes += entry.routes.length;
      if (entries.length > 0 && (bytes > BYTES_MAX || changes > CHANGES_OF_CALL)) break;
      entries.push(entry);
    }
    return { batch: this.#waiting.splice(0, entries.length), entries };
  }

  #answer(batch: readonly Waiting[], versions: readonly number[]): void {
    this.#options.onAppended(Math.max(...versions));
    batch.forEach((one, index) => {
      const version = versions[index] ?? 0;
      if (version === 0) one.reject(closed('this node has been declared dead'));
      else for (const caller of one.callers) caller.resolve(version);
    });
  }
}

function closed(detail: string): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_STORE_CLOSED', detail);
}

export function isClosedError(error: unknown): boolean {
  return error instanceof SwarmqError && error.code === 'SWARMQ_ERR_STORE_CLOSED';
}
