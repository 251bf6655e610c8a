// What is to happen once the current batch of input has been handled, for many objects with one callback: outboxes write
// what gathered, connections that were held go on reading. So nothing of this runs in the middle of somebody else's
// bookkeeping, and it costs no closure per object.

import type { Clock } from '../util/clock.ts';

export interface EndsTick {
  onTickEnd(): void;
}

export class TickEnd {
  readonly #clock: Clock;
  #waiting: EndsTick[] = [];
  readonly #run = (): void => {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) one.onTickEnd();
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `one.onTickEnd()` at the end of this tick; of the next where it is called at a tick's end. */
  add(one: EndsTick): void {
    if (this.#waiting.push(one) === 1) this.#clock.soon(this.#run);
  }
}
