// Bodies that are stored once for many queue entries. Each receiver of one has a bit; the last bit that is set frees the
// body, and so does its deadline. Setting a bit again changes nothing.

import { decodeEntry, decodeReference, PUBREL_ENTRY } from '../records.ts';
import { Deadlines } from './deadlines.ts';
import type { Ledger } from './ledger.ts';
import { decodeStored, encodeStored, KIND, keyOf } from './stored.ts';

const FLAG_REFERENCE = 0x10;

interface Payload {
  readonly body: Buffer;
  readonly receivers: number;
  readonly expiresAt: number;
  readonly done: Buffer;
  doneCount: number;
}

export class Payloads {
  readonly #ledger: Ledger;
  readonly #byId = new Map<string, Payload>();
  readonly #deadlines = new Deadlines();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  get size(): number {
    return this.#byId.size;
  }

  /** Storing it again leaves what is there. */
  store(id: string, body: Buffer, receivers: number, expiresAt: number): void {
    if (this.#byId.has(id)) return;
    // A copy: what is given may be part of a much larger chunk from a socket.
    const payload = this.#add(id, Buffer.from(body), receivers, expiresAt);
    if (!this.#ledger.writes.isKept) return;
    this.#ledger.writes.put(keyOf(KIND.payload, id), encodeStored({ receivers, expiresAt }, payload.body));
  }

  finish(id: string, indexes: readonly number[]): void {
    const payload = this.#byId.get(id);
    if (!payload) return;
    const before = payload.doneCount;
    for (const index of indexes) {
      const bit = 1 << (index & 7);
      if (index >= payload.receivers || (payload.done[index >> 3]! & bit) !== 0) continue;
      payload.done[index >> 3]! |= bit;
      payload.doneCount++;
    }
    if (payload.doneCount >= payload.receivers) this.#free(id, payload);
    else if (payload.doneCount > before) {
      this.#ledger.writes.put(keyOf(KIND.payloadDone, id), Buffer.from(payload.done));
    }
  }

  /** The receiver of a queue entry is done with the payload that it may refer to. */
  finishReference(entry: Buffer): void {
    if ((entry[1]! & FLAG_REFERENCE) === 0 || entry === PUBREL_ENTRY) return;
    const { payloadId, index } = decodeReference(decodeEntry(entry).body);
    this.finish(payloadId, [index]);
  }

  /** Null where it is gone or its time is over. */
  read(ids: readonly string[], nowMs: number): (Buffer | null)[] {
    return ids.map((id) => {
      const payload = this.#byId.get(id);
      return payload && payload.expiresAt > nowMs ? payload.body : null;
    });
  }

  sweep(nowMs: number, limit: number): number {
    const due = this.#deadlines.due(nowMs, limit);
    for (const id of due) this.#free(id, this.#byId.get(id)!);
    return due.length;
  }

  load(key: string, value: Buffer): void {
    const { fields, body } = decodeStored<{ receivers: number; expiresAt: number }>(key, value);
    this.#add(key.slice(1), body, fields.receivers, fields.expiresAt);
  }

  /** Bits come after all bodies. */
  loadDone(key: string, value: Buffer): void {
    const payload = this.#byId.get(key.slice(1));
    if (!payload) return;
    value.copy(payload.done);
    for (const byte of payload.done) {
      for (let bits = byte; bits > 0; bits &= bits - 1) payload.doneCount++;
    }
  }

  #add(id: string, body: Buffer, receivers: number, expiresAt: number): Payload {
    const payload = { body, receivers, expiresAt, done: Buffer.alloc((receivers + 7) >> 3), doneCount: 0 };
    this.#byId.set(id, payload);
    this.#deadlines.add(id, expiresAt);
    return payload;
  }

  #free(id: string, payload: Payload): void {
    this.#byId.delete(id);
    this.#deadlines.remove(id, payload.expiresAt);
    this.#ledger.writes.remove(keyOf(KIND.payload, id));
    this.#ledger.writes.remove(keyOf(KIND.payloadDone, id));
  }
}
