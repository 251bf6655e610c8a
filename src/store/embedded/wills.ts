// Wills that were taken for publishing and are not done: they stand outside of their sessions' lives until whoever
// publishes them says so, and anyone may finish those of a taker that died. A will is taken once, under a number that is
// its mark.

import { decodeWill, encodeWill } from '../records.ts';
import type { StoredWill, TakenWill, WillState } from '../store.ts';
import type { Ledger } from './ledger.ts';
import { decodeStored, encodeStored, KIND, pairKey, splitPair } from './stored.ts';

interface Taken extends TakenWill {
  readonly takenAt: number;
  /** Epoch of the claim whose connection may have ended with DISCONNECT; 0 where nothing is in doubt. */
  readonly doubt: number;
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

  take(clientId: string, will: StoredWill, nowMs: number, doubt = 0): TakenWill {
    const mid = this.#ledger.stamps.next(nowMs);
    const taken = {
      clientId,
      id: mid.toString(36),
      mid,
      will,
      takenAt: nowMs,
      doubt,
      isInDoubt: doubt !== 0,
    };
    this.#put(taken);
    return taken;
  }

  /** How the connection of a claim ended: a will that was taken from it in doubt is called off, or due. */
  settleDoubt(clientId: string, epoch: number, isCalledOff: boolean): void {
    for (const taken of [...(this.#byClient.get(clientId)?.values() ?? [])]) {
      if (taken.doubt !== epoch) continue;
      if (isCalledOff) this.finish(clientId, taken.id);
      else this.#put({ ...taken, doubt: 0, isInDoubt: false });
    }
  }

  /** What has become of a will that was in doubt; `isLast`: from now on it is due. */
  settle(clientId: string, id: string, isLast: boolean): WillState {
    const taken = this.#byClient.get(clientId)?.get(id);
    if (taken === undefined) return 'gone';
    if (isLast && taken.isInDoubt) this.settleDoubt(clientId, taken.doubt, false);
    return taken.isInDoubt && !isLast ? 'waits' : 'due';
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
    const { fields, body } = decodeStored<{ mid: number; takenAt: number; doubt?: number }>(key, value);
    const { doubt = 0 } = fields;
    this.#add({ clientId, id, ...fields, doubt, isInDoubt: doubt !== 0, will: decodeWill(body) });
  }

  /** Brings loaded wills into the order of taking. */
  sortLoaded(): void {
    const sorted = [...this.#byKey.values()].sort((one, other) => one.mid - other.mid);
    this.#byKey.clear();
    this.#byClient.clear();
    for (const taken of sorted) this.#add(taken);
  }

  #put(taken: Taken): void {
    const { mid, takenAt, doubt, will } = taken;
    const key = this.#add(taken);
    if (!this.#ledger.writes.isKept) return;
    const fields = { mid, takenAt, ...(doubt !== 0 && { doubt }) };
    this.#ledger.writes.put(key, encodeStored(fields, encodeWill(will)));
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
