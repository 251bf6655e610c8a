// Entries of a node's inbox: what goes in comes out in order, each body once, and damage is told by a code.

import fc from 'fast-check';
import t from 'tap';
import {
  InboxReader,
  type InboxVisitor,
  InboxWriter,
  type LiveMessage,
} from '../../src/cluster/inbox-codec.ts';

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
  onLive(message: LiveMessage) {
    this.items.push({ kind: 'live', message });
  }
  onMember(clientId: string, filter: string, message: LiveMessage) {
    this.items.push({ kind: 'member', clientId, filter, message });
  }
  onPush(clientId: string, life: number, seq: number, header: Buffer, body: Buffer) {
    this.items.push({ kind: 'push', clientId, life, seq, header, body });
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
  const coded = (run: () => void) => {
    try {
      run();
    } catch (error) {
      if (!/^SWARMQ_ERR_RECORD_/.test(String((error as { code: unknown }).code))) throw error;
    }
  };
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
