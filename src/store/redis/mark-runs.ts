// The marks of messages that one call enqueues, as commit-sessions.lua takes them. In Redis the marks of 32 slots of one
// publisher are one field (scripts/includes/marks.lua); messages with slots in a row travel with their mids in one piece.

import { Buffer } from 'node:buffer';
import type { EnqueueOperation, Mark } from '../operations.ts';
import type { PackedNumbers } from './packed-numbers.ts';
import type { CommandWriter } from './resp.ts';

const SLOTS_OF_FIELD = 32;
const MID_BYTES = 8;
const COLON = 0x3a;
const mids = Buffer.alloc(SLOTS_OF_FIELD * MID_BYTES);

/** The slot that a key begins with (records.markKey), -1 where it begins with none. */
export function slotOf(key: string): number {
  let slot = 0;
  let at = 0;
  for (; at < 6; at++) {
    const digit = key.charCodeAt(at) - 0x30;
    if (!(digit >= 0 && digit <= 9)) break;
    slot = slot * 10 + digit;
  }
  // Two keys never stand for the same slot of a field.
  if (at === 0 || key.charCodeAt(at) !== COLON || (at > 1 && key.startsWith('0'))) return -1;
  return slot;
}

const digitsOf = (slot: number): number => (slot < 10 ? 1 : slot < 100 ? 2 : String(slot).length);

/** Where each run begins: messages of one publisher whose slots follow one another in a field, and whose mids rise. */
function startsOf(operations: readonly EnqueueOperation[], from: number, to: number): number[] {
  const starts: number[] = [];
  let slot = -1;
  let mid = 0;
  /** Of the run's keys, behind their slots. */
  let rest = '';
  for (let index = from; index < to; index++) {
    const { key, mid: nextMid } = operations[index]!.mark as Mark;
    const next = slotOf(key);
    const follows = next === slot + 1 && next % SLOTS_OF_FIELD > 0 && nextMid > mid;
    if (!follows || key.length !== digitsOf(next) + rest.length || !key.endsWith(rest)) {
      starts.push(index);
      rest = key.slice(digitsOf(next));
    }
    slot = next;
    mid = nextMid;
  }
  return starts;
}

/** Numbers: the number of runs, of each slot within its field and messages. Then of each field and mids. All are marked. */
export function writeMarks(
  writer: CommandWriter,
  numbers: PackedNumbers,
  operations: readonly EnqueueOperation[],
  from: number,
  to: number,
): void {
  const starts = startsOf(operations, from, to);
  numbers.u16(starts.length);
  for (const [run, start] of starts.entries()) {
    const count = (starts[run + 1] ?? to) - start;
    const { key } = operations[start]!.mark as Mark;
    const slot = slotOf(key);
    if (slot < 0) writer.text(`-${key}`);
    else writer.text(`${Math.floor(slot / SLOTS_OF_FIELD)}${key.slice(digitsOf(slot))}`);
    numbers.u8(Math.max(slot, 0) % SLOTS_OF_FIELD);
    numbers.u8(count);
    for (let index = 0; index < count; index++) {
      mids.writeDoubleBE(operations[start + index]!.mark!.mid, index * MID_BYTES);
    }
    writer.bytes(mids.subarray(0, count * MID_BYTES));
  }
}
