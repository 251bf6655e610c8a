// The gate in front of everything that tells a client "committed". It is shut while this node's lease is over: another
// node may have cleaned up after it, so that nothing it answered would be true. What waits goes on in order when it opens.

import type { Clock } from '../util/clock.ts';

/**
 * Answers that may follow a look at the lease in the same turn of the loop: as they all leave at its end, in the writes of
 * their connections, a look at each one would not be nearer to that moment.
 */
const ANSWERS_OF_A_LOOK = 16;

export interface Waiter {
  /** The gate is open again. */
  goOn(): void;
}

export class Gate {
  #isOpen = true;
  readonly #waiting = new Set<Waiter>();
  readonly #isHolding: () => boolean;
  readonly #clock: Pick<Clock, 'turnMs'>;
  #lookedMs = -1;
  #left = 0;

  /**
   * `isHolding` judges the lease at this very moment: a process that thaws runs into its first ack before any timer
   * has told it how long it stood still.
   */
  constructor(isHolding: () => boolean, clock: Pick<Clock, 'turnMs'>) {
    this.#isHolding = isHolding;
    this.#clock = clock;
  }

  get isOpen(): boolean {
    if (!this.#isOpen) return false;
    const nowMs = this.#clock.turnMs();
    if (this.#left > 0 && nowMs === this.#lookedMs) {
      this.#left--;
      return true;
    }
    this.#left = 0;
    if (this.#isHolding()) return false;
    this.#lookedMs = nowMs;
    this.#left = ANSWERS_OF_A_LOOK;
    return true;
  }

  shut(): void {
    this.#left = 0;
    this.#isOpen = false;
  }

  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const waiter of waiting) waiter.goOn();
  }

  /** Calls `waiter` once when the gate opens. */
  wait(waiter: Waiter): void {
    this.#waiting.add(waiter);
  }
}
