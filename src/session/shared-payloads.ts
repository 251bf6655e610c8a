// Bodies that lie once in the store for many sessions, as this node has read them: a bounded cache in front of the
// store, so that a node that owns thousands of receivers of one message reads it once.

import type { Store } from '../store/store.ts';

export class SharedPayloads {
  readonly #store: Store;
  readonly #maxBytes: number;
  readonly #bodies = new Map<string, Buffer>();
  #bytes = 0;

  constructor(store: Store, maxBytes: number) {
    this.#store = store;
    this.#maxBytes = maxBytes;
  }

  /** Remembers a body that this node has just stored or read. */
  keep(payloadId: string, body: Buffer): void {
    if (this.#bodies.has(payloadId) || body.length > this.#maxBytes) return;
    this.#bodies.set(payloadId, body);
    this.#bytes += body.length;
    for (const [oldest, old] of this.#bodies) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#bodies.delete(oldest);
      this.#bytes -= old.length;
    }
  }

  /** A body that is at hand, without asking the store. */
  peek(payloadId: string): Buffer | undefined {
    return this.#bodies.get(payloadId);
  }

  /** Finds the bodies of `payloadIds`; ids that the store does not have any more are missing from the answer. */
  read(payloadIds: readonly string[], then: (bodies: ReadonlyMap<string, Buffer>) => void): void {
    const found = new Map<string, Buffer>();
    const missing: string[] = [];
    for (const id of payloadIds) {
      const body = this.#bodies.get(id);
      if (body !== undefined) found.set(id, body);
      else if (!missing.includes(id)) missing.push(id);
    }
    if (missing.length === 0) {
      then(found);
      return;
    }
    this.#store.readPayloads(missing).then(
      (bodies) => {
        for (let index = 0; index < missing.length; index++) {
          const body = bodies[index];
          if (body === null || body === undefined) continue;
          found.set(missing[index], body);
          this.keep(missing[index], body);
        }
        then(found);
      },
      // Only a closed store rejects: nobody waits for these bodies any more.
      () => {},
    );
  }
}
