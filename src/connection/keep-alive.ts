// One wheel of slots for the deadlines of all connections: keep-alive, and the moment at which a closing connection is
// cut off. A connection stands in the slot of its deadline by two links of its own; hearing from it costs it one field
// write, because the deadline is computed anew only when its slot comes round. So there is one timer, no closure and no
// allocation per connection or packet. The wheel's time stands still while the process does (a stall, SIGSTOP): what
// the clients sent meanwhile has not been read yet, so nobody is judged by that time.

import { assert } from '../util/assert.ts';
import type { Clock, Timer } from '../util/clock.ts';

/** How often the wheel turns: deadlines are met that much late at most. */
export const TICK_MS = 250;
const SLOTS = 256;

/** Something with a deadline. The three fields belong to the wheel. */
export interface Watched {
  wheelNext: Watched | null;
  wheelPrevious: Watched | null;
  /** Slot it stands in, -1 when it stands in none. */
  wheelSlot: number;
  /** The deadline as it is now, in wheel time; Infinity where there is none at present. */
  dueMs(): number;
  /** The deadline has passed; it is not watched any more. */
  onDue(): void;
}

export class KeepAliveWheel {
  /** Wheel time in milliseconds, as of the last tick. */
  nowMs = 0;

  readonly #clock: Clock;
  readonly #slots: (Watched | null)[] = new Array<Watched | null>(SLOTS).fill(null);
  readonly #timer: Timer;
  #slot = 0;
  #tickedAtMs: number;
  #watched = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#tickedAtMs = clock.monotonicMs();
    this.#timer = clock.every(TICK_MS, () => this.#tick());
  }

  /** How many are watched. */
  get size(): number {
    return this.#watched;
  }

  /** Watches until `remove` or the deadline. To be called again when a deadline has come nearer. */
  add(one: Watched): void {
    if (one.wheelSlot >= 0) this.remove(one);
    const ticks = Math.ceil((one.dueMs() - this.nowMs) / TICK_MS);
    // What is further away than a turn is looked at when the wheel has gone round once.
    const slot = (this.#slot + Math.min(Math.max(ticks, 1), SLOTS - 1)) % SLOTS;
    const head = this.#slots[slot];
    one.wheelSlot = slot;
    one.wheelPrevious = null;
    one.wheelNext = head;
    if (head !== null) head.wheelPrevious = one;
    this.#slots[slot] = one;
    this.#watched++;
  }

  /** Harmless for one that is not watched. */
  remove(one: Watched): void {
    if (one.wheelSlot < 0) return;
    if (one.wheelPrevious !== null) one.wheelPrevious.wheelNext = one.wheelNext;
    else this.#slots[one.wheelSlot] = one.wheelNext;
    if (one.wheelNext !== null) one.wheelNext.wheelPrevious = one.wheelPrevious;
    one.wheelNext = null;
    one.wheelPrevious = null;
    one.wheelSlot = -1;
    this.#watched--;
    assert(this.#watched >= 0, 'the wheel counts what it holds');
  }

  stop(): void {
    this.#timer.cancel();
  }

  #tick(): void {
    const nowMs = this.#clock.monotonicMs();
    this.nowMs += Math.min(nowMs - this.#tickedAtMs, 2 * TICK_MS);
    this.#tickedAtMs = nowMs;
    this.#slot = (this.#slot + 1) % SLOTS;
    // Each is taken out before it is judged, so that what it does (close others, add itself) meets a whole list; none
    // is put back into this slot, so the loop ends.
    for (let one = this.#slots[this.#slot]; one !== null; one = this.#slots[this.#slot]) {
      this.remove(one);
      if (one.dueMs() <= this.nowMs) one.onDue();
      else this.add(one);
    }
  }
}
