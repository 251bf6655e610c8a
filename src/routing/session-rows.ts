// The rows of subscriptions of all persistent sessions in memory, as compact as they come: a session is a slot in a few
// arrays, its row one string of bytes, so that a million of them are no object graph for the garbage collector to
// walk. The slot is what the trie holds. Slots of removed sessions are used again.

import '../util/buffer-methods.ts';
import { decodeRow, type Row } from '../store/records.ts';
import { assert } from '../util/assert.ts';
import { SLOT_LIMIT } from './grant.ts';

const FIRST_CAPACITY = 1024;

export class SessionRows {
  readonly #slots = new Map<string, number>();
  readonly #clientIds: string[] = [];
  readonly #rows: string[] = [];
  readonly #free: number[] = [];
  #lives = new Float64Array(FIRST_CAPACITY);
  #revs = new Float64Array(FIRST_CAPACITY);
  #stamps = new Uint32Array(FIRST_CAPACITY);
  #plain = new Uint8Array(FIRST_CAPACITY);

  get size(): number {
    return this.#slots.size;
  }

  /** The session's slot, -1 when it is not known. */
  find(clientId: string): number {
    return this.#slots.get(clientId) ?? -1;
  }

  clientIdOf(slot: number): string {
    return this.#clientIds[slot]!;
  }

  lifeOf(slot: number): number {
    return this.#lives[slot]!;
  }

  revOf(slot: number): number {
    return this.#revs[slot]!;
  }

  /** What the trie's numbers say of this session's subscriptions is all there is to say. */
  isPlain(slot: number): boolean {
    return this.#plain[slot] === 1;
  }

  rowOf(slot: number): Row {
    return decodeRow(Buffer.from(this.#rows[slot]!, 'latin1'));
  }

  holds(slot: number, bytes: Buffer): boolean {
    return this.#rows[slot] === bytes.latin1Slice();
  }

  add(clientId: string): number {
    const slot = this.#free.pop() ?? this.#clientIds.length;
    assert(slot < SLOT_LIMIT, 'there are fewer sessions than slots');
    if (slot >= this.#lives.length) this.#grow();
    this.#slots.set(clientId, slot);
    this.#clientIds[slot] = clientId;
    return slot;
  }

  put(slot: number, row: Row, bytes: Buffer, isPlain: boolean, stamp: number): void {
    this.#rows[slot] = bytes.latin1Slice();
    this.#lives[slot] = row.life;
    this.#revs[slot] = row.rev;
    this.#plain[slot] = isPlain ? 1 : 0;
    this.#stamps[slot] = stamp;
  }

  stamp(slot: number, stamp: number): void {
    this.#stamps[slot] = stamp;
  }

  remove(slot: number): void {
    this.#slots.delete(this.#clientIds[slot]!);
    this.#clientIds[slot] = '';
    this.#rows[slot] = '';
    this.#free.push(slot);
  }

  /** Slots of the sessions that do not carry this stamp. */
  unstamped(stamp: number): number[] {
    const slots: number[] = [];
    for (const slot of this.#slots.values()) if (this.#stamps[slot] !== stamp) slots.push(slot);
    return slots;
  }

  #grow(): void {
    const capacity = this.#lives.length * 2;
    this.#lives = enlarged(this.#lives, new Float64Array(capacity));
    this.#revs = enlarged(this.#revs, new Float64Array(capacity));
    this.#stamps = enlarged(this.#stamps, new Uint32Array(capacity));
    this.#plain = enlarged(this.#plain, new Uint8Array(capacity));
  }
}

function enlarged<A extends Float64Array | Uint32Array | Uint8Array>(from: A, to: A): A {
  to.set(from);
  return to;
}
