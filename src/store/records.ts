// The values that lie in the store: queue entries, rows of subscriptions, retained records, wills. Each begins with a
// version byte; an unknown one is an error with a code, never a guess. Internal types are never written as they are.

import { Buffer } from 'node:buffer';
import '../util/buffer-methods.ts';
import { SwarmqError } from '../util/errors.ts';

const VERSION = 1;
/** Of a queue entry that came by a shared subscription: the filter stands behind the identifiers. */
const GROUP_VERSION = 2;
const NO_BYTES = Buffer.alloc(0);

/** Throws unless `bytes` is a record of the known version and has at least `bytesMin` bytes. */
function expectRecord(bytes: Buffer, bytesMin: number, what: string): void {
  if (bytes.length > 0 && bytes[0] !== VERSION) {
    throw new SwarmqError(
      'SWARMQ_ERR_RECORD_VERSION',
      `${what} has version ${bytes[0]}, known is ${VERSION}`,
    );
  }
  if (bytes.length < bytesMin) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `${what} is cut short`);
}

/** Key of a mark: the publisher's client id and the slot of its unfinished message, or 'will'. */
export function markKey(clientId: string, slot: number | 'will'): string {
  return `${slot}:${clientId}`;
}

/** Key of a mark among the members of a shared subscription: one message has one for each group. */
export function groupMarkKey(filter: string, key: string): string {
  return `${filter.length}:${filter}${key}`;
}

// ---- queue entry: version, flags, u48 expiry, count and varints of subscription ids, with version 2 u16 length and text
// of the shared filter, then body or reference

const FLAG_RETAIN = 0x04;
const FLAG_OWN_EXPIRY = 0x08;
const FLAG_REFERENCE = 0x10;
const FLAG_COPY = 0x20;
const FLAG_WRITES_RETAINED = 0x40;
const FLAG_PUBREL = 0x80;

/** A queue entry that stands for a QoS 2 message whose PUBREC was seen: only PUBREL is left to do. */
export const PUBREL_ENTRY: Buffer = Buffer.from([VERSION, FLAG_PUBREL]);

export interface EntryHeader {
  /** QoS granted for this receiver. */
  qos: 1 | 2 | 0;
  /** Retain flag as it is to be sent (Retain As Published, retained copies). */
  retain: boolean;
  /** Store ms after which it is not sent any more. */
  expiresAt: number;
  /** The message has a Message Expiry Interval of its own, to be counted down when it is sent. */
  ownExpiry: boolean;
  /** Body is a payload reference (encodeReference). */
  reference: boolean;
  /** It was read from the retained messages for a new subscription. */
  copy: boolean;
  /** It was published with the retain flag, whatever `retain` says: no older retained copy may follow it. */
  writesRetained?: boolean;
  subscriptionIds: readonly number[] | null;
  /** `$share/<group>/<filter>` by which it came, null for a subscription of the session alone. */
  group?: string | null;
}

export interface Entry extends EntryHeader {
  /** Only PUBREL is left; nothing else of the entry means anything. */
  pubrel: boolean;
  group: string | null;
  /** Message body, or reference. A slice of the record. */
  body: Buffer;
}

export function encodeEntryHeader(header: EntryHeader): Buffer {
  const ids = header.subscriptionIds;
  let size = 9;
  if (ids) for (const id of ids) size += id < 0x80 ? 1 : id < 0x4000 ? 2 : id < 0x200000 ? 3 : 4;
  const group = header.group ?? '';
  if (group !== '') size += 2 + Buffer.byteLength(group);
  const bytes = Buffer.allocUnsafe(size);
  bytes[0] = group === '' ? VERSION : GROUP_VERSION;
  bytes[1] =
    header.qos |
    (header.retain ? FLAG_RETAIN : 0) |
    (header.ownExpiry ? FLAG_OWN_EXPIRY : 0) |
    (header.reference ? FLAG_REFERENCE : 0) |
    (header.copy ? FLAG_COPY : 0) |
    (header.writesRetained ? FLAG_WRITES_RETAINED : 0);
  bytes.writeUIntBE(header.expiresAt, 2, 6);
  bytes[8] = ids ? ids.length : 0;
  let at = 9;
  if (ids) for (const id of ids) at = writeVarint(bytes, at, id);
  if (group !== '') bytes.writeUInt16BE(bytes.utf8Write(group, at + 2), at);
  return bytes;
}

/** Throws SWARMQ_ERR_RECORD_VERSION or _CORRUPT. */
export function decodeEntry(bytes: Buffer): Entry {
  const isOfGroup = bytes[0] === GROUP_VERSION;
  if (!isOfGroup) expectRecord(bytes, 2, 'queue entry');
  else if (bytes.length < 11) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'queue entry is cut short');
  const flags = bytes[1]!;
  const pubrel = (flags & FLAG_PUBREL) !== 0;
  if (!pubrel && !isOfGroup) expectRecord(bytes, 9, 'queue entry');
  let at = 9;
  let ids: number[] | null = null;
  if (!pubrel && bytes[8]! > 0) {
    ids = [];
    for (let left = bytes[8]!; left > 0; left--) {
      const [id, next] = readVarint(bytes, at, 'queue entry');
      ids.push(id);
      at = next;
    }
  }
  let group: string | null = null;
  if (isOfGroup) {
    const start = at + 2;
    at = start <= bytes.length ? start + bytes.readUInt16BE(at) : start;
    if (at > bytes.length) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'queue entry is cut short');
    group = bytes.utf8Slice(start, at);
  }
  return {
    pubrel,
    group,
    qos: (flags & 3) as 0 | 1 | 2,
    retain: (flags & FLAG_RETAIN) !== 0,
    ownExpiry: (flags & FLAG_OWN_EXPIRY) !== 0,
    reference: (flags & FLAG_REFERENCE) !== 0,
    copy: (flags & FLAG_COPY) !== 0,
    writesRetained: (flags & FLAG_WRITES_RETAINED) !== 0,
    expiresAt: pubrel ? 0 : bytes.readUIntBE(2, 6),
    subscriptionIds: ids,
    body: pubrel ? NO_BYTES : bytes.subarray(at),
  };
}

/**
 * Where the body of the queue entry that lies from `start` to `end`, without that one, begins. Throws
 * SWARMQ_ERR_RECORD_VERSION or _CORRUPT.
 */
export function bodyOffset(bytes: Buffer, start: number, end: number): number {
  if (end - start >= 9 && bytes[start] === VERSION && bytes[start + 8] === 0) return start + 9;
  return end - decodeEntry(bytes.subarray(start, end)).body.length;
}

/** Reference to a shared payload: this receiver's index, then the payload's id. */
export function encodeReference(payloadId: string, index: number): Buffer {
  const bytes = Buffer.allocUnsafe(4 + payloadId.length);
  bytes.writeUInt32BE(index, 0);
  bytes.latin1Write(payloadId, 4);
  return bytes;
}

/** Throws SWARMQ_ERR_RECORD_CORRUPT where the bytes are no reference. */
export function decodeReference(body: Buffer): { payloadId: string; index: number } {
  if (body.length < 5) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'reference is cut short');
  return { index: body.readUInt32BE(0), payloadId: body.latin1Slice(4) };
}

// ---- row of subscriptions

export interface Subscription {
  /** Topic filter; `$share/<group>/<filter>` stays whole. */
  readonly filter: string;
  readonly qos: 0 | 1 | 2;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  /** Subscription Identifier, 0 when none was given. */
  readonly subscriptionId: number;
}

export interface Row {
  readonly life: number;
  readonly rev: number;
  /** The session outlives its connections: its QoS 1 and 2 messages go to a queue. */
  readonly persistent: boolean;
  readonly subscriptions: readonly Subscription[];
}

export function encodeRow(row: Row): Buffer {
  let size = 18;
  for (const one of row.subscriptions) size += 7 + Buffer.byteLength(one.filter);
  const bytes = Buffer.allocUnsafe(size);
  bytes[0] = VERSION;
  bytes[1] = row.persistent ? 1 : 0;
  bytes.writeDoubleBE(row.life, 2);
  bytes.writeDoubleBE(row.rev, 10);
  let at = 18;
  for (const one of row.subscriptions) {
    bytes[at] = one.qos | (one.noLocal ? 4 : 0) | (one.retainAsPublished ? 8 : 0) | (one.retainHandling << 4);
    bytes.writeUInt32BE(one.subscriptionId, at + 1);
    const length = bytes.utf8Write(one.filter, at + 7);
    bytes.writeUInt16BE(length, at + 5);
    at += 7 + length;
  }
  return bytes;
}

/** Throws SWARMQ_ERR_RECORD_VERSION or _CORRUPT. */
export function decodeRow(bytes: Buffer): Row {
  expectRecord(bytes, 18, 'row of subscriptions');
  const subscriptions: Subscription[] = [];
  let at = 18;
  while (at < bytes.length) {
    expectRecord(bytes, at + 7, 'row of subscriptions');
    const flags = bytes[at]!;
    const length = bytes.readUInt16BE(at + 5);
    if (at + 7 + length > bytes.length)
      throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'row of subscriptions');
    subscriptions.push({
      filter: bytes.utf8Slice(at + 7, at + 7 + length),
      qos: (flags & 3) as 0 | 1 | 2,
      noLocal: (flags & 4) !== 0,
      retainAsPublished: (flags & 8) !== 0,
      retainHandling: ((flags >> 4) & 3) as 0 | 1 | 2,
      subscriptionId: bytes.readUInt32BE(at + 1),
    });
    at += 7 + length;
  }
  return {
    persistent: bytes[1] === 1,
    life: bytes.readDoubleBE(2),
    rev: bytes.readDoubleBE(10),
    subscriptions,
  };
}

// ---- retained record: version, flags (qos, own expiry), u48 expiry, u16 length and client id of the publisher, body

export interface RetainedRecord {
  readonly qos: 0 | 1 | 2;
  /** Store ms, 0 never. */
  readonly expiresAt: number;
  readonly ownExpiry: boolean;
  /** Client id of the publisher, for No Local. */
  readonly publisher: string;
  readonly body: Buffer;
}

export function encodeRetained(record: RetainedRecord): Buffer {
  const publisherBytes = Buffer.byteLength(record.publisher);
  const bytes = Buffer.allocUnsafe(10 + publisherBytes + record.body.length);
  bytes[0] = VERSION;
  bytes[1] = record.qos | (record.ownExpiry ? FLAG_OWN_EXPIRY : 0);
  bytes.writeUIntBE(record.expiresAt, 2, 6);
  bytes.writeUInt16BE(publisherBytes, 8);
  bytes.utf8Write(record.publisher, 10);
  record.body.copy(bytes, 10 + publisherBytes);
  return bytes;
}

export function decodeRetained(bytes: Buffer): RetainedRecord {
  expectRecord(bytes, 10, 'retained record');
  expectRecord(bytes, 10 + bytes.readUInt16BE(8), 'retained record');
  return {
    qos: (bytes[1]! & 3) as 0 | 1 | 2,
    ownExpiry: (bytes[1]! & FLAG_OWN_EXPIRY) !== 0,
    expiresAt: bytes.readUIntBE(2, 6),
    publisher: bytes.utf8Slice(10, 10 + bytes.readUInt16BE(8)),
    body: bytes.subarray(10 + bytes.readUInt16BE(8)),
  };
}

// ---- will: version, flags (qos, retain), u32 delay, body

export function encodeWill(will: {
  qos: 0 | 1 | 2;
  retain: boolean;
  delaySec: number;
  body: Buffer;
}): Buffer {
  const bytes = Buffer.allocUnsafe(6 + will.body.length);
  bytes[0] = VERSION;
  bytes[1] = will.qos | (will.retain ? FLAG_RETAIN : 0);
  bytes.writeUInt32BE(will.delaySec, 2);
  will.body.copy(bytes, 6);
  return bytes;
}

export function decodeWill(bytes: Buffer): {
  qos: 0 | 1 | 2;
  retain: boolean;
  delaySec: number;
  body: Buffer;
} {
  expectRecord(bytes, 6, 'will');
  return {
    qos: (bytes[1]! & 3) as 0 | 1 | 2,
    retain: (bytes[1]! & FLAG_RETAIN) !== 0,
    delaySec: bytes.readUInt32BE(2),
    body: bytes.subarray(6),
  };
}

function writeVarint(bytes: Buffer, start: number, value: number): number {
  let at = start;
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes[at++] = rest > 0 ? low | 0x80 : low;
  } while (rest > 0);
  return at;
}

function readVarint(bytes: Buffer, start: number, what: string): [value: number, next: number] {
  let value = 0;
  let at = start;
  for (let shift = 0; shift <= 21; shift += 7) {
    const byte = bytes[at++];
    if (byte === undefined) break;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
  throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `${what} has a bad length`);
}
