// One entry of a node's inbox: many items for one node and, among them, each message body once. An item is written into
// the entry's bytes when it is added and read out of them in one pass; a body that was written before is named by its
// place. Nothing here judges an item: whether a push or a takeover still counts is for its receiver to say.
// Entry: version byte, then items: kind byte and fields. Text: u16 length and UTF-8. Numbers that count time or order are
// doubles. Body: u32 length and bytes, or u32 place of an earlier body with the highest bit set.

import { Buffer } from 'node:buffer';
import '../util/buffer-methods.ts';
import { decodeRun, INBOX_VERSION, KIND_RUN, type Run } from '../store/inbox-run.ts';
import type { Mark } from '../store/operations.ts';
import { SwarmqError } from '../util/errors.ts';

/** A message for the receivers of another node that have no queue for it. */
export interface LiveMessage {
  /** Client id of the publisher, for No Local. */
  readonly publisher: string;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  /** Store ms after which it is not sent any more, 0 never. */
  readonly expiresAt: number;
  /** It has a Message Expiry Interval of its own. */
  readonly ownExpiry: boolean;
  /** By which the node knows a repetition. */
  readonly mark: Mark | null;
  /** A retained copy, for those who subscribed since it was published. */
  readonly copy: boolean;
  /** Body of mqtt/message.ts. Of a decoded entry: a slice of it. */
  readonly body: Buffer;
}

/** Who takes the items of an entry, in their order. Bodies and headers are slices of the entry. */
export interface InboxVisitor {
  onLive(message: LiveMessage): void;
  /** A message for one live receiver alone: the client as a member of the group of `filter`. */
  onMember(clientId: string, filter: string, message: LiveMessage): void;
  /** A message that lies in a session's queue under `seq`; `header` and `body` as in records.decodeEntry. */
  onPush(clientId: string, life: number, seq: number, header: Buffer, body: Buffer): void;
  /** Messages that lie in a session's queue one behind the other, put here by the store as it queued them. */
  onRun(run: Run): void;
  /** The node `by` has claimed the session with `epoch`: what holds it with a lower one lets go. */
  onTakeover(clientId: string, epoch: number, by: string): void;
  /** The node `from` has applied the route log to `version`. */
  onApplied(from: string, version: number): void;
  /** The node `from` waits until this one has applied `version`. */
  onAsk(from: string, version: number): void;
  /** Another node gives the keys to this member of the group of `filter`, see routing/group-keys.ts. */
  onKeys(filter: string, clientId: string, rank: number, keys: string[]): void;
  /** The node `from` has heard of no keys yet. */
  onAskKeys(from: string): void;
}

const VERSION = INBOX_VERSION;
const KIND_LIVE = 1;
const KIND_PUSH = 2;
const KIND_TAKEOVER = 3;
const KIND_APPLIED = 4;
const KIND_ASK = 5;
const KIND_MEMBER = 6;
const KIND_KEYS = 7;
const KIND_ASK_KEYS = 8;

const FLAG_RETAIN = 0x04;
const FLAG_OWN_EXPIRY = 0x08;
const FLAG_MARK = 0x10;
const FLAG_COPY = 0x20;
const EARLIER_BODY = 0x80000000;
/** Shorter bodies are written again rather than looked for. */
const REPEATED_BODY_MIN = 24;
const FIRST_BYTES = 1024;

/** Collects items into the bytes of one entry. */
export class InboxWriter {
  #bytes: Buffer;
  /** Of the same bytes: quicker for numbers than the methods of Buffer. */
  #view: DataView;
  #at = 1;
  #items = 0;
  #lastBody: Buffer | null = null;
  #lastPlace = 0;
  #places: Map<Buffer, number> | null = null;

  /** `bytesHint`: how large the entry is likely to become. */
  constructor(bytesHint = FIRST_BYTES) {
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(bytesHint, FIRST_BYTES));
    this.#view = viewOf(this.#bytes);
    this.#bytes[0] = VERSION;
  }

  /** Bytes of the entry as it stands. */
  get byteLength(): number {
    return this.#at;
  }

  get items(): number {
    return this.#items;
  }

  live(message: LiveMessage): void {
    this.#live(KIND_LIVE, '', '', message);
  }

  member(clientId: string, filter: string, message: LiveMessage): void {
    this.#live(KIND_MEMBER, clientId, filter, message);
  }

  #live(kind: number, clientId: string, filter: string, message: LiveMessage): void {
    const { publisher, mark, body } = message;
    const texts = publisher.length + clientId.length + filter.length + (mark === null ? 0 : mark.key.length);
    this.#room(30 + 3 * texts, body.length);
    this.#bytes[this.#at++] = kind;
    if (kind === KIND_MEMBER) {
      this.#text(clientId);
      this.#text(filter);
    }
    this.#bytes[this.#at++] =
      message.qos |
      (message.retain ? FLAG_RETAIN : 0) |
      (message.ownExpiry ? FLAG_OWN_EXPIRY : 0) |
      (mark === null ? 0 : FLAG_MARK) |
      (message.copy ? FLAG_COPY : 0);
    this.#number(message.expiresAt);
    this.#text(publisher);
    if (mark !== null) {
      this.#text(mark.key);
      this.#number(mark.mid);
    }
    this.#body(body);
  }

  push(clientId: string, life: number, seq: number, header: Buffer, body: Buffer): void {
    this.#room(25 + 3 * clientId.length + header.length, body.length);
    this.#bytes[this.#at++] = KIND_PUSH;
    this.#text(clientId);
    this.#number(life);
    this.#number(seq);
    this.#uint16(header.length);
    this.#copy(header);
    this.#body(body);
  }

  takeover(clientId: string, epoch: number, by: string): void {
    this.#room(13 + 3 * (clientId.length + by.length), 0);
    this.#bytes[this.#at++] = KIND_TAKEOVER;
    this.#text(clientId);
    this.#number(epoch);
    this.#text(by);
    this.#items++;
  }

  applied(from: string, version: number): void {
    this.#version(KIND_APPLIED, from, version);
  }

  ask(from: string, version: number): void {
    this.#version(KIND_ASK, from, version);
  }

  /** At most 65,535 keys. */
  keys(filter: string, clientId: string, rank: number, keys: readonly string[]): void {
    const characters = keys.reduce((sum, key) => sum + key.length, filter.length + clientId.length);
    this.#room(15 + 2 * keys.length + 3 * characters, 0);
    this.#bytes[this.#at++] = KIND_KEYS;
    this.#text(filter);
    this.#text(clientId);
    this.#number(rank);
    this.#uint16(keys.length);
    for (const key of keys) this.#text(key);
    this.#items++;
  }

  askKeys(from: string): void {
    this.#room(3 + 3 * from.length, 0);
    this.#bytes[this.#at++] = KIND_ASK_KEYS;
    this.#text(from);
    this.#items++;
  }

  /** The entry; nothing is added afterwards. */
  finish(): Buffer {
    this.#places = null;
    this.#lastBody = null;
    return this.#bytes.subarray(0, this.#at);
  }

  #version(kind: number, from: string, version: number): void {
    this.#room(11 + 3 * from.length, 0);
    this.#bytes[this.#at++] = kind;
    this.#text(from);
    this.#number(version);
    this.#items++;
  }

  #body(body: Buffer): void {
    this.#items++;
    const earlier = body === this.#lastBody ? this.#lastPlace : this.#placeOf(body);
    if (earlier !== undefined) {
      this.#uint32((earlier | EARLIER_BODY) >>> 0);
      return;
    }
    this.#lastBody = body;
    this.#lastPlace = this.#at;
    this.#uint32(body.length);
    this.#copy(body);
  }

  /** Where a body was written before; it is remembered as about to be written here otherwise. */
  #placeOf(body: Buffer): number | undefined {
    if (body.length < REPEATED_BODY_MIN) return undefined;
    this.#places ??= new Map();
    const place = this.#places.get(body);
    if (place === undefined) this.#places.set(body, this.#at);
    return place;
  }

  #copy(from: Buffer): void {
    this.#bytes.set(from, this.#at);
    this.#at += from.length;
  }

  #number(value: number): void {
    this.#view.setFloat64(this.#at, value);
    this.#at += 8;
  }

  #uint32(value: number): void {
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }

  #uint16(value: number): void {
    this.#bytes[this.#at++] = value >>> 8;
    this.#bytes[this.#at++] = value & 0xff;
  }

  #text(text: string): void {
    const length = this.#bytes.utf8Write(text, this.#at + 2);
    this.#uint16(length);
    this.#at += length;
  }

  #room(fieldBytes: number, bodyBytes: number): void {
    const needed = this.#at + fieldBytes + bodyBytes;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
    this.#view = viewOf(larger);
  }
}

/** Reads entries, one after the other; keep one for all. */
export class InboxReader {
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = viewOf(this.#bytes);
  #at = 0;
  #lastPlace = -1;
  #lastBody: Buffer = this.#bytes;

  /**
   * Gives the items of an entry to `visitor` and answers how many there were. Throws SWARMQ_ERR_RECORD_VERSION or
   * _CORRUPT; items before the damage have been visited then. `visitor` must not call read().
   */
  read(entry: Buffer, visitor: InboxVisitor): number {
    if (entry.length === 0) throw corrupt();
    if (entry[0] !== VERSION) {
      throw new SwarmqError(
        'SWARMQ_ERR_RECORD_VERSION',
        `inbox entry has version ${entry[0]}, known is ${VERSION}`,
      );
    }
    this.#bytes = entry;
    this.#view = viewOf(entry);
    this.#at = 1;
    this.#lastPlace = -1;
    let items = 0;
    while (this.#at < entry.length) {
      this.#item(entry[this.#at++]!, visitor);
      items++;
    }
    return items;
  }

  #item(kind: number, visitor: InboxVisitor): void {
    switch (kind) {
      case KIND_LIVE:
        visitor.onLive(this.#live());
        return;
      case KIND_MEMBER: {
        const clientId = this.#text();
        const filter = this.#text();
        visitor.onMember(clientId, filter, this.#live());
        return;
      }
      case KIND_PUSH: {
        const clientId = this.#text();
        const life = this.#number();
        const seq = this.#number();
        const header = this.#slice(this.#uint16());
        visitor.onPush(clientId, life, seq, header, this.#body());
        return;
      }
      case KIND_RUN: {
        const run = decodeRun(this.#bytes, this.#at);
        this.#at = run.end;
        visitor.onRun(run);
        return;
      }
      case KIND_TAKEOVER: {
        const clientId = this.#text();
        const epoch = this.#number();
        visitor.onTakeover(clientId, epoch, this.#text());
        return;
      }
      case KIND_APPLIED: {
        const from = this.#text();
        visitor.onApplied(from, this.#number());
        return;
      }
      case KIND_ASK: {
        const from = this.#text();
        visitor.onAsk(from, this.#number());
        return;
      }
      case KIND_KEYS:
        this.#keys(visitor);
        return;
      case KIND_ASK_KEYS:
        visitor.onAskKeys(this.#text());
        return;
      default:
        throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', `inbox item of unknown kind ${kind}`);
    }
  }

  #keys(visitor: InboxVisitor): void {
    const filter = this.#text();
    const clientId = this.#text();
    const rank = this.#number();
    const keys: string[] = [];
    for (let count = this.#uint16(); count > 0; count--) keys.push(this.#text());
    visitor.onKeys(filter, clientId, rank, keys);
  }

  #live(): LiveMessage {
    const flags = this.#bytes[this.#at++]!;
    const expiresAt = this.#number();
    const publisher = this.#text();
    let mark: Mark | null = null;
    if ((flags & FLAG_MARK) !== 0) {
      const key = this.#text();
      mark = { key, mid: this.#number() };
    }
    return {
      publisher,
      qos: (flags & 3) as 0 | 1 | 2,
      retain: (flags & FLAG_RETAIN) !== 0,
      expiresAt,
      ownExpiry: (flags & FLAG_OWN_EXPIRY) !== 0,
      mark,
      copy: (flags & FLAG_COPY) !== 0,
      body: this.#body(),
    };
  }

  #body(): Buffer {
    const place = this.#at;
    const head = this.#uint32();
    if (head < EARLIER_BODY) {
      this.#lastPlace = place;
      this.#lastBody = this.#slice(head);
      return this.#lastBody;
    }
    const earlier = head - EARLIER_BODY;
    if (earlier === this.#lastPlace) return this.#lastBody;
    if (earlier >= place) throw corrupt();
    const next = this.#at;
    this.#at = earlier;
    const length = this.#uint32();
    if (length >= EARLIER_BODY) throw corrupt();
    this.#lastPlace = earlier;
    this.#lastBody = this.#slice(length);
    this.#at = next;
    return this.#lastBody;
  }

  #slice(length: number): Buffer {
    const start = this.#take(length);
    return this.#bytes.subarray(start, this.#at);
  }

  #text(): string {
    const length = this.#uint16();
    const start = this.#take(length);
    return this.#bytes.utf8Slice(start, this.#at);
  }

  #number(): number {
    return this.#view.getFloat64(this.#take(8));
  }

  #uint16(): number {
    const start = this.#take(2);
    return (this.#bytes[start]! << 8) | this.#bytes[start + 1]!;
  }

  #uint32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  /** Where the next `length` bytes begin. */
  #take(length: number): number {
    const start = this.#at;
    this.#at = start + length;
    if (this.#at > this.#bytes.length) throw corrupt();
    return start;
  }
}

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function corrupt(): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'inbox entry is cut short or misformed');
}
