// Marks: the highest message id of a (publisher, slot) that a queue or a retained topic has taken, by which a repetition
// is known [MQTT-4.3.3]. They outlive what they marked by `markLifeMs` since their last use. All stand in one line in the
// order of use, so that freeing is taking from its front; the line is bounded, and a mark that falls out early could at
// worst let a repetition of a message through that its publisher left unfinished for very long.

import type { Mark } from '../operations.ts';
import type { Ledger } from './ledger.ts';
import type { MarkRecord } from './session.ts';
import { decodeStored, encodeStored, KIND, pairKey, splitPair } from './stored.ts';

/** Most marks of the store; about 200 bytes each. */
const MARKS_MAX = 2_000_000;

export class Marks {
  readonly #ledger: Ledger;
  /** In the order of last use. */
  readonly #line = new Set<MarkRecord>();
  /** Told of a retained topic that has lost a mark. */
  onFreed: (holder: string) => void = () => {};

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  get size(): number {
    return this.#line.size;
  }

  /** True when the mark is not above what `home` has of its key: the message is a repetition. */
  isKnown(home: Map<string, MarkRecord> | null, mark: Mark): boolean {
    const record = home?.get(mark.key);
    return record !== undefined && mark.mid <= record.mid;
  }

  use(home: Map<string, MarkRecord>, holder: string, mark: Mark, nowMs: number): void {
    let record = home.get(mark.key);
    if (record) {
      this.#line.delete(record);
      record.mid = mark.mid;
      record.usedAt = nowMs;
    } else {
      record = { holder, key: mark.key, home, mid: mark.mid, usedAt: nowMs };
      home.set(mark.key, record);
    }
    this.#line.add(record);
    const fields = { mid: record.mid, usedAt: record.usedAt };
    if (this.#ledger.writes.isKept) {
      this.#ledger.writes.put(pairKey(KIND.mark, holder, record.key), encodeStored(fields));
    }
    if (this.#line.size > MARKS_MAX) this.#freeFirst();
  }

  /** All marks of a session or topic that ended. */
  drop(home: Map<string, MarkRecord> | null): void {
    for (const record of home?.values() ?? []) this.#forget(record);
    home?.clear();
  }

  /** Frees at most `limit` marks whose life is over; answers how many. */
  sweep(nowMs: number, limit: number): number {
    let freed = 0;
    for (const record of this.#line) {
      if (freed >= limit || record.usedAt + this.#ledger.limits.markLifeMs > nowMs) break;
      this.#free(record);
      freed++;
    }
    return freed;
  }

  /** Reads a mark at start; `homeOf` finds the place of its holder. Marks come in any order: see `sortLoaded`. */
  load(key: string, value: Buffer, homeOf: (holder: string) => Map<string, MarkRecord>): void {
    const { first: holder, second } = splitPair(key);
    const { fields } = decodeStored<{ mid: number; usedAt: number }>(key, value);
    const home = homeOf(holder);
    const record = { holder, key: second, home, mid: fields.mid, usedAt: fields.usedAt };
    home.set(second, record);
    this.#line.add(record);
  }

  /** Brings loaded marks into the order of use. */
  sortLoaded(): void {
    const sorted = [...this.#line].sort((one, other) => one.usedAt - other.usedAt);
    this.#line.clear();
    for (const record of sorted) this.#line.add(record);
  }

  #freeFirst(): void {
    for (const record of this.#line) {
      this.#free(record);
      return;
    }
  }

  #free(record: MarkRecord): void {
    record.home.delete(record.key);
    this.#forget(record);
    this.onFreed(record.holder);
  }

  #forget(record: MarkRecord): void {
    this.#line.delete(record);
    this.#ledger.writes.remove(pairKey(KIND.mark, record.holder, record.key));
  }
}
