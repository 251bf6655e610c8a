// Appends to the route log for this node. What comes while an append is under way goes with the next one, so that a
// thousand clients that subscribe at once cost a few calls; one append is under way at a time, so that the order of the
// calls is the order in the log. An append that fails is repeated until the store is closed: every entry may stand in
// the log twice, since whoever applies it ignores what it knows.

import type { Logger } from '../observability/logger.ts';
import { encodeLogRecord, type LogRecord, type RouteChange } from '../routing/log-codec.ts';
import type { LogAppend, Store } from '../store/store.ts';
import { type Clock, delay } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';

/** Of one call: bounds what the store handles in one go. */
const ENTRIES_MAX = 256;
const BYTES_MAX = 512 * 1024;
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

interface Waiting {
  readonly entry: LogAppend;
  readonly resolve: (version: number) => void;
  readonly reject: (error: unknown) => void;
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
   * Appends one entry and resolves with its version. Rejects with SWARMQ_ERR_STORE_CLOSED when the store is closed, and
   * when this node has been declared dead: its routes are refused then.
   */
  append(record: LogRecord): Promise<number> {
    if (this.#isClosed) return Promise.reject(closed('the route log is closed'));
    const isOwn = record.kind === 'routes' && record.incarnation === this.#options.incarnation;
    const entry = { payload: encodeLogRecord(record), routes: isOwn ? record.changes : NO_ROUTES };
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, resolve, reject });
      this.#wake();
    });
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
    let retryMs = RETRY_MIN_MS;
    while (this.#waiting.length > 0 && !this.#isClosed) {
      const batch = this.#takeBatch();
      try {
        this.#answer(batch, await this.#appendBatch(batch));
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

  #takeBatch(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const { entry } of this.#waiting) {
      bytes += entry.payload.length;
      if (count === ENTRIES_MAX || (count > 0 && bytes > BYTES_MAX)) break;
      count++;
    }
    return this.#waiting.splice(0, count);
  }

  #appendBatch(batch: readonly Waiting[]): Promise<number[]> {
    const { store, incarnation, versionSeen } = this.#options;
    return store.appendLog(
      incarnation,
      batch.map(({ entry }) => entry),
      versionSeen(),
    );
  }

  #answer(batch: readonly Waiting[], versions: readonly number[]): void {
    this.#options.onAppended(Math.max(...versions));
    batch.forEach((one, index) => {
      const version = versions[index] ?? 0;
      if (version > 0) one.resolve(version);
      else one.reject(closed('this node has been declared dead'));
    });
  }
}

function closed(detail: string): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_STORE_CLOSED', detail);
}

export function isClosedError(error: unknown): boolean {
  return error instanceof SwarmqError && error.code === 'SWARMQ_ERR_STORE_CLOSED';
}
