// The numbers that order things: lives, epochs, message ids and log versions all come from one line that rises with the
// store's time in microseconds and never repeats, not even when the clock steps back or a session is made anew. The last
// one given is written with every batch that gave some.

export class Stamps {
  #last = 0;
  /** One was given since the last note. */
  isUsed = false;

  get last(): number {
    return this.#last;
  }

  /** A number above all given before and above `seen`, the highest one the caller knows of. */
  next(nowMs: number, seen = 0): number {
    this.#last = Math.max(this.#last + 1, seen + 1, Math.floor(nowMs) * 1000);
    this.isUsed = true;
    return this.#last;
  }

  load(last: number): void {
    this.#last = Math.max(this.#last, last);
  }
}
