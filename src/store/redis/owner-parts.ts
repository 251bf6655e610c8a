// The parts of a session's call that its owner sends: what the client acknowledged, what is pulled, records of QoS 2
// receptions. How each is written as arguments of commit-sessions.lua.

import type {
  AckOperation,
  ForgetInboundOperation,
  Operation,
  PullOperation,
  RecordInboundOperation,
} from '../operations.ts';
import type { CommandWriter } from './resp.ts';

/** Consecutive operations of one kind that run as one part of the script. */
export interface Part {
  readonly kind: 'E' | 'A' | 'I' | 'F' | 'P';
  readonly from: number;
  to: number;
  shape: number;
  /** Its messages are noted for a reading of retained messages. */
  isNoted: boolean;
}

type Owned = AckOperation | PullOperation | RecordInboundOperation | ForgetInboundOperation;

export function isSameOwner(one: Operation, other: Operation): boolean {
  const left = (one as Owned).owner;
  const right = (other as Owned).owner;
  return left.epoch === right.epoch && left.incarnation === right.incarnation;
}

export function writeOwned(writer: CommandWriter, operations: readonly Operation[], part: Part): void {
  const owner = (operations[part.from] as Owned).owner;
  writer.text(owner.incarnation);
  writer.number(owner.epoch);
  if (part.kind === 'A') {
    const ack = operations[part.from] as AckOperation;
    writer.number(ack.head);
    writer.number(ack.bytes);
    writeSeqs(writer, ack.done);
    writeSeqs(writer, ack.released);
    return;
  }
  if (part.kind === 'P') {
    const pull = operations[part.from] as PullOperation;
    writer.number(pull.from);
    writer.number(pull.count);
    writer.number(pull.maxBytes);
    return;
  }
  writer.number(part.to - part.from);
  for (let index = part.from; index < part.to; index++) {
    const inbound = operations[index] as RecordInboundOperation;
    writer.number(inbound.packetId);
    if (part.kind !== 'I') continue;
    writer.number(inbound.slot);
    writer.text(inbound.choices);
    writer.number(inbound.replaces ? 1 : 0);
  }
}

/** Seqs one behind the other, as most are acknowledged, as the first and minus their number; others as they are. */
function writeSeqs(writer: CommandWriter, seqs: readonly number[]): void {
  const count = seqs.length;
  let run = 1;
  while (run < count && seqs[run] === seqs[run - 1]! + 1) run++;
  if (count < 2 || run < count) {
    writer.number(count);
    for (const seq of seqs) writer.number(seq);
    return;
  }
  writer.ascii(String(-count));
  writer.number(seqs[0]!);
}
