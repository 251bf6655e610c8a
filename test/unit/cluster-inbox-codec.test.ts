// Entries of a node's inbox: what goes in comes out in order, each body once, and damage is told by a code.

import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import {
  InboxReader,
  type InboxVisitor,
  InboxWriter,
  type LiveMessage,
} from '../../src/cluster/inbox-codec.ts';
import {
  encodeLengths,
  encodeRun,
  encodeRunHead,
  INBOX_VERSION,
  KIND_RUN,
  type Run,
} from '../../src/store/inbox-run.ts';
import { EnqueueOperation } from '../../src/store/operations.ts';
import { entriesOf } from '../helpers/run-entries.ts';

type Item =
  | { kind: 'live'; message: LiveMessage }
  | { kind: 'push'; clientId: string; life: number; seq: number; header: Buffer; body: Buffer }
  | { kind: 'member'; clientId: string; filter: string; message: LiveMessage }
  | { kind: 'takeover'; clientId: string; epoch: number; by: string }
  | { kind: 'applied' | 'ask'; from: string; version: number }
  | { kind: 'keys'; filter: string; clientId: string; rank: number; keys: string[] }
  | { kind: 'askKeys'; from: string };

class Recorder implements InboxVisitor {
  readonly items: Item[] = [];
  readonly runs: Run[] = [];
  onLive(message: LiveMessage) {
    this.items.push({ kind: 'live', message });
  }
  onMember(clientId: string, filter: string, message: LiveMessage) {
    this.items.push({ kind: 'member', clientId, filter, message });
  }
  onPush(clientId: string, life: number, seq: number, header: Buffer, body: Buffer) {
    this.items.push({ kind: 'push', clientId, life, seq, header, body });
  }
  onRun(run: Run) {
    this.runs.push(run);
  }
  onTakeover(clientId: string, epoch: number, by: string) {
    this.items.push({ kind: 'takeover', clientId, epoch, by });
  }
  onApplied(from: string, version: number) {
    this.items.push({ kind: 'applied', from, version });
  }
  onAsk(from: string, version: number) {
    this.items.push({ kind: 'ask', from, version });
  }
  onKeys(filter: string, clientId: string, rank: number, keys: string[]) {
    this.items.push({ kind: 'keys', filter, clientId, rank, keys });
  }
  onAskKeys(from: string) {
    this.items.push({ kind: 'askKeys', from });
  }
}

function write(items: readonly Item[]): Buffer {
  const writer = new InboxWriter();
  for (const item of items) {
    if (item.kind === 'live') writer.live(item.message);
    else if (item.kind === 'member') writer.member(item.clientId, item.filter, item.message);
    else if (item.kind === 'push') writer.push(item.clientId, item.life, item.seq, item.header, item.body);
    else if (item.kind === 'takeover') writer.takeover(item.clientId, item.epoch, item.by);
    else if (item.kind === 'keys') writer.keys(item.filter, item.clientId, item.rank, item.keys);
    else if (item.kind === 'askKeys') writer.askKeys(item.from);
    else writer[item.kind](item.from, item.version);
  }
  if (writer.items !== items.length) throw new Error(`${writer.items} items counted`);
  return writer.finish();
}

function read(bytes: Buffer): Item[] {
  const recorder = new Recorder();
  new InboxReader().read(bytes, recorder);
  return recorder.items;
}

/** Nothing but a coded error may be thrown. */
function coded(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!/^SWARMQ_ERR_RECORD_/.test(String((error as { code: unknown }).code))) throw error;
  }
}

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.constantFrom('', '__proto__', 'é'.repeat(30_000)),
);
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((some) => Buffer.from(some));
const BODIES = [0, 1, 23, 24, 100, 5000].map((length) => Buffer.alloc(length, length));
const body = fc.oneof(fc.constantFrom(...BODIES), bytes(80));
const number = fc.maxSafeNat();
const message: fc.Arbitrary<LiveMessage> = fc.record({
  publisher: text,
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  retain: fc.boolean(),
  expiresAt: number,
  ownExpiry: fc.boolean(),
  mark: fc.option(fc.record({ key: text, mid: number })),
  copy: fc.boolean(),
  body,
});
const item: fc.Arbitrary<Item> = fc.oneof(
  fc.record({ kind: fc.constant('live' as const), message }),
  fc.record({
    kind: fc.constant('push' as const),
    clientId: text,
    life: number,
    seq: number,
    header: bytes(1100),
    body,
  }),
  fc.record({ kind: fc.constant('takeover' as const), clientId: text, epoch: number, by: text }),
  fc.record({ kind: fc.constantFrom('applied' as const, 'ask' as const), from: text, version: number }),
  fc.record({
    kind: fc.constant('keys' as const),
    filter: text,
    clientId: text,
    rank: number,
    keys: fc.array(text, { maxLength: 20 }),
  }),
  fc.record({ kind: fc.constant('askKeys' as const), from: text }),
);

t.test('what goes in comes out, in order', async (t) => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 12 }), (items) => {
      const back = read(write(items));
      if (JSON.stringify(back) !== JSON.stringify(items)) throw new Error('differs');
    }),
    { numRuns: 500, verbose: 1 },
  );
  t.pass();
});

class Queued extends EnqueueOperation {
  override complete(): void {}
}

const queued = (clientId: string, life: number, header: Buffer, body: Buffer) =>
  new Queued(clientId, life, 0, header, body, null, null);

interface RunParts {
  clientId: string;
  life: number;
  first: number;
  /** Header and body of each entry. */
  parts: [Buffer, Buffer][];
}

const run: fc.Arbitrary<RunParts> = fc.record({
  clientId: text,
  life: number,
  first: number,
  parts: fc.array(fc.tuple(bytes(1100), body), { minLength: 1, maxLength: 20 }),
});

/** As a store puts it together: the kind and the first seq are its own, the rest is given to it. */
function runItem({ clientId, life, first, parts }: RunParts): Buffer {
  const operations = parts.map(([header, body]) => queued(clientId, life, header, body));
  const begin = Buffer.alloc(9);
  begin[0] = KIND_RUN;
  begin.writeDoubleBE(first, 1);
  const lengths = encodeLengths(operations, 0, operations.length);
  return Buffer.concat([begin, encodeRunHead(operations[0]!), lengths, ...parts.flat()]);
}

t.test('runs that a store wrote come out between other items', async (t) => {
  fc.assert(
    fc.property(fc.array(item, { maxLength: 3 }), fc.array(run, { maxLength: 4 }), (items, runs) => {
      const recorder = new Recorder();
      new InboxReader().read(Buffer.concat([write(items), ...runs.map(runItem)]), recorder);
      if (JSON.stringify(recorder.items) !== JSON.stringify(items)) throw new Error('items differ');
      const back = recorder.runs.map((one) => ({
        ...{ clientId: one.clientId, life: one.life, first: one.first },
        entries: entriesOf(one),
      }));
      const expected = runs.map(({ parts, ...rest }) => ({
        ...rest,
        entries: parts.map((one) => Buffer.concat(one)),
      }));
      if (!isDeepStrictEqual(back, expected)) throw new Error('runs differ');
    }),
    { numRuns: 300, verbose: 1 },
  );
  const one = queued('c', 7, Buffer.from('header'), Buffer.from('body'));
  one.seq = 12;
  const recorder = new Recorder();
  new InboxReader().read(encodeRun(one), recorder);
  t.match(recorder.runs, [{ clientId: 'c', life: 7, first: 12, count: 1 }]);
  t.same(entriesOf(recorder.runs[0]!), [Buffer.from('headerbody')]);
});

t.test('a run that is damaged is a coded error', async (t) => {
  fc.assert(
    fc.property(run, fc.nat(), fc.nat(255), (one, place, value) => {
      const entry = Buffer.concat([Buffer.from([INBOX_VERSION]), runItem(one)]);
      coded(() => read(entry.subarray(0, place % entry.length)));
      entry[place % entry.length] = value;
      coded(() => read(entry));
    }),
    { numRuns: 1000, verbose: 1 },
  );
  const cut = Buffer.concat([
    Buffer.from([INBOX_VERSION]),
    runItem({ clientId: 'c', life: 1, first: 1, parts: [[Buffer.alloc(9), Buffer.alloc(9)]] }),
  ]);
  t.throws(() => read(cut.subarray(0, -1)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
});

t.test('a body is there once and comes out as one object', async (t) => {
  const [one, other] = [Buffer.alloc(1000, 1), Buffer.alloc(1000, 2)];
  const header = Buffer.alloc(9);
  const items: Item[] = [];
  for (let seq = 1; seq <= 50; seq++) {
    items.push({ kind: 'push', clientId: `c${seq}`, life: 1, seq, header, body: seq % 10 < 5 ? one : other });
  }
  const entry = write(items);
  t.ok(entry.length < 2 * 1000 + 50 * 50, `${entry.length} bytes`);
  const back = read(entry) as (Item & { kind: 'push' })[];
  t.same(back, items);
  t.equal(back[1]!.body, back[0]!.body);
});

t.test('damage is a coded error and never a wrong read', async (t) => {
  fc.assert(
    fc.property(
      fc.array(item, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat(255),
      (items, place, value) => {
        const entry = write(items);
        coded(() => read(entry.subarray(0, place % entry.length)));
        entry[place % entry.length] = value;
        coded(() => read(entry));
      },
    ),
    { numRuns: 1000, verbose: 1 },
  );
  t.throws(() => read(Buffer.alloc(0)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
  t.throws(() => read(Buffer.from([9])), { code: 'SWARMQ_ERR_RECORD_VERSION' });
  t.throws(() => read(Buffer.from([1, 77])), { code: 'SWARMQ_ERR_RECORD_VERSION' });
});
