// A journal in memory that can forget: it keeps its batches apart for a while, so that the simulation can take the last
// ones back, as an append-only file that was cut or a failover to a lagging replica does. Writes are done at once.

import type { Journal } from './journal.ts';
import type { Batch } from './write-set.ts';

/** Batches that can be taken back. */
const BATCHES_MAX = 1000;

export class MemoryImage implements Journal {
  readonly #records = new Map<string, Buffer>();
  /** The newest batches, not yet in `#records`. */
  readonly #batches: Batch[] = [];

  async open(load: (key: string, value: Buffer) => void): Promise<void> {
    this.load(load);
  }

  /** Hands over what is there now. */
  load(load: (key: string, value: Buffer) => void): void {
    const records = new Map(this.#records);
    for (const batch of this.#batches) settle(records, batch);
    for (const [key, value] of records) load(key, value);
  }

  write(batch: Batch, done: (error: Error | null) => void): void {
    this.#batches.push(batch);
    if (this.#batches.length > BATCHES_MAX) settle(this.#records, this.#batches.shift()!);
    done(null);
  }

  /** Takes the last `count` batches back. */
  dropLast(count: number): void {
    this.#batches.length = Math.max(0, this.#batches.length - count);
  }

  async close(): Promise<void> {}
}

function settle(records: Map<string, Buffer>, batch: Batch): void {
  for (const [key, value] of batch.changes) {
    if (value === null) records.delete(key);
    else records.set(key, value);
  }
}
