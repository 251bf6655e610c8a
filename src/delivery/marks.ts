// The marks of this node for its live receivers: the highest mid per publisher and slot, by which a repetition of a QoS 2
// message (or a will) is kept from those that have no queue. A slot holds one unfinished message and its next use has a
// higher mid, so that no reordering is taken for a repetition. Bounded; the least recently used goes first.

import type { Mark } from '../store/operations.ts';

export class NodeMarks {
  readonly #max: number;
  readonly #mids = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#mids.size;
  }

  /** True for the first sight of this message; remembers it. */
  take(mark: Mark): boolean {
    const known = this.#mids.get(mark.key);
    if (known !== undefined && known >= mark.mid) return false;
    this.#mids.delete(mark.key);
    this.#mids.set(mark.key, mark.mid);
    if (this.#mids.size > this.#max) {
      const { value } = this.#mids.keys().next();
      this.#mids.delete(value as string);
    }
    return true;
  }
}
