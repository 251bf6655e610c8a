// The window of one receiver: what has been sent and is not acknowledged, as states in a ring indexed by sequence
// number. It serves sessions with a queue (whose sequence numbers come from the store) and those without (which count
// by themselves). Invariant: nothing is sent at or beyond `floor + span`, so that packet identifiers, a function of the
// sequence number, never collide [MQTT-2.2.1-4], and every number between `oldest` and `next` has a state.

import { assert } from '../util/assert.ts';

/** States of a sequence number in the window. */
export const FREE = 0;
/** QoS 1 sent, PUBACK awaited. */
export const SENT_1 = 1;
/** QoS 2 sent, PUBREC awaited. */
export const SENT_2 = 2;
/** PUBREC seen, not committed yet; PUBREL leaves when it is. */
export const RECEIVED = 3;
/** PUBREL sent, PUBCOMP awaited. */
export const RELEASED = 4;
/** Acknowledged, expired or a hole: nothing is left to do but to let the window pass over it. */
export const DONE = 5;

export class Window {
  /** Most sequence numbers between floor and the next to be sent. */
  readonly span: number;
  readonly #mask: number;
  #states: Uint8Array | null = null;
  #bytes: Uint32Array | null = null;
  /** Oldest sequence number that is not done. */
  oldest: number;
  /** Next sequence number to be sent or read. */
  next: number;
  /** Sent and not acknowledged. */
  inflight = 0;

  constructor(span: number, first: number) {
    this.span = span;
    let size = 8;
    while (size < span) size *= 2;
    this.#mask = size - 1;
    this.oldest = first;
    this.next = first;
  }

  /** State of a sequence number; FREE for one that is not in the window. */
  state(seq: number): number {
    if (this.#states === null || seq < this.oldest || seq >= this.next) return FREE;
    return this.#states[seq & this.#mask];
  }

  /** Enters the next sequence number with its state and the bytes it takes in the store. */
  enter(seq: number, state: number, bytes: number): void {
    assert(seq === this.next, 'the window is entered in order');
    if (this.#states === null) {
      this.#states = new Uint8Array(this.#mask + 1);
      this.#bytes = new Uint32Array(this.#mask + 1);
    }
    this.#states[seq & this.#mask] = state;
    (this.#bytes as Uint32Array)[seq & this.#mask] = bytes;
    this.next = seq + 1;
    if (state !== DONE) this.inflight++;
  }

  /** Changes the state of a sequence number that is in the window. */
  change(seq: number, state: number): void {
    (this.#states as Uint8Array)[seq & this.#mask] = state;
  }

  bytesOf(seq: number): number {
    return (this.#bytes as Uint32Array)[seq & this.#mask];
  }

  setBytes(seq: number, bytes: number): void {
    (this.#bytes as Uint32Array)[seq & this.#mask] = bytes;
  }

  /** Marks a sent one as done and lets `oldest` pass over all that are. */
  finish(seq: number): void {
    this.change(seq, DONE);
    this.inflight--;
    this.advance();
  }

  advance(): void {
    const states = this.#states;
    if (states === null) return;
    while (this.oldest < this.next && states[this.oldest & this.#mask] === DONE) {
      states[this.oldest & this.#mask] = FREE;
      this.oldest++;
    }
  }

  /** Passes over a hole that ends before `seq`: at once where nothing is in the window, else only up to `end`. */
  skipTo(seq: number, end: number): void {
    if (this.oldest === this.next) {
      this.oldest = seq;
      this.next = seq;
    }
    while (this.next < Math.min(seq, end)) this.enter(this.next, DONE, 0);
  }
}
