// A run: messages of one session with consecutive seqs, as they lie in its queue. It is what a store itself puts into the
// inbox of a session's owner when it queues messages, so that the owner hears of them without a second call; all else in
// an inbox is written by cluster/inbox-codec.ts, which reads both.
// Run: kind byte, first seq (double), then its head: u16 length and UTF-8 of the client id, life (double), u16 count, u32
// length of each entry; then the entries. The head is made where the messages are submitted, the seq is the store's.

import { Buffer } from 'node:buffer';
import '../util/buffer-methods.ts';
import { SwarmqError } from '../util/errors.ts';
import type { EnqueueOperation } from './operations.ts';

/** Of an inbox entry with items: its first byte, and the kind of an item that is a run. */
export const INBOX_VERSION = 1;
export const KIND_RUN = 9;

export interface Run {
  readonly clientId: string;
  readonly life: number;
  /** Seq of the first entry. */
  readonly first: number;
  /** Slices of the inbox entry. */
  readonly entries: readonly Buffer[];
  /** Where the run ends. */
  readonly end: number;
}

/** Head of the run of the operations `from` to `until`, without that one, all of one life; at most 65,535. */
export function encodeRunHead(operations: readonly EnqueueOperation[], from: number, until: number): Buffer {
  const { clientId, life } = operations[from]!;
  const bytes = Buffer.allocUnsafe(12 + 3 * clientId.length + 4 * (until - from));
  const length = bytes.utf8Write(clientId, 2);
  bytes.writeUInt16BE(length, 0);
  let at = bytes.writeDoubleBE(life, 2 + length);
  at = bytes.writeUInt16BE(until - from, at);
  for (let index = from; index < until; index++) {
    const { header, body } = operations[index]!;
    at = bytes.writeUInt32BE(header.length + body.length, at);
  }
  return bytes.subarray(0, at);
}

/** The inbox entry with one run of one message. */
export function encodeRun(operation: EnqueueOperation): Buffer {
  const first = Buffer.allocUnsafe(10);
  first[0] = INBOX_VERSION;
  first[1] = KIND_RUN;
  first.writeDoubleBE(operation.seq, 2);
  return Buffer.concat([first, encodeRunHead([operation], 0, 1), operation.header, operation.body]);
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
  const count = bytes.readUInt16BE(take(2));
  const lengthsAt = take(4 * count);
  const entries = new Array<Buffer>(count);
  for (let index = 0; index < count; index++) {
    const start = take(bytes.readUInt32BE(lengthsAt + 4 * index));
    entries[index] = bytes.subarray(start, at);
  }
  return { clientId, life, first, entries, end: at };
}
