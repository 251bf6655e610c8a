// When the next batch of a lane begins. What somebody waits for goes at the end of this turn of the event loop, but not
// right behind the batch before: a moment later it takes along what comes meanwhile, and at little traffic, where every
// batch wakes three processes for a message or two, that is what a message costs. What nobody waits for goes with what
// somebody waits for, or after a few milliseconds.

import type { Clock, Timer } from '../../util/clock.ts';

/** The least that a timer can. */
const PAUSE_MS = 1;
/** Longest that something waits for which nobody waits. */
const PATIENCE_MS = 3;

export class Pace {
  readonly #clock: Clock;
  readonly #gapMs: number;
  readonly #begin: () => void;
  /** A beginning is set, after this turn of the loop or by the timer. */
  #isSet = false;
  /** Of the one that is set for what nobody waits for. */
  #patience: Timer | null = null;
  #begunMs = Number.NEGATIVE_INFINITY;

  /** A batch that would begin sooner than `gapMs` behind the one before pauses. `begin` is called once for each. */
  constructor(clock: Clock, gapMs: number, begin: () => void) {
    this.#clock = clock;
    this.#gapMs = gapMs;
    this.#begin = () => {
      this.#isSet = false;
      this.#patience = null;
      begin();
    };
  }

  /** A batch began. */
  noteBegin(nowMs: number): void {
    this.#begunMs = nowMs;
  }

  /** There is something to send; `isUrgent`: somebody waits for it. */
  set(isUrgent: boolean): void {
    if (this.#isSet) {
      if (!isUrgent || this.#patience === null) return;
      this.#patience.cancel();
      this.#patience = null;
    }
    this.#isSet = true;
    if (!isUrgent) this.#patience = this.#clock.after(PATIENCE_MS, this.#begin);
    else if (this.#clock.monotonicMs() - this.#begunMs < this.#gapMs)
      this.#clock.after(PAUSE_MS, this.#begin);
    else this.#clock.soon(this.#begin);
  }

  close(): void {
    this.#patience?.cancel();
  }
}
