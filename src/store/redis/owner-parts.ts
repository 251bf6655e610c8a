// The parts of a session's call that its owner sends: what the client acknowledged, what is pulled. How each is written as
// arguments of commit-sessions.lua.

import { Buffer } from 'node:buffer';
import { type AckOperation, isRow, type Operation, type PullOperation } from '../operations.ts';
import type { PackedNumbers } from './packed-numbers.ts';
import type { CommandWriter } from './resp.ts';

/** Consecutive operations of one kind that run as one part of the script. */
export interface Part {
  readonly kind: 'E' | 'A' | 'P';
  readonly from: number;
  to: number;
  shape: number;
}

/** Kinds of parts, as commit-sessions.lua has them. */
export const PART_ENQUEUE = 0;
const PART_ACK = 1;
const PART_PULL = 2;
/** Which of the fields are told. */
const TELLS_DONE = 1;
const TELLS_RELEASED = 2;

/** `owners`: incarnations, by their number in the call. */
export function writeOwned(
  writer: CommandWriter,
  numbers: PackedNumbers,
  owners: readonly string[],
  operations: readonly Operation[],
  part: Part,
): void {
  const operation = operations[part.from] as AckOperation | PullOperation;
  const { incarnation, epoch } = operation.owner;
  numbers.u8(operation.kind === 'ack' ? PART_ACK : PART_PULL);
  numbers.u8(owners.indexOf(incarnation) + 1);
  numbers.f64(epoch);
  if (operation.kind === 'pull') {
    numbers.f64(operation.from);
    numbers.f64(operation.count);
    numbers.f64(operation.maxBytes);
    return;
  }
  const { done, released, fields, releasedFields } = operation;
  numbers.f64(operation.head);
  numbers.f64(operation.bytes);
  const doneCount = countOf(done);
  const releasedCount = countOf(released);
  numbers.i32(doneCount);
  numbers.i32(releasedCount);
  numbers.u8((fields ? TELLS_DONE : 0) | (releasedFields ? TELLS_RELEASED : 0));
  writeSeqs(writer, numbers, done, doneCount);
  writeSeqs(writer, numbers, released, releasedCount);
  if (fields) writer.bytes(encodeFields(fields, 1));
  if (releasedFields) writer.bytes(encodeFields(releasedFields, 2));
}

/** Of seqs one behind the other, as most are acknowledged, below 0. */
const countOf = (seqs: readonly number[]): number =>
  seqs.length < 2 || !isRow(seqs) ? seqs.length : -seqs.length;

/** The first of seqs one behind the other as a number, others as the names of fields that they are. */
function writeSeqs(
  writer: CommandWriter,
  numbers: PackedNumbers,
  seqs: readonly number[],
  count: number,
): void {
  if (count < 0) numbers.f64(seqs[0]!);
  else for (const seq of seqs) writer.number(seq);
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
