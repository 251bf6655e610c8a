// How marks and records of QoS 2 receptions are written for Redis: keys never meet, runs hold what follows one another, a
// value says what was put into it.

import t from 'tap';
import { type InboundRecord, Receptions } from '../../src/store/receptions.ts';
import { groupMarkKey, markKey } from '../../src/store/records.ts';
import { slotOf, writeMarks } from '../../src/store/redis/mark-runs.ts';
import { PackedNumbers } from '../../src/store/redis/packed-numbers.ts';
import { decodeRecords, encodeRecords, ReceptionChanges } from '../../src/store/redis/reception-changes.ts';
import { CommandWriter } from '../../src/store/redis/resp.ts';
import {
  Enqueue,
  ForgetInbound,
  ODD_NAMES,
  RecordInbound,
  sortedRecords,
} from '../integration/store-world.ts';

/** The arguments that `write` writes, as buffers. */
function written(write: (writer: CommandWriter) => void): Buffer[] {
  const writer = new CommandWriter();
  writer.begin();
  write(writer);
  writer.end();
  const bytes = Buffer.concat(writer.take());
  const words: Buffer[] = [];
  let at = bytes.indexOf('\n') + 1;
  while (at < bytes.length) {
    const end = bytes.indexOf('\r', at);
    const length = Number(bytes.latin1Slice(at + 1, end));
    words.push(bytes.subarray(end + 2, end + 2 + length));
    at = end + 4 + length;
  }
  return words;
}

/** Field, place and mids of each run. */
function runsOf(marks: readonly (readonly [string, number])[]): [string, number, number[]][] {
  const operations = marks.map(([key, mid]) => new Enqueue('c', 1, 'x', { mark: { key, mid } }));
  const numbers = new PackedNumbers();
  const words = written((writer) => writeMarks(writer, numbers, operations, 0, operations.length));
  const packed = numbers.taken();
  const runs: [string, number, number[]][] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [field, some] = words.slice(at, at + 2) as [Buffer, Buffer];
    const mids = Array.from({ length: packed[3 + at]! }, (_, index) => some.readDoubleBE(8 * index));
    t.equal(some.length, 8 * mids.length);
    runs.push([field.toString(), packed[2 + at]!, mids]);
  }
  t.equal(packed.readUInt16BE(0), runs.length);
  t.equal(packed.length, 2 + 2 * runs.length);
  return runs;
}

t.test('messages whose slots and mids rise are one run', async (t) => {
  const of = (slot: number, mid: number, name = 'p') => [markKey(name, slot), mid] as const;
  t.same(runsOf([of(0, 5), of(1, 6), of(2, 9)]), [['0:p', 0, [5, 6, 9]]]);
  t.same(runsOf([of(30, 5), of(31, 6), of(32, 7), of(33, 8)]), [
    ['0:p', 30, [5, 6]],
    ['1:p', 0, [7, 8]],
  ]);
  const apart = [
    [of(0, 5), of(2, 6)],
    [of(1, 5), of(0, 6)],
    [of(0, 5), of(1, 5)],
    [of(0, 5), of(1, 4)],
    [of(0, 5), of(1, 6, 'q')],
    [of(0, 5), of(1, 6, 'p:')],
    [of(0, 5), of(1, 6, '0:p')],
    [of(9, 5), of(10, 6, 'q')],
  ];
  for (const marks of apart) t.equal(runsOf(marks).length, 2, JSON.stringify(marks));
  t.same(runsOf([of(9, 5), of(10, 6)]), [['0:p', 9, [5, 6]]]);
});

t.test('two keys never have the same place of the same field', async (t) => {
  const keys = new Set([
    'will',
    '',
    '0',
    '00:p',
    '05:p',
    ':p',
    '-0:p',
    '0:0:p',
    '123456:p',
    '65535:p',
    ' 1:p',
  ]);
  for (const name of ['p', '', '0:p', ':', ...ODD_NAMES.slice(0, 14)]) {
    for (const slot of [0, 1, 5, 31, 32, 65_535, 'will'] as const) {
      keys.add(markKey(name, slot));
      for (const filter of ['', 'a', '5:a', '$share/g/0:p'])
        keys.add(groupMarkKey(filter, markKey(name, slot)));
    }
  }
  const places = new Map<string, string>();
  for (const key of keys) {
    const [[field, place] = ['', 0]] = runsOf([[key, 1]]);
    const known = places.get(`${place} ${field}`);
    t.equal(known, undefined, `${key} and ${known}`);
    places.set(`${place} ${field}`, key);
  }
  t.same(
    ['7:p', '07:p', 'will:p', '7', ':', '100000:p', '1000000:p'].map(slotOf),
    [7, -1, -1, -1, -1, 100_000, -1],
  );
});

t.test('slots are the lowest that are free', async (t) => {
  const record = { packetId: 9, slot: 2, mid: 3, choices: '' };
  const receptions = new Receptions([record]);
  t.same(sortedRecords(receptions.kept()), [record]);
  const slots = [1, 2, 3].map((id) => receptions.add(id, '').slot);
  t.same(slots, [0, 1, 3]);
  receptions.remove(receptions.get(9)!);
  receptions.remove(receptions.get(1)!);
  t.same(
    [10, 11, 12].map((id) => receptions.add(id, '').slot),
    [0, 2, 4],
  );
  t.same(receptions.kept(), [], 'what has no mid is not in the store');
});

const CHOICES = ['', 'x', 'größe/日本/🙂', 'y'.repeat(70_000)];

t.test('what is recorded comes back', async (t) => {
  const records: InboundRecord[] = Array.from({ length: 70 }, (_, index) => ({
    ...{ packetId: 65_535 - index, slot: index, mid: 2 ** 52 + index, choices: CHOICES[index % 4]! },
  }));
  const pairs = encodeRecords(records);
  t.equal(pairs.length, 6, 'three fields');
  const values = pairs.filter((one) => Buffer.isBuffer(one));
  t.same(sortedRecords(values.flatMap(decodeRecords)), sortedRecords(records));
  t.same(decodeRecords(Buffer.alloc(0)), []);
  const [first] = values as [Buffer];
  for (const length of [2, 5, first.length - 1]) {
    t.throws(() => decodeRecords(first.subarray(0, length)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
  }
});

t.test('a call writes what stays and what is new of the slots that it touches', async (t) => {
  const owner = { incarnation: 'a', epoch: 7 };
  const receptions = new Receptions(
    [0, 1, 40].map((slot) => ({ packetId: slot + 1, slot, mid: slot + 100, choices: '' })),
  );
  const changes = new ReceptionChanges();
  const over = receptions.get(1)!;
  over.state = 'over';
  t.ok(changes.add(new ForgetInbound('c', owner, receptions, over)));
  const added = CHOICES.map((choices, index) => receptions.add(500 + index, choices));
  for (const one of added) t.ok(changes.add(new RecordInbound('c', owner, receptions, one)));
  t.notOk(changes.add(new RecordInbound('c', owner, new Receptions([]), over)), 'of others');
  t.notOk(changes.add(new RecordInbound('c', { ...owner }, receptions, over)), 'of another owner');
  const numbers = new PackedNumbers();
  const words = written((writer) => changes.write(writer, numbers, ['b', 'a']));
  const packed = numbers.taken();
  t.equal(packed[0], 2, 'the second owner');
  t.equal(packed.readDoubleBE(1), 7);
  t.same([packed.readUInt16BE(9), packed.readUInt16BE(11)], [4, 1], 'four new ones, one field');
  t.same([...packed.subarray(13)], [3], 'with some that stay and new ones');
  t.equal(words.length, 3, 'slot 40 is not touched');
  t.equal(String(words[0]), '0');
  const mid = Buffer.alloc(8);
  mid.writeDoubleBE(1000);
  const value = Buffer.concat([words[1]!, mid, words[2]!]);
  const wanted = added.map(({ packetId, slot, choices }, index) => ({
    ...{ packetId, slot, mid: 1000 + index, choices },
  }));
  t.same(sortedRecords(decodeRecords(value)), [{ packetId: 2, slot: 1, mid: 101, choices: '' }, ...wanted]);
  const staying = changes.settle(0);
  t.equal(staying.length, 4, 'memory is full: the new ones stay');
  const later = new ReceptionChanges();
  for (const operation of staying) t.ok(later.add(operation as RecordInbound));
  t.same(later.settle(1000), []);
  t.same(
    added.map((reception) => reception.mid),
    [1000, 1001, 1002, 1003],
  );
});
