// What is in line for one receiver (session, inbox, retained topic, payload): its operations in the order of their
// submission, of which at most one call is under way. A call that must be repeated leaves its operations at the head.

import type { Operation } from '../operations.ts';
import type { Master } from './topology.ts';

export class ReceiverList {
  readonly receiver: string;
  /** Cluster slot of its keys. */
  readonly slot: number;
  operations: Operation[] = [];
  /** Operations from the head on that have been sealed. */
  sealed = 0;
  /** A call is under way, or waits to be repeated. */
  isUnderWay = false;
  /** Has an operation that somebody waits for. */
  isUrgent = false;
  /** Number of the last batch of its line that took it. */
  batch = Number.NEGATIVE_INFINITY;
  /** Stands in its lane's line. */
  isReady = false;
  /** The master whose lane counts its operations. */
  master: Master | undefined;
  /** Keys, written as arguments; made by the call that needs them first and kept, since receivers come back. */
  keys: Buffer | null = null;
  /** Of a session: who owned it when the last message was queued, '' where nobody did or none was. */
  owner = '';

  constructor(receiver: string, slot: number) {
    this.receiver = receiver;
    this.slot = slot;
  }

  /** Seals the first `count` operations. */
  seal(count: number): void {
    for (let index = this.sealed; index < count; index++) (this.operations[index] as Operation).seal();
    if (count > this.sealed) this.sealed = count;
  }

  /** What was sent will be sent again, and may have run. */
  noteRepetition(): void {
    for (let index = 0; index < this.sealed; index++) (this.operations[index] as Operation).isRepeated = true;
  }

  /** Takes the first `count` operations out of line but for those that stay (they are repeated). */
  settle(count: number, staying: readonly Operation[]): void {
    if (staying.length === 0 && count === this.operations.length) {
      this.operations = [];
      this.isUrgent = false;
    } else {
      this.operations.splice(0, count, ...staying);
      this.isUrgent = this.operations.some((operation) => !operation.isPatient);
    }
    this.sealed = staying.length;
  }

  /** Drops what was sent before and nobody waits for any more. Answers how many. */
  dropUnwanted(): number {
    const sealed = this.operations.slice(0, this.sealed);
    const wanted = sealed.filter((operation) => operation.isWanted());
    const dropped = sealed.length - wanted.length;
    if (dropped > 0) this.operations.splice(0, this.sealed, ...wanted);
    this.sealed = wanted.length;
    return dropped;
  }
}
