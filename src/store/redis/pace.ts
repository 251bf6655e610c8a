// When the next batch of a lane begins. What somebody waits for goes at the end of this turn of the event loop, but not
// right behind the batch before: a moment later it takes along what comes meanwhile, and at little traffic, where every
// batch wakes three processes for a message or two, that is what a message costs. The moment is short behind a batch that
// took much along, and where clients come back as soon as they are answered: a longer one would hold up them alone. What
// nobody waits for goes with what somebody waits for, or after a few milliseconds.

import type { Clock, Timer } from '../../util/clock.ts';

interface Moment {
  /** A batch that would begin sooner than that behind the beginning of the one before pauses. */
  readonly gapMs: number;
  /** Whole milliseconds, as timers have them. */
  readonly pauseMs: number;
}

/** Behind a batch of few lists: the next one would wake three processes for as little. */
const LONG: Moment = { gapMs: 1.6, pauseMs: 2 };
const SHORT: Moment = { gapMs: 0.6, pauseMs: 1 };
const NONE: Moment = { gapMs: 0, pauseMs: 0 };
/** Lists of a batch from which they are many. */
const MANY_LISTS = 16;
/** Longest that something waits for which nobody waits. */
const PATIENCE_MS = 3;

export class Pace {
  readonly #clock: Clock;
  readonly #isPaced: boolean;
  readonly #begin: () => void;
  /** A beginning is set, after this turn of the loop or by the timer. */
  #isSet = false;
  /** Of the one that is set for what nobody waits for. */
  #patience: Timer | null = null;
  #begunMs = Number.NEGATIVE_INFINITY;
  #moment = NONE;

  /** Unless `isPaced`, no batch waits because of the one before. `begin` is called once for each. */
  constructor(clock: Clock, isPaced: boolean, begin: () => void) {
    this.#clock = clock;
    this.#isPaced = isPaced;
    this.#begin = () => {
      this.#isSet = false;
      this.#patience = null;
      begin();
    };
  }

  /** A batch of so many lists began. */
  noteBegin(nowMs: number, lists: number): void {
    this.#begunMs = nowMs;
    if (this.#isPaced) this.#moment = lists < MANY_LISTS ? LONG : SHORT;
  }

  /** There is something to send; `isUrgent`: somebody waits for it; `isPrompt`: who was answered a moment ago. */
  set(isUrgent: boolean, isPrompt: boolean): void {
    if (this.#isSet) {
      if (!isUrgent || this.#patience === null) return;
      this.#patience.cancel();
      this.#patience = null;
    }
    this.#isSet = true;
    const { gapMs, pauseMs } = isPrompt && this.#isPaced ? SHORT : this.#moment;
    if (!isUrgent) this.#patience = this.#clock.after(PATIENCE_MS, this.#begin);
    else if (this.#clock.monotonicMs() - this.#begunMs < gapMs) this.#clock.after(pauseMs, this.#begin);
    else this.#clock.soon(this.#begin);
  }

  close(): void {
    this.#patience?.cancel();
  }
}
