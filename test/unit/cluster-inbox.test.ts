// A node's inbox: each item reaches its handler, and what goes wrong with one costs no other.

import t from 'tap';
import { Inbox } from '../../src/cluster/inbox.ts';
import { type InboxVisitor, InboxWriter, type LiveMessage } from '../../src/cluster/inbox-codec.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { AssertionError } from '../../src/util/assert.ts';

const body = Buffer.from('body');
const live: LiveMessage = {
  ...{ publisher: 'p', qos: 1, retain: false, expiresAt: 0, ownExpiry: false, mark: null, copy: false },
  body,
};

function setup(onLive: (message: LiveMessage) => void) {
  const seen: string[] = [];
  const handlers: InboxVisitor = {
    onLive,
    onMember: (clientId, filter) => void seen.push(`member ${clientId} ${filter}`),
    onPush: (clientId, life, seq) => void seen.push(`push ${clientId} ${life} ${seq}`),
    onRun: ({ clientId, life, first, count }) => void seen.push(`run ${clientId} ${life} ${first} ${count}`),
    onTakeover: (clientId, epoch, by) => void seen.push(`takeover ${clientId} ${epoch} ${by}`),
    onApplied: (from, version) => void seen.push(`applied ${from} ${version}`),
    onAsk: (from, version) => void seen.push(`ask ${from} ${version}`),
    onKeys: (filter, clientId, rank, keys) => void seen.push(`keys ${filter} ${clientId} ${rank} ${keys}`),
    onAskKeys: (from) => void seen.push(`ask keys ${from}`),
  };
  const stats = new NodeStats();
  let damages = 0;
  const inbox = new Inbox({ handlers, stats, logger: silentLogger, onDamage: () => damages++ });
  return { inbox, seen, stats, damages: () => damages };
}

function entry(): Buffer {
  const writer = new InboxWriter();
  writer.live(live);
  writer.push('c', 1, 2, Buffer.alloc(9), body);
  writer.takeover('d', 3, 'b');
  writer.applied('b', 4);
  writer.ask('b', 5);
  writer.keys('f', 'c', 1, ['k']);
  writer.askKeys('b');
  return writer.finish();
}

const REST = ['push c 1 2', 'takeover d 3 b', 'applied b 4', 'ask b 5', 'keys f c 1 k', 'ask keys b'];

t.test('items reach their handlers in order', async (t) => {
  const messages: LiveMessage[] = [];
  const { inbox, seen, stats, damages } = setup((message) => messages.push(message));
  inbox.receive([entry(), entry()]);
  t.same(messages, [live, live]);
  t.same(seen, [...REST, ...REST]);
  t.same([stats.inboxEntriesReceived, stats.controlMessagesReceived, damages()], [2, 10, 0]);
});

t.test('an item that is not taken costs only itself', async (t) => {
  const { inbox, seen, damages } = setup(() => {
    throw new Error('in a test');
  });
  inbox.receive([entry()]);
  t.same(seen, REST);
  t.equal(damages(), 0);
});

t.test('an entry that cannot be read is a loss to be made good', async (t) => {
  const { inbox, seen, damages } = setup(() => {});
  inbox.receive([Buffer.from([9, 9]), entry().subarray(0, 60), entry()]);
  t.same(seen.slice(-REST.length), REST, 'later entries are read');
  t.equal(damages(), 2);
});

t.test('a broken invariant is not swallowed', async (t) => {
  const { inbox } = setup(() => {
    throw new AssertionError('in a test');
  });
  t.throws(() => inbox.receive([entry()]), { message: 'in a test' });
});
