// The table of sessions: by client id, by the incarnation that holds them, by their next deadline. It makes, finds and
// removes them and keeps these three in step; what may be done with a session is decided elsewhere.

import { assert } from '../../util/assert.ts';
import { SwarmqError } from '../../util/errors.ts';
import { decodeWill } from '../records.ts';
import { Deadlines } from './deadlines.ts';
import type { Ledger } from './ledger.ts';
import type { Marks } from './marks.ts';
import { type MarkRecord, Session, type SessionFields, type StoredReception } from './session.ts';
import { SortedKeys } from './sorted-keys.ts';
import { decodeStored, entryKey, KIND, splitEntry, splitNumbered, splitPair } from './stored.ts';

/**
 * How far numbers move up for each time that the store lost its tail: more than any window, and no part of 65,535
 * (history-jump.lua).
 */
const HOLE_LENGTH = 25_033;
const PAGE = 1000;

export interface ClientPage {
  clientIds: string[];
  cursor: string | null;
}

interface LoadedEntry {
  readonly life: number;
  readonly seq: number;
  readonly bytes: Buffer;
}

export class Sessions {
  readonly #ledger: Ledger;
  readonly #marks: Marks;
  readonly #byClient = new Map<string, Session>();
  readonly #clientIds = new SortedKeys();
  readonly #held = new Map<string, SortedKeys>();
  readonly #deadlines = new Deadlines();
  /** Messages in all queues. */
  queuedMessages = 0;
  /** Their bytes. */
  queuedBytes = 0;

  constructor(ledger: Ledger, marks: Marks) {
    this.#ledger = ledger;
    this.#marks = marks;
  }

  get size(): number {
    return this.#byClient.size;
  }

  get(clientId: string): Session | undefined {
    return this.#byClient.get(clientId);
  }

  /** The session of this client if `owner` holds it. */
  ownedBy(clientId: string, owner: { incarnation: string; epoch: number }): Session | undefined {
    const session = this.#byClient.get(clientId);
    if (!session?.isOwner(owner)) return undefined;
    this.settleHistory(session);
    return session;
  }

  /** A new session of a client that has none. */
  make(clientId: string, life: number, history = this.#ledger.history): Session {
    const session = new Session(clientId);
    session.life = life;
    session.history = history;
    this.#byClient.set(clientId, session);
    this.#clientIds.add(clientId);
    this.#ledger.writes.session(session);
    return session;
  }

  /** Ends it; marks and queue go with it. */
  remove(session: Session): void {
    this.setHolder(session, '');
    session.expiresAt = 0;
    session.willDue = 0;
    this.setDeadline(session);
    this.#ledger.writes.endSession(session);
    this.#marks.drop(session.marks);
    this.queuedMessages -= session.queue?.size ?? 0;
    this.queuedBytes -= session.queueBytes;
    this.#byClient.delete(session.clientId);
    this.#clientIds.delete(session.clientId);
  }

  setHolder(session: Session, incarnation: string): void {
    if (session.incarnation !== '') {
      const held = this.#held.get(session.incarnation);
      held?.delete(session.clientId);
      if (held?.size === 0) this.#held.delete(session.incarnation);
    }
    session.incarnation = incarnation;
    this.#indexHolder(session);
    this.#ledger.writes.session(session);
  }

  #indexHolder(session: Session): void {
    if (session.incarnation === '') return;
    const held = this.#held.get(session.incarnation) ?? new SortedKeys();
    held.add(session.clientId);
    this.#held.set(session.incarnation, held);
  }

  /** Brings the index in step with expiresAt and willDue. */
  setDeadline(session: Session): void {
    const { expiresAt, willDue } = session;
    const deadline = expiresAt > 0 && willDue > 0 ? Math.min(expiresAt, willDue) : expiresAt || willDue;
    if (deadline === session.deadline) return;
    if (session.deadline > 0) this.#deadlines.remove(session.clientId, session.deadline);
    if (deadline > 0) this.#deadlines.add(session.clientId, deadline);
    session.deadline = deadline;
  }

  due(nowMs: number, limit: number): string[] {
    return this.#deadlines.due(nowMs, limit);
  }

  /** A page of client ids in order; `incarnation` null for all. */
  page(incarnation: string | null, cursor: string): ClientPage {
    const keys = incarnation === null ? this.#clientIds : this.#held.get(incarnation);
    const clientIds = keys?.page(cursor, PAGE) ?? [];
    return { clientIds, cursor: clientIds.length < PAGE ? null : clientIds[PAGE - 1]! };
  }

  /** After a loss of the tail the numbers move up once, so that none given out in the lost part is given again. */
  settleHistory(session: Session): void {
    if (session.history === this.#ledger.history) return;
    // What the last loss took may have been given out behind a jump from the same tail: each goes further.
    const from = session.tail + 1;
    session.tail += HOLE_LENGTH * (this.#ledger.history - session.history);
    session.history = this.#ledger.history;
    if (session.head === from) session.head = session.tail + 1;
    else session.holes.push({ from, to: session.tail });
    this.#ledger.writes.session(session);
  }

  // ---- loading: records of a session come in any order

  /** Throws SWARMQ_ERR_RECORD_VERSION or _CORRUPT. */
  loadPart(key: string, value: Buffer): void {
    switch (key[0]) {
      case KIND.session: {
        const session = this.#loading(key.slice(1));
        Object.assign(session, decodeStored<SessionFields>(key, value).fields);
        return;
      }
      case KIND.row:
        this.#loading(key.slice(1)).row = value;
        return;
      case KIND.reading:
        this.#loading(key.slice(1)).reading = value;
        return;
      case KIND.will:
        this.#loading(key.slice(1)).will = decodeWill(value);
        return;
      case KIND.inbound: {
        const { number, name } = splitNumbered(key);
        const { fields } = decodeStored<StoredReception>(key, value);
        const session = this.#loading(name);
        session.inbound ??= new Map();
        session.inbound.set(Number(number), fields);
        return;
      }
      case KIND.noted: {
        const { first, second } = splitPair(key);
        const session = this.#loading(first);
        session.noted ??= new Set();
        session.noted.add(second);
        return;
      }
      case KIND.entry:
        this.#loadEntry(key, value);
        return;
      default:
        throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `a record of unknown kind ${key[0]}`);
    }
  }

  marksOf(clientId: string): Map<string, MarkRecord> {
    const session = this.#loading(clientId);
    session.marks ??= new Map();
    return session.marks;
  }

  readonly #loadedEntries = new Map<string, LoadedEntry[]>();

  #loadEntry(key: string, bytes: Buffer): void {
    const { life, seq, clientId } = splitEntry(key);
    const entries = this.#loadedEntries.get(clientId) ?? [];
    entries.push({ life, seq, bytes });
    this.#loadedEntries.set(clientId, entries);
  }

  /**
   * Sets up what follows from the records. Entries of lives that ended are left to be removed, unless `adopt` takes them.
   */
  finishLoading(adopt: (clientId: string, life: number, seq: number, entry: Buffer) => boolean): void {
    for (const [clientId, entries] of this.#loadedEntries) {
      const session = this.#byClient.get(clientId);
      const stale: string[] = [];
      entries.sort((one, other) => one.seq - other.seq);
      for (const { life, seq, bytes } of entries) {
        if (session?.life !== life) {
          if (adopt(clientId, life, seq, bytes)) this.#countQueued(bytes);
          else stale.push(entryKey(life, seq, clientId));
          continue;
        }
        session.queue ??= new Map();
        session.queue.set(seq, bytes);
        session.queueBytes += bytes.length;
        // An enqueue writes the entry alone: the highest one tells the tail.
        session.tail = Math.max(session.tail, seq);
        this.#countQueued(bytes);
      }
      if (stale.length > 0) this.#ledger.writes.leave(stale[Symbol.iterator]());
    }
    this.#loadedEntries.clear();
    for (const session of this.#byClient.values()) {
      // Parts without a session cannot be: a batch is written whole or not at all.
      assert(session.life > 0, 'a stored part of a session has no session');
      this.#clientIds.add(session.clientId);
      this.#indexHolder(session);
      this.setDeadline(session);
    }
  }

  #countQueued(entry: Buffer): void {
    this.queuedMessages++;
    this.queuedBytes += entry.length;
  }

  #loading(clientId: string): Session {
    const session = this.#byClient.get(clientId) ?? new Session(clientId);
    this.#byClient.set(clientId, session);
    return session;
  }
}
