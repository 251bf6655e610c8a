// Gives a new subscription the retained messages it asks for. They are read by pages, behind the barrier of their
// subscription, as room permits; for a session with a queue they take its sequence numbers and the cursor lies in the
// session, so that another node goes on where this one died. The trap: a page holds M1, the newer M2 arrives live, and
// M1 would follow it. So from the record of the subscription on, topics of live messages with the retain flag are noted
// (by the enqueue script for the queue, here for what has none), and a copy of a noted topic is dropped; a live copy
// that came through another node's inbox is seen in time because a page is used only after the inbox was read to an end
// taken after the page. The enqueue script does not hear of what is given at QoS 0, so that copies for the queue are held
// against the notes here as well, and once more when they leave (waiting-copies.ts).

import { BodyView } from '../mqtt/message.ts';
import { isSharedFilter } from '../mqtt/topic.ts';
import type { Owner } from '../store/operations.ts';
import {
  decodeRetained,
  encodeEntryHeader,
  type RetainedRecord,
  type Subscription,
} from '../store/records.ts';
import type { RetainedPage } from '../store/store.ts';
import type { Timer } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import type { SessionContext } from './context.ts';
import type { Link } from './link.ts';
import { digestOf, WaitingCopies, type WaitingCopy } from './waiting-copies.ts';

/** How long after a reading late live messages are still noted: a write refused by the fence may come as a copy. */
const NOTES_KEPT_MS = 10_000;
/** Noted topics in this node's memory, per session; beyond it the oldest note goes. */
const NOTES_MAX = 100_000;
const STATE_VERSION = 1;

const view = new BodyView();

/** What a reading needs of its session. */
export interface ReadingSession {
  readonly clientId: string;
  readonly owner: Owner;
  readonly persistent: boolean;
  readonly link: Link | null;
  readonly pump: { readonly sent: number; learn(tail: number): void; whenRoom(run: () => void): void } | null;
  readonly live: { whenRoom(run: () => void): void } | null;
  deliverLive(
    body: Buffer,
    qos: 0 | 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    expiresAt: number,
    ownExpiry: boolean,
    copy: WaitingCopy | null,
  ): boolean;
  lose(): void;
}

interface Reading {
  filter: string;
  qos: 0 | 1 | 2;
  noLocal: boolean;
  subscriptionId: number;
  cursor: string;
  /** Log version of the subscription, 0 until it is known. */
  version: number;
}

/** The readings that a SUBSCRIBE asks for by Retain Handling [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; shared ones get none. */
export function readingsFor(
  subscriptions: readonly Subscription[],
  isNew: (filter: string) => boolean,
): Reading[] {
  return subscriptions
    .filter((one) => !isSharedFilter(one.filter))
    .filter((one) => one.retainHandling === 0 || (one.retainHandling === 1 && isNew(one.filter)))
    .map((one) => ({
      filter: one.filter,
      qos: one.qos,
      noLocal: one.noLocal,
      subscriptionId: one.subscriptionId,
      cursor: '',
      version: 0,
    }));
}

/** A message of a topic has come beside the readings. */
interface Note {
  /** How many readings had been taken up when the last one came. */
  readonly taken: number;
  /** One of them was live; else all were copies that a fence had sent back, which come in the order of their writes. */
  readonly isLive: boolean;
  /** The last one, where it was such a copy. */
  readonly copy: Buffer | null;
  /** The last one that was given at QoS 0, past the queue. */
  readonly direct: { readonly taken: number; readonly digest: string } | null;
}

/** A message that was given at QoS 0; its digest is made when asked for. */
export interface Digested {
  digest(): string;
}

/** A copy on its way into the queue. */
interface QueuedCopy {
  readonly topic: string;
  readonly entry: Buffer;
  readonly waiting: WaitingCopy;
}

export class RetainedReading {
  readonly #session: ReadingSession;
  readonly #context: SessionContext;
  #readings: Reading[] = [];
  #noted: Map<string, Note> | null = null;
  /** How many readings have been taken up. */
  #taken = 0;
  /** The number with which each reading began: what was noted before it does not count for it. */
  readonly #since = new WeakMap<Reading, number>();
  readonly #waiting = new WaitingCopies();
  #forgetNotes: Timer | null = null;
  /** A reading was ended before its time, which the store is to hear. */
  #isDropped = false;
  #running = false;
  #stopped = false;

  constructor(session: ReadingSession, context: SessionContext, stored: Buffer | null) {
    this.#session = session;
    this.#context = context;
    if (stored !== null) {
      this.#readings = decodeState(stored);
      for (const reading of this.#readings) reading.version ||= Math.max(1, context.router.version);
      this.#noted = new Map();
    }
  }

  /** Takes up readings whose subscription is about to be recorded: noting begins. */
  note(readings: Reading[]): void {
    if (readings.length === 0) return;
    this.#taken++;
    this.#readings.push(...readings);
    for (const reading of readings) this.#since.set(reading, this.#taken);
    this.#noted ??= new Map();
    this.#forgetNotes?.cancel();
    this.#forgetNotes = null;
  }

  /**
   * Takes up readings of subscriptions that stand already, known everywhere as of `version`: no record is written for
   * them that would tell the store of it, so that the first step is to do so.
   */
  async begin(readings: Reading[], version: number): Promise<void> {
    if (readings.length === 0) return;
    this.plan(readings, version);
    if (this.#session.persistent) await this.#enqueue([]);
  }

  /** The subscriptions are known everywhere as of `version`: the readings may begin when run() says so. */
  plan(readings: Reading[], version: number): void {
    if (readings.length > 0 && !this.#readings.includes(readings[0])) this.note(readings);
    for (const reading of readings) reading.version = Math.max(1, version);
  }

  /** Ends the readings of filters that were unsubscribed. */
  drop(filters: readonly string[]): void {
    const left = this.#readings.filter((reading) => !filters.includes(reading.filter));
    if (left.length === this.#readings.length) return;
    this.#readings = left;
    this.#isDropped = true;
    this.run();
  }

  /** State for the store, null when nothing is being read. */
  encode(): Buffer | null {
    if (this.#readings.length === 0) return null;
    return Buffer.from(JSON.stringify({ v: STATE_VERSION, readings: this.#readings }));
  }

  /** A live message with the retain flag goes to the session, by what keeps it until it is acknowledged. */
  noteTopic(topic: string): void {
    this.#note(topic, true, null, null);
  }

  /** A live message with the retain flag was sent at QoS 0, or dropped (null): then what is retained is owed again. */
  noteDirect(topic: string, message: Digested | null): void {
    if (this.#noted === null && this.#waiting.isEmpty) return;
    if (message === null) {
      this.#noted?.delete(topic);
      return;
    }
    this.#waiting.overtake(topic, message.digest());
    this.#note(topic, true, null, message.digest());
  }

  /**
   * A copy that a fence sent back is about to be given: what is read is older, what else the fence sends back is newer.
   * `body` is kept while notes are.
   */
  noteCopy(topic: string, body: Buffer): void {
    this.#note(topic, false, body, null);
  }

  #note(topic: string, isLive: boolean, copy: Buffer | null, digest: string | null): void {
    const noted = this.#noted;
    if (noted === null) return;
    const before = noted.get(topic);
    noted.delete(topic);
    noted.set(topic, {
      taken: this.#taken,
      isLive: isLive || before?.isLive === true,
      copy,
      direct: digest === null ? (before?.direct ?? null) : { taken: this.#taken, digest },
    });
    if (noted.size > NOTES_MAX) {
      const { value } = noted.keys().next();
      noted.delete(value as string);
    }
  }

  /** True while a reading is under way and for a while after. */
  get isNoting(): boolean {
    return this.#noted !== null;
  }

  /**
   * Whether a retained copy that a fence sent back may be for it: it has been reading just now, and has been given
   * neither a newer message of this topic nor this copy: a fence may refuse one write twice.
   */
  wantsCopy(topic: string, body: Buffer): boolean {
    if (this.#noted === null) return false;
    const note = this.#noted.get(topic);
    return note === undefined || !(note.isLive || note.copy?.equals(body));
  }

  /** Whether a message of the topic came since the reading began. */
  #isNewer(reading: Reading, topic: string): boolean {
    const note = this.#noted?.get(topic);
    return note !== undefined && note.taken >= (this.#since.get(reading) ?? 0);
  }

  /** Whether another message of the topic was given at QoS 0 since the reading began. */
  #isOvertaken(reading: Reading, topic: string, body: Buffer): boolean {
    const direct = this.#noted?.get(topic)?.direct ?? null;
    if (direct === null || direct.taken < (this.#since.get(reading) ?? 0)) return false;
    return direct.digest !== digestOf(body);
  }

  /** The queue's entry `seq`, a retained copy, is about to leave; answers whether it is too old for that. */
  leaveQueue(seq: number): boolean {
    return this.#waiting.leaveQueue(seq);
  }

  stop(): void {
    this.#stopped = true;
    this.#readings = [];
    this.#noted = null;
    this.#forgetNotes?.cancel();
  }

  /** Goes on reading where there is something to read; harmless at any time. */
  run(): void {
    if (this.#running || this.#stopped || (this.#readings.length === 0 && !this.#isDropped)) return;
    this.#running = true;
    this.#read().then(
      () => {
        this.#running = false;
      },
      (error: unknown) => {
        this.#running = false;
        // A closed store ends the reading; anything else is a fault to be told.
        const isClosed = error instanceof SwarmqError && error.code === 'SWARMQ_ERR_STORE_CLOSED';
        if (!this.#stopped && !isClosed) this.#context.onFault(error);
      },
    );
  }

  async #read(): Promise<void> {
    while (!this.#stopped && this.#readings.length > 0) {
      if (this.#readings[0].version === 0) return;
      if (!(await this.#room())) return;
      const reading = this.#readings[0] as Reading | undefined;
      if (reading === undefined || reading.version === 0) continue;
      const page = await this.#page(reading);
      if (page.records.length > 0) {
        const { store } = this.#context;
        await store.waitInbox(await store.inboxEnd());
      }
      if (!this.#stopped && this.#readings.includes(reading)) await this.#deliver(reading, page);
    }
    if (this.#isDropped && !this.#stopped) {
      this.#isDropped = false;
      if (this.#session.persistent) await this.#enqueue([]);
    }
    this.#ended();
  }

  /** Waits until little waits for the client; false when the socket's drain will start the reading again. */
  async #room(): Promise<boolean> {
    const session = this.#session;
    const way = session.persistent ? session.pump : session.live;
    if (way !== null) await new Promise<void>((resolve) => way.whenRoom(resolve));
    return session.link?.hasRoom() === true;
  }

  #page(reading: Reading): Promise<RetainedPage> | RetainedPage {
    const { store, limits, systemTopics } = this.#context;
    if (reading.filter.startsWith('$SYS/')) return { records: systemTopics(reading.filter), cursor: null };
    return store.readRetained(reading.filter, reading.cursor, limits.maxRetainedPage, reading.version);
  }

  /** Nothing comes between the new cursor and the call that stores it: else that would look like a repetition. */
  async #deliver(reading: Reading, page: RetainedPage): Promise<void> {
    const session = this.#session;
    reading.cursor = page.cursor ?? '';
    if (page.cursor === null) this.#readings = this.#readings.filter((one) => one !== reading);
    const ids = reading.subscriptionId === 0 ? null : [reading.subscriptionId];
    const copies: QueuedCopy[] = [];
    const live: { topic: string; record: RetainedRecord; qos: 0 | 1 | 2 }[] = [];
    for (const { topic, record: bytes } of page.records) {
      const record = this.#decode(bytes);
      if (record === null) continue;
      if (reading.noLocal && record.publisher === session.clientId) continue;
      const qos = Math.min(reading.qos, record.qos) as 0 | 1 | 2;
      if (qos === 0 || !session.persistent) {
        live.push({ topic, record, qos });
        continue;
      }
      if (this.#isOvertaken(reading, topic, record.body)) continue;
      const header = encodeEntryHeader({
        qos,
        retain: true,
        expiresAt: record.expiresAt,
        ownExpiry: record.ownExpiry,
        reference: false,
        copy: true,
        subscriptionIds: ids,
      });
      const entry = Buffer.concat([header, record.body]);
      copies.push({ topic, entry, waiting: this.#waiting.add(topic, record.body) });
    }
    for (const { topic, record, qos } of live) {
      if (this.#isNewer(reading, topic)) continue;
      this.#context.stats.messagesMatched++;
      const copy = qos === 0 ? null : this.#waiting.add(topic, record.body);
      session.deliverLive(record.body, qos, true, ids, record.expiresAt, record.ownExpiry, copy);
    }
    if (session.persistent) await this.#enqueue(copies);
  }

  /** null for a record that cannot be read: it is told and left where it is, the others are delivered. */
  #decode(bytes: Buffer): RetainedRecord | null {
    try {
      const record = decodeRetained(bytes);
      view.read(record.body);
      return record;
    } catch (error) {
      this.#context.onFault(error);
      return null;
    }
  }

  async #enqueue(copies: readonly QueuedCopy[]): Promise<void> {
    const session = this.#session;
    const answer = await this.#context.store.enqueueCopies({
      clientId: session.clientId,
      owner: session.owner,
      copies,
      reading: this.encode(),
    });
    if (answer.status === 'fenced') {
      session.lose();
      return;
    }
    const { stats } = this.#context;
    for (const [index, { waiting }] of copies.entries()) {
      const seq = answer.seqs[index]!;
      this.#waiting.place(waiting, seq);
      if (seq === 0) continue;
      stats.messagesMatched++;
      stats.messagesQueued++;
    }
    if (session.pump !== null) {
      this.#waiting.forgetUpTo(session.pump.sent);
      session.pump.learn(answer.tail);
    }
  }

  #ended(): void {
    if (this.#stopped || this.#noted === null || this.#forgetNotes !== null) return;
    this.#forgetNotes = this.#context.clock.after(NOTES_KEPT_MS, () => {
      this.#forgetNotes = null;
      if (this.#readings.length === 0) this.#noted = null;
      this.#waiting.forgetUpTo(this.#session.pump?.sent ?? 0);
    });
  }
}

function decodeState(bytes: Buffer): Reading[] {
  let state: { v: number; readings: Reading[] };
  try {
    state = JSON.parse(bytes.toString()) as typeof state;
  } catch (cause) {
    throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'state of a reading', { cause });
  }
  if (state.v !== STATE_VERSION) {
    throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', `state of a reading has version ${state.v}`);
  }
  return state.readings;
}
