// The gate in front of everything that tells a client "committed". It is shut while this node's lease is over: another
// node may have cleaned up after it, so that nothing it answered would be true. What waits goes on in order when it opens.

export interface Waiter {
  /** The gate is open again. */
  goOn(): void;
}

export class Gate {
  #isOpen = true;
  readonly #waiting = new Set<Waiter>();
  readonly #isHolding: () => boolean;

  /**
   * `isHolding` judges the lease at this very moment: a process that thaws runs into its first ack before any timer
   * has told it how long it stood still.
   */
  constructor(isHolding: () => boolean) {
    this.#isHolding = isHolding;
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isHolding();
  }

  shut(): void {
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
