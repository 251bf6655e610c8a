// What is sent to other nodes: few entries, in order, bounded; an ack's part is done when its entry is written.

import t from 'tap';
import { InboxReader, type LiveMessage } from '../../src/cluster/inbox-codec.ts';
import { Peers, type PeersLimits, peersLimits } from '../../src/cluster/peers.ts';
import { Drop, NodeStats } from '../../src/observability/node-stats.ts';
import type { InboxOperation, Operation } from '../../src/store/operations.ts';

const HEADER = Buffer.alloc(9);
const message = (qos: 0 | 1 | 2, body: string): LiveMessage => ({
  publisher: 'p',
  qos,
  retain: false,
  expiresAt: 0,
  ownExpiry: false,
  mark: null,
  copy: false,
  body: Buffer.from(body),
});

/** A store that takes one entry a time and answers when told to. */
class SlowStore {
  readonly waiting: InboxOperation[] = [];
  readonly written: string[][] = [];

  submit(operation: Operation): void {
    this.waiting.push(operation as InboxOperation);
  }

  /** Takes the next entry, as bytes that are complete now. */
  seal(): void {
    this.waiting[0]!.seal();
  }

  answer(status: 'ok' | 'gone' = 'ok'): void {
    const operation = this.waiting.shift()!;
    operation.seal();
    const items: string[] = [];
    new InboxReader().read(operation.payload(), {
      onLive: (one) => items.push(`live ${one.body}`),
      onMember: (clientId, filter, one) => items.push(`member ${clientId} ${filter} ${one.body}`),
      onPush: (clientId, life, seq) => items.push(`push ${clientId} ${life} ${seq}`),
      onRun: ({ clientId, life, first }) => items.push(`run ${clientId} ${life} ${first}`),
      onTakeover: (clientId, epoch, by) => items.push(`takeover ${clientId} ${epoch} ${by}`),
      onApplied: (from, version) => items.push(`applied ${from} ${version}`),
      onAsk: (from, version) => items.push(`ask ${from} ${version}`),
      onKeys: (filter, clientId, rank, keys) => items.push(`keys ${filter} ${clientId} ${rank} ${keys}`),
      onAskKeys: (from) => items.push(`ask keys ${from}`),
    });
    this.written.push(items);
    operation.status = status;
    operation.complete();
  }
}

function setup(limits: PeersLimits = peersLimits(1e6)) {
  const store = new SlowStore();
  const stats = new NodeStats();
  const peers = new Peers({ selfIncarnation: 'me', store, stats, limits });
  let done = 0;
  const part = { done: () => done++ };
  return { store, stats, peers, part, done: () => done };
}

t.test('what comes while an entry waits shares it; what comes later is the next one', async (t) => {
  const { store, stats, peers, part, done } = setup();
  peers.live('a', message(1, 'one'), part);
  peers.push('a', 'c', 5, 9, HEADER, Buffer.from('x'));
  peers.live('b', message(1, 'other'), part);
  peers.takeover('a', 'c', 7);
  t.equal(store.waiting.length, 2, 'one entry for each node');
  store.seal();
  peers.live('a', message(0, 'two'), null);
  t.equal(store.waiting.length, 3, 'a sealed entry is closed');
  t.equal(done(), 0);
  store.answer();
  t.equal(done(), 1);
  store.answer();
  store.answer();
  t.equal(done(), 2);
  t.same(store.written, [['live one', 'push c 5 9', 'takeover c 7 me'], ['live other'], ['live two']]);
  t.equal(stats.inboxEntriesSent, 3);
  t.equal(peers.waitingBytes('a'), 0);
});

t.test('versions are told once an entry, the highest', async (t) => {
  const { store, peers } = setup();
  for (const version of [3, 9, 4]) {
    peers.applied('a', version);
    peers.ask('a', version + 100);
  }
  store.answer();
  peers.applied('a', 5);
  store.answer();
  t.same(store.written, [['applied me 9', 'ask me 109'], ['applied me 5']]);
});

t.test('a node that is gone ends the wait, a store that is closed does not', async (t) => {
  const { store, peers, part, done } = setup();
  peers.live('a', message(2, 'one'), part);
  store.answer('gone');
  t.equal(done(), 1);
  peers.live('a', message(2, 'two'), part);
  store.waiting[0]!.failed = true;
  store.waiting.shift()!.complete();
  t.equal(done(), 1, 'nothing is known of it');
  t.equal(peers.waitingBytes('a'), 0);
  peers.forget('a');
  t.equal(peers.size, 0);
});

t.test('beyond the bound QoS 0 is dropped, pushes are left out, the rest goes on', async (t) => {
  const limits = { entryBytesMax: 500, waitingBytesMax: 2000, waitingItemsMax: 1000 };
  const { store, stats, peers, part, done } = setup(limits);
  for (let index = 0; index < 100; index++) peers.live('a', message(0, 'x'.repeat(80)), part);
  const dropped = stats.messagesDropped[Drop.INBOX_FULL]!;
  t.ok(dropped > 70 && dropped < 90, `${dropped} dropped`);
  t.equal(done(), dropped, 'a part that is dropped is done');
  t.ok(peers.waitingBytes('a') < 2200);
  t.ok(store.waiting.length >= 4, 'entries are bounded too');
  peers.push('a', 'c', 1, 1, HEADER, Buffer.from('x'));
  t.equal(peers.pushesLeftOut, 1);
  peers.keys('a', 'f', 'c', 1, ['k']);
  peers.live('a', message(1, 'y'), part);
  peers.live('b', message(0, 'z'), null);
  while (store.waiting.length > 0) store.answer();
  t.equal(done(), 101, 'all are done');
  t.same(
    store.written.flat().filter((item) => item !== `live ${'x'.repeat(80)}`),
    ['live y', 'live z'],
  );
  t.equal(store.written.flat().length, 100 - dropped + 2);
  peers.push('a', 'c', 1, 1, HEADER, Buffer.from('x'));
  t.equal(store.waiting.length, 1, 'there is room again');
});

t.test('keys of groups are told and asked for', async (t) => {
  const { store, stats, peers } = setup();
  peers.keys('a', '$share/g/f', 'c', 2, ['one', 'other']);
  peers.askKeys('a');
  store.answer();
  t.same(store.written, [['keys $share/g/f c 2 one,other', 'ask keys me']]);
  t.equal(stats.controlMessagesSent, 2);
});

t.test('items are bounded too', async (t) => {
  const { stats, peers } = setup({ entryBytesMax: 1e6, waitingBytesMax: 1e9, waitingItemsMax: 10 });
  for (let index = 0; index < 25; index++) peers.live('a', message(0, 'x'), null);
  t.equal(stats.messagesDropped[Drop.INBOX_FULL], 15);
  const larger = setup(peersLimits(16_000));
  for (let index = 0; index < 105; index++) larger.peers.live('a', message(0, 'x'), null);
  t.equal(
    larger.stats.messagesDropped[Drop.INBOX_FULL],
    5,
    'and grow with the bytes: a small one counts as 160',
  );
});
