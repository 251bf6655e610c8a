// The log: JSON lines on standard error (standard output belongs to the one line that says "ready"). The only file
// that knows pino. Lines are written by a thread of the pool: a reader that stalls must not stop the event loop, on
// which the lease depends; beyond a bound, lines are lost rather than kept. Payloads, passwords and tokens are never
// logged; topics at debug only; `msg` is a constant sentence and what varies is a field.

import { pino } from 'pino';
import type { Clock } from '../util/clock.ts';

const WAITING_BYTES_MAX = 4 * 1024 * 1024;

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

type LogCall = (fields: object, sentence: string) => void;

/** What the rest of swarmq knows of a log. Errors go under the field `err`. */
export interface Logger {
  /** Per packet. */
  readonly trace: LogCall;
  /** Per connection. */
  readonly debug: LogCall;
  /** Life-cycle. */
  readonly info: LogCall;
  /** Degraded but handled. */
  readonly warn: LogCall;
  /** The operator must act. */
  readonly error: LogCall;
  /** A log whose lines carry these fields too; `module` names the part of swarmq. */
  child(fields: object): Logger;
  isLevelEnabled(level: string): boolean;
}

/** Where lines go in tests. */
export interface LogSink {
  write(line: string): void;
}

/** The log of this process; each line names the node. */
export function createLogger(level: LogLevel, nodeName: string, sink?: LogSink): Logger {
  const destination =
    sink ?? pino.destination({ dest: 2, sync: false, minLength: 0, maxLength: WAITING_BYTES_MAX });
  return pino(
    {
      level,
      base: { node: nodeName },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** A log that tells nothing. */
export const silentLogger: Logger = {
  trace() {},
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLogger,
  isLevelEnabled: () => false,
};

/**
 * Warnings that may come thousands of times a second: the first of a sentence is logged at once, those of the next
 * `periodMs` are counted, and told as one line with `repeated` when the period is over. Sentences are constants of
 * the code, so that what is remembered is bounded by it.
 */
export class RepeatedWarnings {
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #periodMs: number;
  readonly #waiting = new Map<string, { repeated: number; fields: object }>();

  constructor(logger: Logger, clock: Clock, periodMs = 10_000) {
    this.#logger = logger;
    this.#clock = clock;
    this.#periodMs = periodMs;
  }

  warn(fields: object, sentence: string): void {
    const waiting = this.#waiting.get(sentence);
    if (waiting) {
      waiting.repeated++;
      waiting.fields = fields;
      return;
    }
    this.#logger.warn(fields, sentence);
    this.#openPeriod(sentence);
  }

  #openPeriod(sentence: string): void {
    this.#waiting.set(sentence, { repeated: 0, fields: {} });
    this.#clock.after(this.#periodMs, () => {
      const { repeated, fields } = this.#waiting.get(sentence) as { repeated: number; fields: object };
      this.#waiting.delete(sentence);
      if (repeated === 0) return;
      this.#logger.warn({ ...fields, repeated }, sentence);
      this.#openPeriod(sentence);
    });
  }
}
