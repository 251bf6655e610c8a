// Wills that were taken for publishing and are not done: they stand outside of their sessions' lives until whoever
// publishes them says so, and anyone may finish those of a taker that died. A will is taken once, under a number that is
// its mark.

import { decodeWill, encodeWill } from '../records.ts';
import type { StoredWill, TakenWill } from '../store.ts';
import type { Ledger } from './ledger.ts';
import { decodeStored, encodeStored, KIND, pairKey, splitPair } from './stored.ts';

interface Taken extends TakenWill {
  readonly takenAt: number;
}

export class TakenWills {
  readonly #ledger: Ledger;
  /** By client id and id; in the order of taking. */
  readonly #byKey = new Map<string, Taken>();
  readonly #byClient = new Map<string, Map<string, Taken>>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  get size(): number {
    return this.#byKey.size;
  }

  take(clientId: string, will: StoredWill, nowMs: number): TakenWill {
    const mid = this.#ledger.stamps.next(nowMs);
    const taken = { clientId, id: mid.toString(36), mid, will, takenAt: nowMs };
    const key = this.#add(taken);
    if (this.#ledger.writes.isKept) {
      this.#ledger.writes.put(key, encodeStored({ mid, takenAt: nowMs }, encodeWill(will)));
    }
    return taken;
  }

  finish(clientId: string, id: string): void {
    const key = pairKey(KIND.takenWill, clientId, id);
    if (!this.#byKey.delete(key)) return;
    const ofClient = this.#byClient.get(clientId)!;
    ofClient.delete(id);
    if (ofClient.size === 0) this.#byClient.delete(clientId);
    this.#ledger.writes.remove(key);
  }

  of(clientId: string): TakenWill[] {
    return [...(this.#byClient.get(clientId)?.values() ?? [])];
  }

  /** Those taken at least `olderThanMs` ago, the oldest first. */
  left(nowMs: number, olderThanMs: number, limit: number): TakenWill[] {
    const left: TakenWill[] = [];
    for (const taken of this.#byKey.values()) {
      if (left.length >= limit || taken.takenAt + olderThanMs > nowMs) break;
      left.push(taken);
    }
    return left;
  }

  load(key: string, value: Buffer): void {
    const { first: clientId, second: id } = splitPair(key);
    const { fields, body } = decodeStored<{ mid: number; takenAt: number }>(key, value);
    this.#add({ clientId, id, ...fields, will: decodeWill(body) });
  }

  /** Brings loaded wills into the order of taking. */
  sortLoaded(): void {
    const sorted = [...this.#byKey.values()].sort((one, other) => one.mid - other.mid);
    this.#byKey.clear();
    this.#byClient.clear();
    for (const taken of sorted) this.#add(taken);
  }

  #add(taken: Taken): string {
    const key = pairKey(KIND.takenWill, taken.clientId, taken.id);
    this.#byKey.set(key, taken);
    const ofClient = this.#byClient.get(taken.clientId);
    if (ofClient) ofClient.set(taken.id, taken);
    else this.#byClient.set(taken.clientId, new Map([[taken.id, taken]]));
    return key;
  }
}
