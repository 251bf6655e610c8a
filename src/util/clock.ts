// Time for the whole process. This is the only file that reads the system clock or arms a timer: everything else
// receives a Clock, so that tests and the simulation own time. Wall time is for people and for messages that carry it;
// deadlines of the store are judged in the store's time; intervals are measured on the monotonic clock.

import { performance } from 'node:perf_hooks';

export interface Timer {
  /** Disarms the timer; harmless when it has fired or was cancelled before. */
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since the epoch. May jump. */
  wallMs(): number;
  /** Monotonic time in milliseconds with a fraction; only differences mean anything. */
  monotonicMs(): number;
  /**
   * The same as it was when first asked for in this turn of the event loop: for what is noted of each message and may be
   * off by the length of a turn. Never for a lease.
   */
  turnMs(): number;
  /** Calls `run` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` every `periodMs` until cancelled. The timer does not keep the process alive. */
  every(periodMs: number, run: () => void): Timer;
  /** Calls `run` once the current batch of input/output events has been handled. */
  soon(run: () => void): void;
}

/** 0 when it has not been read in this turn. */
let turnMs = 0;

function endTurn(): void {
  turnMs = 0;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  turnMs() {
    if (turnMs === 0) {
      turnMs = performance.now();
      setImmediate(endTurn);
    }
    return turnMs;
  },
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(periodMs, run) {
    const handle = setInterval(run, periodMs);
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
  soon(run) {
    setImmediate(run);
  },
};

/** Resolves after `delayMs` of the given clock. */
export function delay(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
