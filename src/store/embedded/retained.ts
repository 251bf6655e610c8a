// Retained messages: one per topic, last write wins, found by filter through an index of levels. The fence is one for all
// of them: the highest version of a subscription that has read any. A topic that was cleared is remembered for a while
// with its writer and marks, so that an old write that comes late does not bring the old value back.

import type { RetainedWriter, RetainOperation } from '../operations.ts';
import type { RetainedPage } from '../store.ts';
import { Deadlines } from './deadlines.ts';
import type { Ledger } from './ledger.ts';
import type { Marks } from './marks.ts';
import type { MarkRecord } from './session.ts';
import { decodeStored, encodeStored, KIND, keyOf } from './stored.ts';
import { TopicIndex } from './topic-index.ts';

/** How many expired ones are freed at once when the limit is reached. */
const MAKE_ROOM = 100;
const NO_BODY = Buffer.alloc(0);

interface Retained {
  record: Buffer | null;
  /** Store ms, 0 never. */
  expiresAt: number;
  writer: RetainedWriter | null;
  /** Store ms of the clearing, 0 while it stands. */
  clearedAt: number;
  marks: Map<string, MarkRecord> | null;
}

interface RetainedFields {
  expiresAt: number;
  writer: RetainedWriter | null;
  clearedAt: number;
}

export class RetainedMessages {
  readonly #ledger: Ledger;
  readonly #marks: Marks;
  readonly #byTopic = new Map<string, Retained>();
  readonly #index = new TopicIndex();
  readonly #deadlines = new Deadlines();
  /** Cleared topics that are remembered, in the order of clearing. */
  readonly #cleared = new Set<string>();
  #fence = 0;
  count = 0;
  bytes = 0;

  constructor(ledger: Ledger, marks: Marks) {
    this.#ledger = ledger;
    this.#marks = marks;
  }

  write(operation: RetainOperation, nowMs: number): void {
    operation.fence = this.#fence;
    operation.status = this.#judge(operation, nowMs);
    if (operation.status !== 'ok') return;
    const { topic, record, mark } = operation;
    const entry = this.#entryOf(topic);
    this.#remove(topic, entry);
    entry.writer = operation.writer && { ...operation.writer };
    if (mark) {
      entry.marks ??= new Map();
      this.#marks.use(entry.marks, `r${topic}`, mark, nowMs);
    }
    if (record === null) {
      this.#remember(topic, entry, nowMs);
      return;
    }
    this.#add(topic, entry, Buffer.from(record), operation.expiresAt);
    this.#note(topic, entry);
  }

  read(filter: string, cursor: string, limit: number, version: number, nowMs: number): RetainedPage {
    this.#fence = Math.max(this.#fence, version);
    const isWanted = (topic: string) => !isExpired(this.#byTopic.get(topic)!, nowMs);
    const page = this.#index.match(filter, cursor, limit, isWanted);
    const records = page.topics.map((topic) => ({ topic, record: this.#byTopic.get(topic)!.record! }));
    return { records, cursor: page.cursor };
  }

  /** Frees at most `limit` expired ones and forgets cleared topics whose time is over; answers how many expired. */
  sweep(nowMs: number, limit: number): number {
    const due = this.#deadlines.due(nowMs, limit);
    for (const topic of due) {
      const entry = this.#byTopic.get(topic)!;
      this.#remove(topic, entry);
      this.#remember(topic, entry, nowMs);
    }
    let left = limit;
    for (const topic of this.#cleared) {
      const isOver = this.#byTopic.get(topic)!.clearedAt + this.#ledger.limits.markLifeMs <= nowMs;
      if (left-- <= 0 || !isOver) break;
      this.#forget(topic);
    }
    return due.length;
  }

  /** A topic has lost a mark: it is forgotten when nothing else is remembered of it. */
  tidy(topic: string): void {
    const entry = this.#byTopic.get(topic);
    if (entry && entry.record === null && entry.writer === null && !entry.marks?.size) this.#forget(topic);
  }

  load(key: string, value: Buffer): void {
    const topic = key.slice(1);
    const { fields, body } = decodeStored<RetainedFields>(key, value);
    const entry = this.#entryOf(topic);
    entry.writer = fields.writer;
    entry.clearedAt = fields.clearedAt;
    if (fields.clearedAt === 0) this.#add(topic, entry, body, fields.expiresAt);
  }

  marksOf(topic: string): Map<string, MarkRecord> {
    const entry = this.#entryOf(topic);
    entry.marks ??= new Map();
    return entry.marks;
  }

  sortLoaded(): void {
    const cleared = [...this.#byTopic].filter(([, entry]) => entry.record === null);
    cleared.sort(([, one], [, other]) => one.clearedAt - other.clearedAt);
    for (const [topic] of cleared) this.#cleared.add(topic);
  }

  #judge(operation: RetainOperation, nowMs: number): RetainOperation['status'] {
    const { topic, writer, mark, record } = operation;
    const entry = this.#byTopic.get(topic);
    if (entry && mark && this.#marks.isKnown(entry.marks, mark)) return 'older';
    if (entry && writer && isOlder(writer, entry.writer)) return 'older';
    if (operation.version < this.#fence) return 'stale';
    if (record === null || this.#hasRoom(topic, record, entry)) return 'ok';
    return this.sweep(nowMs, MAKE_ROOM) > 0 && this.#hasRoom(topic, record, this.#byTopic.get(topic))
      ? 'ok'
      : 'full';
  }

  #hasRoom(topic: string, record: Buffer, entry: Retained | undefined): boolean {
    const { maxRetainedMessages, maxRetainedBytes } = this.#ledger.limits;
    const isNew = !entry?.record;
    const before = isNew ? 0 : sizeOf(topic, entry.record!);
    const grows = sizeOf(topic, record) - before;
    if (isNew && this.count >= maxRetainedMessages) return false;
    return grows <= 0 || this.bytes + grows <= maxRetainedBytes;
  }

  #entryOf(topic: string): Retained {
    let entry = this.#byTopic.get(topic);
    if (!entry) {
      entry = { record: null, expiresAt: 0, writer: null, clearedAt: 0, marks: null };
      this.#byTopic.set(topic, entry);
    }
    return entry;
  }

  #add(topic: string, entry: Retained, record: Buffer, expiresAt: number): void {
    entry.record = record;
    entry.expiresAt = expiresAt;
    entry.clearedAt = 0;
    if (expiresAt > 0) this.#deadlines.add(topic, expiresAt);
    this.#index.add(topic);
    this.#cleared.delete(topic);
    this.count++;
    this.bytes += sizeOf(topic, record);
  }

  #remove(topic: string, entry: Retained): void {
    if (entry.record === null) return;
    if (entry.expiresAt > 0) this.#deadlines.remove(topic, entry.expiresAt);
    this.#index.delete(topic);
    this.count--;
    this.bytes -= sizeOf(topic, entry.record);
    entry.record = null;
    entry.expiresAt = 0;
  }

  /** Keeps who cleared the topic, if there is anybody to keep; as many as there may be messages. */
  #remember(topic: string, entry: Retained, nowMs: number): void {
    if (entry.writer === null && !entry.marks?.size) {
      this.#forget(topic);
      return;
    }
    entry.clearedAt = nowMs;
    this.#cleared.delete(topic);
    this.#cleared.add(topic);
    this.#note(topic, entry);
    if (this.#cleared.size <= this.#ledger.limits.maxRetainedMessages) return;
    for (const oldest of this.#cleared) {
      this.#forget(oldest);
      return;
    }
  }

  #forget(topic: string): void {
    this.#marks.drop(this.#byTopic.get(topic)?.marks ?? null);
    this.#byTopic.delete(topic);
    this.#cleared.delete(topic);
    this.#ledger.writes.remove(keyOf(KIND.retained, topic));
  }

  #note(topic: string, entry: Retained): void {
    if (!this.#ledger.writes.isKept) return;
    const { expiresAt, writer, clearedAt } = entry;
    const fields: RetainedFields = { expiresAt, writer, clearedAt };
    this.#ledger.writes.put(keyOf(KIND.retained, topic), encodeStored(fields, entry.record ?? NO_BODY));
  }
}

const sizeOf = (topic: string, record: Buffer): number => Buffer.byteLength(topic) + record.length;

const isExpired = (entry: Retained, nowMs: number): boolean =>
  entry.expiresAt > 0 && entry.expiresAt <= nowMs;

/** Whether `writer` is an older one than what stands there of the same client. */
function isOlder(writer: RetainedWriter, stored: RetainedWriter | null): boolean {
  if (stored?.clientId !== writer.clientId) return false;
  return stored.epoch > writer.epoch || (stored.epoch === writer.epoch && stored.number > writer.number);
}
