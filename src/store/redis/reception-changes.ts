// The records of a publisher's QoS 2 receptions as they lie in Redis and travel there. Those of 32 slots are one field of
// the session's hash, which their owner writes as a whole: what many messages record and forget is one argument of a call.
// Value: u8 number of records with a mid, each u16 packet id, u16 slot, double mid, u32 length and UTF-8 of the choices;
// then, where the last write added some, double mid of its first and these, each u16 packet id, u16 slot, u16 by how much
// its mid is higher, u32 length and UTF-8 of the choices.

import { Buffer } from 'node:buffer';
import '../../util/buffer-methods.ts';
import { SwarmqError } from '../../util/errors.ts';
import type { ForgetInboundOperation, Operation, RecordInboundOperation } from '../operations.ts';
import type { InboundRecord, Reception } from '../receptions.ts';
import type { PackedNumbers } from './packed-numbers.ts';
import type { Argument, CommandWriter } from './resp.ts';

const SLOTS_OF_FIELD = 32;
/** Without the choices. */
const KEPT_BYTES = 16;
const ADDED_BYTES = 10;
/** What a field has: records that stay (perhaps none), new ones. */
const HAS_KEPT = 1;
const HAS_ADDED = 2;

type Change = RecordInboundOperation | ForgetInboundOperation;

const fieldOf = ({ slot }: InboundRecord): number => Math.floor(slot / SLOTS_OF_FIELD);

/** It has no mid until the store gives it one. */
const isNew = ({ kind, reception }: Change): boolean => kind === 'record-inbound' && reception.mid === 0;

/** What one call changes of a session's receptions. All operations are of one owner. */
export class ReceptionChanges {
  readonly #changes: Change[] = [];

  /** False where it has to wait for the next call. */
  add(change: Change): boolean {
    const first = this.#changes[0] ?? change;
    if (first.owner !== change.owner || first.receptions !== change.receptions) return false;
    this.#changes.push(change);
    return true;
  }

  /** Writes what commit-sessions.lua takes of a session with flag 2; `owners`: incarnations, by their number in the call. */
  write(writer: CommandWriter, numbers: PackedNumbers, owners: readonly string[]): void {
    const { owner, receptions } = this.#changes[0]!;
    const added = this.#added();
    const fields = this.#fields();
    numbers.u8(owners.indexOf(owner.incarnation) + 1);
    numbers.f64(owner.epoch);
    numbers.u16(added.length);
    numbers.u16(fields.length);
    for (const field of fields) {
      const kept = receptions.keptIn(field * SLOTS_OF_FIELD, (field + 1) * SLOTS_OF_FIELD);
      const places: number[] = [];
      for (let place = 0; place < added.length; place++) {
        const one = added[place]!;
        if (fieldOf(one) === field && one.state !== 'over') places.push(place);
      }
      const isEmpty = kept.length + places.length === 0;
      numbers.u8((isEmpty ? 0 : HAS_KEPT) | (places.length > 0 ? HAS_ADDED : 0));
      writer.number(field);
      if (!isEmpty) writer.bytes(encodeKept(kept));
      if (places.length > 0) writer.bytes(encodeAdded(added, places));
    }
  }

  /** Those that change. */
  #fields(): number[] {
    const fields: number[] = [];
    for (const { reception } of this.#changes) {
      const field = fieldOf(reception);
      if (fields.at(-1) !== field && !fields.includes(field)) fields.push(field);
    }
    return fields;
  }

  /** The new ones, their mids consecutive in this order; one that is over already is not written. */
  #added(): Reception[] {
    const added: Reception[] = [];
    for (const change of this.#changes) if (isNew(change)) added.push(change.reception);
    return added;
  }

  /** Reads the answer to a call that was ours, once: the mid of the first new one, 0 when memory is full; then those stay. */
  settle(first: number): Operation[] {
    const staying = first === 0 ? this.#changes.filter(isNew) : [];
    for (const change of this.#changes) {
      if (first > 0 && isNew(change)) change.reception.mid = first++;
      change.status = 'ok';
    }
    // What it holds would survive the collector of the young, were the array an old one.
    this.#changes.length = 0;
    return staying;
  }

  fence(): void {
    for (const change of this.#changes) change.status = 'fenced';
  }
}

function encodeKept(records: readonly InboundRecord[]): Buffer {
  let length = 1;
  for (const { choices } of records) length += KEPT_BYTES + lengthOf(choices);
  const bytes = Buffer.allocUnsafe(length);
  let at = bytes.writeUInt8(records.length, 0);
  for (const { packetId, slot, mid, choices } of records) {
    at = bytes.writeUInt16BE(packetId, at);
    at = bytes.writeUInt16BE(slot, at);
    at = bytes.writeDoubleBE(mid, at);
    at = writeChoices(bytes, choices, at);
  }
  return bytes;
}

function encodeAdded(records: readonly InboundRecord[], places: readonly number[]): Buffer {
  let length = 0;
  for (const place of places) length += ADDED_BYTES + lengthOf(records[place]!.choices);
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const place of places) {
    const { packetId, slot, choices } = records[place]!;
    at = bytes.writeUInt16BE(packetId, at);
    at = bytes.writeUInt16BE(slot, at);
    at = bytes.writeUInt16BE(place, at);
    at = writeChoices(bytes, choices, at);
  }
  return bytes;
}

const lengthOf = (choices: string): number => (choices === '' ? 0 : Buffer.byteLength(choices));

function writeChoices(bytes: Buffer, choices: string, at: number): number {
  const end = bytes.writeUInt32BE(lengthOf(choices), at);
  return choices === '' ? end : end + bytes.utf8Write(choices, end);
}

/** All records of a session as fields and values, for the hash that has none of them. */
export function encodeRecords(records: readonly InboundRecord[]): Argument[] {
  const fields = new Map<number, InboundRecord[]>();
  for (const record of records) {
    const field = fieldOf(record);
    fields.set(field, [...(fields.get(field) ?? []), record]);
  }
  return [...fields].flatMap(([field, some]) => [field, encodeKept(some)]);
}

/** The records of one field. Throws SWARMQ_ERR_RECORD_CORRUPT. */
export function decodeRecords(value: Buffer): InboundRecord[] {
  const records: InboundRecord[] = [];
  let at = 1;
  const take = (length: number): number => {
    at += length;
    if (at > value.length) throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', 'reception is cut short');
    return at - length;
  };
  const next = (mid: () => number): void => {
    const packetId = value.readUInt16BE(take(2));
    const slot = value.readUInt16BE(take(2));
    const record = { packetId, slot, mid: mid() };
    const length = value.readUInt32BE(take(4));
    const start = take(length);
    records.push({ ...record, choices: value.utf8Slice(start, start + length) });
  };
  const kept = value.length === 0 ? 0 : value[0]!;
  while (records.length < kept) next(() => value.readDoubleBE(take(8)));
  if (at >= value.length) return records;
  const first = value.readDoubleBE(take(8));
  while (at < value.length) next(() => first + value.readUInt16BE(take(2)));
  return records;
}
