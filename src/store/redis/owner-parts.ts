// The parts of a session's call that its owner sends: what the client acknowledged, what is pulled. How each is written as
// arguments of commit-sessions.lua.

import { Buffer } from 'node:buffer';
import { type AckOperation, isRow, type Operation, type PullOperation } from '../operations.ts';
import type { CommandWriter } from './resp.ts';

/** Consecutive operations of one kind that run as one part of the script. */
export interface Part {
  readonly kind: 'E' | 'A' | 'P';
  readonly from: number;
  to: number;
  shape: number;
}

const NO_FIELDS = Buffer.alloc(0);

export function writeOwned(writer: CommandWriter, operations: readonly Operation[], part: Part): void {
  const operation = operations[part.from] as AckOperation | PullOperation;
  writer.text(operation.owner.incarnation);
  writer.number(operation.owner.epoch);
  if (operation.kind === 'ack') {
    writer.number(operation.head);
    writer.number(operation.bytes);
    writeSeqs(writer, operation.done);
    writeSeqs(writer, operation.released);
    const { fields, releasedFields } = operation;
    writer.bytes(fields === null ? NO_FIELDS : encodeFields(fields, 1));
    writer.bytes(releasedFields === null ? NO_FIELDS : encodeFields(releasedFields, 2));
  } else {
    writer.number(operation.from);
    writer.number(operation.count);
    writer.number(operation.maxBytes);
  }
}

/** Seqs one behind the other, as most are acknowledged, as the first and minus their number; others as they are. */
function writeSeqs(writer: CommandWriter, seqs: readonly number[]): void {
  const count = seqs.length;
  if (count < 2 || !isRow(seqs)) {
    writer.number(count);
    for (const seq of seqs) writer.number(seq);
    return;
  }
  writer.ascii(String(-count));
  writer.number(seqs[0]!);
}

/** AckOperation.fields: double first seq, with two of `heads` double bytes freed, then of each u16 messages and u32 bytes. */
function encodeFields(fields: readonly number[], heads: 1 | 2): Buffer {
  const bytes = Buffer.allocUnsafe(8 * heads + 3 * (fields.length - heads));
  let at = bytes.writeDoubleBE(fields[0]!, 0);
  if (heads === 2) at = bytes.writeDoubleBE(fields[1]!, at);
  for (let index = heads; index < fields.length; index += 2) {
    at = bytes.writeUInt16BE(fields[index]!, at);
    at = bytes.writeUInt32BE(fields[index + 1]!, at);
  }
  return bytes;
}
