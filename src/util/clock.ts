// Time for the whole process. This is the only file that reads the system clock or arms a timer: everything else
// receives a Clock, so that tests and the simulation own time. Wall time is for people and for messages that carry it;
// deadlines of the store are judged in the store's time; intervals are measured on the monotonic clock.

export interface Timer {
  /** Disarms the timer; harmless when it has fired or was cancelled before. */
  cancel(): void;
}

export interface Clock {
  /** Wall time, milliseconds since the epoch. May jump. */
  wallMs(): number;
  /** Monotonic time in milliseconds with a fraction; only differences mean anything. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`. The timer does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` every `periodMs` until cancelled. The timer does not keep the process alive. */
  every(periodMs: number, run: () => void): Timer;
  /** Calls `run` once the current batch of input/output events has been handled. */
  soon(run: () => void): void;
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
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
