// The enqueues of a message to very many, submitted some at a time: so that they hold up neither this node nor the store's
// first batch, and no faster than the store answers, so that what is not sent yet takes no memory and is not in the way of
// others. The trap: where one master of several does not answer, its receivers fill the window, and those of the others
// would wait behind them. So the window widens while nothing moves, and soon all are with the store.

import type { Clock, Timer } from '../util/clock.ts';
import type { Commit } from './commit.ts';

/** Enqueues of one message that are submitted in one turn of the event loop. */
export const AT_ONCE = 32;
/** Parts without an answer from which the next ones wait: enough for the batches of several masters, or for one fsync. */
const UNANSWERED_MAX = 512;
/** The window doubles when nothing was submitted for one to two of these. */
const WIDEN_MS = 10;

export interface Submitter {
  readonly clock: Pick<Clock, 'soon' | 'every'>;
  /** Submits the enqueues of the receivers `from` to `until`, without that one; counts each as a part. */
  submit(commit: Commit, from: number, until: number): void;
}

export class Submission {
  readonly #submitter: Submitter;
  readonly #commit: Commit;
  readonly #count: number;
  #timer: Timer | null = null;
  readonly #go = (): void => this.#submit();
  #at = 0;
  #atBefore = 0;
  #window = UNANSWERED_MAX;
  #isWaiting = false;

  /** Begins at once. The commit holds a part for this until all are submitted. */
  constructor(submitter: Submitter, commit: Commit, count: number) {
    this.#submitter = submitter;
    this.#commit = commit;
    this.#count = count;
    commit.parts++;
    commit.submission = this;
    this.#submit();
  }

  /** A part of the commit is done. */
  answered(): void {
    if (!this.#isWaiting || this.#commit.parts > this.#window - AT_ONCE) return;
    this.#isWaiting = false;
    this.#submitter.clock.soon(this.#go);
  }

  #submit(): void {
    const commit = this.#commit;
    const until = Math.min(this.#at + AT_ONCE, this.#count);
    this.#submitter.submit(commit, this.#at, until);
    this.#at = until;
    if (until === this.#count) {
      this.#timer?.cancel();
      commit.submission = null;
      commit.parts--;
      commit.line.advance();
    } else if (commit.parts > this.#window) {
      this.#isWaiting = true;
      this.#timer ??= this.#submitter.clock.every(WIDEN_MS, () => this.#widen());
    } else {
      this.#submitter.clock.soon(this.#go);
    }
  }

  #widen(): void {
    if (this.#isWaiting && this.#at === this.#atBefore) {
      this.#window *= 2;
      this.answered();
    }
    this.#atBefore = this.#at;
  }
}
