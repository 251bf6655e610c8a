// A run: messages of one session with consecutive seqs, as they lie in its queue. It is what a store itself puts into the
// inbox of a session's owner when it queues messages, so that the owner hears of them without a second call; all else in
// an inbox is written by cluster/inbox-codec.ts, which reads both.
// Run: kind byte, first seq (double), then its head: u16 length and UTF-8 of the client id, life (double); then the value:
// byte 3, u16 number of entries, u32 length of each, the entries. Head and value are made where the messages are submitted,
// the seq is the store's. A value may lie in a queue as it is.

import { Buffer } from 'node:buffer';
import '../util/buffer-methods.ts';
import { SwarmqError } from '../util/errors.ts';
import type { EnqueueOperation } from './operations.ts';

/** Of an inbox entry with items: its first byte, and the kind of an item that is a run. */
export const INBOX_VERSION = 1;
export const KIND_RUN = 9;
/** First byte of a value; entries begin with another one (records.ts). */
const RUN_VERSION = 3;
/** Where the lengths lie in a value. */
const LENGTHS_AT = 3;

export interface Run {
  readonly clientId: string;
  readonly life: number;
  /** Seq of the first entry. */
  readonly first: number;
  /** Number of entries. */
  readonly count: number;
  /** The inbox entry, in which the value of the run lies from `start` to `end`, without that one. */
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}

/** Head of a run of messages like this one. */
export function encodeRunHead({ clientId, life }: EnqueueOperation): Buffer {
  const bytes = Buffer.allocUnsafe(10 + 3 * clientId.length);
  const length = bytes.utf8Write(clientId, 2);
  bytes.writeUInt16BE(length, 0);
  return bytes.subarray(0, bytes.writeDoubleBE(life, 2 + length));
}

/** What stands before the entries of the operations `from` to `until`, without that one, in a value; at most 65,535. */
export function encodeLengths(operations: readonly EnqueueOperation[], from: number, until: number): Buffer {
  const bytes = Buffer.allocUnsafe(LENGTHS_AT + 4 * (until - from));
  bytes[0] = RUN_VERSION;
  let at = bytes.writeUInt16BE(until - from, 1);
  for (let index = from; index < until; index++) {
    const { header, body } = operations[index]!;
    at = bytes.writeUInt32BE(header.length + body.length, at);
  }
  return bytes;
}

/** The inbox entry with one run of one message. */
export function encodeRun(operation: EnqueueOperation): Buffer {
  const first = Buffer.allocUnsafe(10);
  first[0] = INBOX_VERSION;
  first[1] = KIND_RUN;
  first.writeDoubleBE(operation.seq, 2);
  const lengths = encodeLengths([operation], 0, 1);
  return Buffer.concat([first, encodeRunHead(operation), lengths, operation.header, operation.body]);
}

/** Reads the run whose kind byte stands before `at`. Throws SWARMQ_ERR_RECORD_CORRUPT. */
export function decodeRun(bytes: Buffer, at: number): Run {
  const take = (length: number): number => {
    const start = at;
    at += length;
    if (at > bytes.length) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'run of an inbox is cut short');
    return start;
  };
  const first = bytes.readDoubleBE(take(8));
  const length = bytes.readUInt16BE(take(2));
  const nameAt = take(length);
  const clientId = bytes.utf8Slice(nameAt, at);
  const life = bytes.readDoubleBE(take(8));
  const start = at;
  if (bytes[take(1)] !== RUN_VERSION) {
    throw new SwarmqError('SWARMQ_ERR_RECORD_VERSION', 'run of an inbox has another version');
  }
  const count = bytes.readUInt16BE(take(2));
  const lengthsAt = take(4 * count);
  for (let index = 0; index < count; index++) take(bytes.readUInt32BE(lengthsAt + 4 * index));
  return { clientId, life, first, count, bytes, start, end: at };
}

/** Where the first entry of a run lies in its bytes. */
export const entriesOffset = ({ start, count }: Run): number => start + LENGTHS_AT + 4 * count;

/** Bytes of an entry of a run. */
export const entrySize = ({ bytes, start }: Run, index: number): number =>
  bytes.readUInt32BE(start + LENGTHS_AT + 4 * index);
