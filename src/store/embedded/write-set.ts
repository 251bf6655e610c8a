// What a batch has changed, as it is to lie in the journal: key to value, null for what was removed. Sessions that were
// touched are encoded once, when the batch is taken. Without a journal it notes nothing. The entries of a queue that went
// with its session are removed by pieces in the batches that follow, so that wiping a long queue stops nobody; their keys
// name the session's life, so that a new life of the same client does not meet them.

import { encodeWill } from '../records.ts';
import type { Session, StoredReception } from './session.ts';
import { encodeStored, entryKey, KIND, keyOf, numberedKey, pairKey, STAMPS_KEY } from './stored.ts';

const EMPTY = Buffer.alloc(0);
const LEFTOVERS_PER_BATCH = 2000;

export interface Batch {
  readonly changes: ReadonlyMap<string, Buffer | null>;
  /** False when losing it with the power is no harm (a renewed lease). */
  readonly isDurable: boolean;
}

export class WriteSet {
  readonly isKept: boolean;
  #changes = new Map<string, Buffer | null>();
  #isDurable = false;
  readonly #touched = new Set<Session>();
  readonly #leftovers: Iterator<string>[] = [];

  constructor(isKept: boolean) {
    this.isKept = isKept;
  }

  /** Keys of wiped queues are left to remove. */
  get hasLeftovers(): boolean {
    return this.#leftovers.length > 0;
  }

  put(key: string, value: Buffer, isDurable = true): void {
    if (!this.isKept) return;
    this.#changes.set(key, value);
    if (isDurable) this.#isDurable = true;
  }

  remove(key: string): void {
    if (!this.isKept) return;
    this.#changes.set(key, null);
    this.#isDurable = true;
  }

  /** The session's own fields have changed (not its row, reading, will, queue or QoS 2 records). */
  session(session: Session): void {
    if (this.isKept) this.#touched.add(session);
  }

  row(session: Session): void {
    this.#bytes(keyOf(KIND.row, session.clientId), session.row);
  }

  reading(session: Session): void {
    this.#bytes(keyOf(KIND.reading, session.clientId), session.reading);
  }

  will(session: Session): void {
    const { will } = session;
    this.#bytes(keyOf(KIND.will, session.clientId), this.isKept && will ? encodeWill(will) : null);
  }

  entry(session: Session, seq: number, entry: Buffer | null): void {
    if (this.isKept) this.#bytes(entryKey(session.life, seq, session.clientId), entry);
  }

  inbound(session: Session, packetId: number, fields: StoredReception | null): void {
    if (!this.isKept) return;
    this.#bytes(numberedKey(KIND.inbound, packetId, session.clientId), fields && encodeStored(fields));
  }

  noted(session: Session, topic: string, isNoted: boolean): void {
    if (this.isKept) this.#bytes(pairKey(KIND.noted, session.clientId, topic), isNoted ? EMPTY : null);
  }

  stamps(last: number, logLast: number): void {
    if (this.isKept) this.put(STAMPS_KEY, encodeStored({ last, logLast }));
  }

  /** Everything of a session that ended; the entries of its queue follow by pieces. */
  endSession(session: Session): void {
    if (!this.isKept) return;
    const { clientId, life } = session;
    this.#touched.delete(session);
    this.remove(keyOf(KIND.session, clientId));
    for (const kind of [KIND.row, KIND.reading, KIND.will]) this.remove(keyOf(kind, clientId));
    for (const packetId of session.inbound?.keys() ?? []) {
      this.remove(numberedKey(KIND.inbound, packetId, clientId));
    }
    for (const topic of session.noted ?? []) this.noted(session, topic, false);
    this.leave(mapped([...(session.queue?.keys() ?? [])], (seq) => entryKey(life, seq, clientId)));
  }

  /** Keys to remove by and by. */
  leave(keys: Iterator<string>): void {
    if (this.isKept) this.#leftovers.push(keys);
  }

  /** Takes what the batch has changed; the next one begins empty. */
  take(): Batch {
    for (const session of this.#touched) {
      this.#changes.set(keyOf(KIND.session, session.clientId), encodeStored(session.fields()));
      this.#isDurable = true;
    }
    this.#touched.clear();
    this.#takeLeftovers();
    const batch = { changes: this.#changes, isDurable: this.#isDurable };
    this.#changes = new Map();
    this.#isDurable = false;
    return batch;
  }

  #takeLeftovers(): void {
    for (let left = LEFTOVERS_PER_BATCH; left > 0 && this.#leftovers.length > 0; left--) {
      const next = this.#leftovers[0]!.next();
      if (next.done) this.#leftovers.shift();
      else this.#changes.set(next.value, null);
    }
  }

  #bytes(key: string, bytes: Buffer | null): void {
    if (bytes === null) this.remove(key);
    else this.put(key, bytes);
  }
}

function* mapped<T>(items: Iterable<T>, key: (item: T) => string): Generator<string> {
  for (const item of items) yield key(item);
}
