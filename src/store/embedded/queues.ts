// Queues of sessions: what is appended gets the next number, what is acknowledged goes, what is pulled stays. The head is
// the oldest number that is not done, the tail the highest one given out; every number between them is an entry, or a
// hole (dropped, done, or never given). A limit counts all entries and drops none of the window from the head on, since
// the client may have them; the newest message is always taken where the policy is to drop.

import type { AckOperation, EnqueueOperation, PullOperation } from '../operations.ts';
import { PUBREL_ENTRY } from '../records.ts';
import type { Fenced, RetainedCopies } from '../store.ts';
import type { Ledger } from './ledger.ts';
import type { Marks } from './marks.ts';
import type { Payloads } from './payloads.ts';
import type { MarkRecord, Session } from './session.ts';
import type { Sessions } from './sessions.ts';

export interface CopiesAnswer {
  status: Fenced;
  seqs: number[];
  tail: number;
}

export class Queues {
  readonly #ledger: Ledger;
  readonly #sessions: Sessions;
  readonly #marks: Marks;
  readonly #payloads: Payloads;
  readonly #groupMarks = new Map<string, Map<string, MarkRecord>>();

  constructor(ledger: Ledger, sessions: Sessions, marks: Marks, payloads: Payloads) {
    this.#ledger = ledger;
    this.#sessions = sessions;
    this.#marks = marks;
    this.#payloads = payloads;
  }

  /** Marks of messages that a client got as a member of groups; they outlive its sessions. */
  groupMarksOf(clientId: string): Map<string, MarkRecord> {
    const known = this.#groupMarks.get(clientId);
    if (known !== undefined) return known;
    const marks = new Map<string, MarkRecord>();
    this.#groupMarks.set(clientId, marks);
    return marks;
  }

  /** A mark of them has been freed. */
  tidyGroupMarks(clientId: string): void {
    if (this.#groupMarks.get(clientId)?.size === 0) this.#groupMarks.delete(clientId);
  }

  enqueue(operation: EnqueueOperation, nowMs: number): void {
    operation.waiting = 0;
    operation.seq = 0;
    operation.dropped = 0;
    operation.owner = '';
    operation.cut = 0;
    const session = this.#sessions.get(operation.clientId);
    if (!session || session.life !== operation.life || session.isExpired(nowMs)) {
      const { mark, isOfGroup, clientId } = operation;
      const marks = isOfGroup ? (this.#groupMarks.get(clientId) ?? null) : null;
      operation.status = mark !== null && this.#marks.isKnown(marks, mark) ? 'duplicate' : 'gone';
      return;
    }
    operation.owner = session.incarnation;
    operation.cut = session.cut;
    operation.status = this.#enqueueInto(session, operation, nowMs);
  }

  #enqueueInto(session: Session, operation: EnqueueOperation, nowMs: number): EnqueueOperation['status'] {
    if (operation.version < session.cut) return 'stale';
    const { mark, notedTopic, isOfGroup, clientId } = operation;
    const marks = isOfGroup ? (this.#groupMarks.get(clientId) ?? null) : session.marks;
    if (mark && this.#marks.isKnown(marks, mark)) return 'duplicate';
    const bytes = operation.header.length + operation.body.length;
    if (!this.#hasRoom(session, bytes)) {
      if (this.#ledger.limits.queueFullPolicy === 'reject') return 'rejected';
      operation.dropped = this.#makeRoom(session, bytes);
    }
    if (mark && isOfGroup) this.#marks.use(this.groupMarksOf(clientId), `g${clientId}`, mark, nowMs);
    else if (mark) {
      session.marks ??= new Map();
      this.#marks.use(session.marks, `s${clientId}`, mark, nowMs);
    }
    if (isOfGroup && !session.hasOfGroup) {
      session.hasOfGroup = true;
      this.#ledger.writes.session(session);
    }
    if (notedTopic !== null && session.reading !== null) this.#note(session, notedTopic);
    operation.seq = this.#append(session, Buffer.concat([operation.header, operation.body], bytes));
    if (isOfGroup) operation.waiting = session.tail - session.head + 1;
    return 'queued';
  }

  /**
   * One step of the reading of retained messages. A step that ran before is known by the state it left: nothing is added
   * then, and the tail tells that more waits.
   */
  enqueueCopies(request: RetainedCopies): CopiesAnswer {
    const session = this.#sessions.ownedBy(request.clientId, request.owner);
    if (!session) return { status: 'fenced', seqs: [], tail: 0 };
    const { copies, reading } = request;
    const wasDone = reading === null ? session.reading === null : session.reading?.equals(reading) === true;
    const seqs = copies.map(({ topic, entry }) =>
      wasDone || session.noted?.has(topic) ? 0 : this.#append(session, Buffer.from(entry)),
    );
    if (!wasDone) this.#setReading(session, reading);
    return { status: 'ok', seqs, tail: session.tail };
  }

  ack(operation: AckOperation): void {
    const session = this.#sessions.ownedBy(operation.clientId, operation.owner);
    if (!session) {
      operation.status = 'fenced';
      return;
    }
    for (const seq of operation.done) this.#delete(session, seq);
    for (const seq of operation.released) {
      // Also where the entry is missing: that the client has seen it must not be forgotten.
      if (seq >= session.head && seq <= session.tail) this.#put(session, seq, PUBREL_ENTRY);
    }
    if (operation.head <= session.tail + 1) this.#moveHead(session, operation.head);
    operation.status = 'ok';
    operation.tail = session.tail;
    this.#ledger.writes.session(session);
  }

  pull(operation: PullOperation): void {
    operation.entries = [];
    const session = this.#sessions.ownedBy(operation.clientId, operation.owner);
    if (!session) {
      operation.status = 'fenced';
      return;
    }
    let first = Math.max(operation.from, session.head);
    let last = session.tail;
    for (const hole of session.holes) {
      if (hole.from <= first && first <= hole.to) first = hole.to + 1;
      else if (hole.from > first) last = Math.min(last, hole.from - 1);
    }
    last = Math.min(last, first + operation.count - 1);
    let left = operation.maxBytes;
    for (let seq = first; seq <= last && left > 0; seq++) {
      const entry = session.queue?.get(seq) ?? null;
      operation.entries.push(entry);
      left -= entry?.length ?? 0;
    }
    operation.status = 'ok';
    operation.first = first;
    operation.tail = session.tail;
  }

  /** Before a session ends: its references to shared payloads are done with. */
  wipe(session: Session): void {
    for (const entry of session.queue?.values() ?? []) this.#payloads.finishReference(entry);
  }

  beginReading(session: Session, reading: Buffer): void {
    this.#setReading(session, Buffer.from(reading));
  }

  #setReading(session: Session, reading: Buffer | null): void {
    const { writes } = this.#ledger;
    session.reading = reading && Buffer.from(reading);
    writes.reading(session);
    if (reading !== null) return;
    for (const topic of session.noted ?? []) writes.noted(session, topic, false);
    session.noted = null;
  }

  #note(session: Session, topic: string): void {
    session.noted ??= new Set();
    if (session.noted.has(topic)) return;
    session.noted.add(topic);
    this.#ledger.writes.noted(session, topic, true);
  }

  #append(session: Session, entry: Buffer): number {
    this.#sessions.settleHistory(session);
    const seq = ++session.tail;
    this.#put(session, seq, entry);
    return seq;
  }

  #put(session: Session, seq: number, entry: Buffer): void {
    session.queue ??= new Map();
    const before = session.queue.get(seq);
    if (before === undefined) this.#sessions.queuedMessages++;
    session.queue.set(seq, entry);
    const grown = entry.length - (before?.length ?? 0);
    session.queueBytes += grown;
    this.#sessions.queuedBytes += grown;
    this.#ledger.writes.entry(session, seq, entry);
  }

  #delete(session: Session, seq: number): Buffer | undefined {
    const entry = session.queue?.get(seq);
    if (entry === undefined) return undefined;
    session.queue!.delete(seq);
    session.queueBytes -= entry.length;
    this.#sessions.queuedBytes -= entry.length;
    this.#sessions.queuedMessages--;
    if (session.queue!.size === 0) session.queue = null;
    this.#ledger.writes.entry(session, seq, null);
    return entry;
  }

  #moveHead(session: Session, head: number): void {
    if (head <= session.head) return;
    // What lies below is done already; looked at all the same, so that nothing can be left behind.
    for (let seq = session.head; seq < head && session.queue; seq++) this.#delete(session, seq);
    session.head = head;
    if (session.holes.length > 0) session.holes = session.holes.filter((hole) => hole.to >= head);
  }

  #hasRoom(session: Session, bytes: number): boolean {
    const { maxQueuedMessages, maxQueuedBytes } = this.#ledger.limits;
    const count = session.queue?.size ?? 0;
    return count < maxQueuedMessages && session.queueBytes + bytes <= maxQueuedBytes;
  }

  /** Drops the oldest entries beyond the window until `bytes` more fit or none is left; answers how many. */
  #makeRoom(session: Session, bytes: number): number {
    let dropped = 0;
    let seq = Math.max(session.dropFrom, session.windowEnd(this.#ledger.limits.windowMax));
    for (; seq <= session.tail && !this.#hasRoom(session, bytes); seq++) {
      const entry = this.#delete(session, seq);
      if (entry === undefined) continue;
      this.#payloads.finishReference(entry);
      dropped++;
    }
    session.dropFrom = seq;
    return dropped;
  }
}
