// A clock whose timers run when they are told to: all that are due by some time, or the next one alone.

import type { Clock, Timer } from '../../src/util/clock.ts';

export class HandClock implements Clock {
  ms = 0;
  #timers: { atMs: number; run: () => void }[] = [];

  wallMs(): number {
    return this.ms;
  }

  monotonicMs(): number {
    return this.ms;
  }

  turnMs(): number {
    return this.monotonicMs();
  }

  after(delayMs: number, run: () => void) {
    const timer = { atMs: this.ms + delayMs, run };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((one) => one !== timer);
      },
    };
  }

  every(periodMs: number, run: () => void): Timer {
    const arm = (): Timer =>
      this.after(periodMs, () => {
        timer = arm();
        run();
      });
    let timer = arm();
    return { cancel: () => timer.cancel() };
  }

  soon(run: () => void): void {
    this.after(0, run);
  }

  pass(ms: number): void {
    const endMs = this.ms + ms;
    while (this.step(endMs));
    this.ms = endMs;
  }

  /** Runs the next timer, where it is due by `endMs`; false where none is. */
  step(endMs = Number.POSITIVE_INFINITY): boolean {
    const [next] = this.#timers.sort((one, other) => one.atMs - other.atMs);
    if (next === undefined || next.atMs > endMs) return false;
    this.#timers.shift();
    this.ms = Math.max(this.ms, next.atMs);
    next.run();
    return true;
  }
}
