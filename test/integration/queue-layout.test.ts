// How a queue lies in Redis: messages that are queued together are a few values, and stay that while their client answers in
// order, at QoS 2 too. That all of it means the same as single entries is shown by store-differential; this shows that it
// saves the work it is for, and that nothing is left behind.

import t from 'tap';
import { startRedis } from '../helpers/redis-server.ts';
import { noteJump, redisWorld } from './redis-world.ts';
import { DEFAULT_LIMITS, makeNode } from './store-world.ts';

const MESSAGES = 20;
const PUBREL_ENTRY = '\x01\x80';

t.test('what is answered in order leaves the values of the queue alone', async (t) => {
  const server = await startRedis(t);
  const node = await makeNode(await redisWorld(t, server.url, DEFAULT_LIMITS, [server]));
  const session = await node.claim('c', {});
  const owner = node.owner(session);
  const fields = async (): Promise<number> => {
    const [key] = (await server.command('KEYS', '*:q:c')) as string[];
    return key === undefined ? 0 : ((await server.command('HLEN', key)) as number);
  };
  const queue = async (qos: 1 | 2): Promise<number> => {
    const texts = Array.from({ length: MESSAGES }, (_, index) => `message ${index}`);
    const sent = await Promise.all(texts.map((text) => node.enqueue('c', session.life, text, { qos })));
    return sent[0]!.seq;
  };
  const row = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);

  const first = await queue(2);
  const values = await fields();
  t.ok(values <= 3, `${MESSAGES} messages are ${values} values`);
  const { entries } = await node.pull('c', owner, first);
  const bytes = entries.map((entry) => entry!.length);
  const freed = (from: number, to: number) =>
    bytes.slice(from, to).reduce((sum, size) => sum + size - PUBREL_ENTRY.length, 0);
  await node.ack('c', owner, first, [], row(first, first + 8), freed(0, 8));
  await node.ack('c', owner, first, [], row(first + 8, first + 15), freed(8, 15));
  t.equal(await fields(), values, 'PUBRECs in order do not take them apart');
  const seen = await node.pull('c', owner, first);
  t.same(
    seen.entries.map((entry) => entry?.toString('latin1') === PUBREL_ENTRY),
    row(0, MESSAGES).map((index) => index < 15),
    'those are PUBREL markers for whoever reads them',
  );
  await node.ack('c', owner, first + 10, row(first, first + 10), [], 10 * PUBREL_ENTRY.length);
  t.ok((await fields()) <= values, 'nor do PUBCOMPs');
  const last = row(first + 15, first + MESSAGES);
  const rest = freed(15, MESSAGES) + 5 * PUBREL_ENTRY.length;
  await node.ack('c', owner, first + 15, row(first + 10, first + 15), last, rest);
  t.ok((await fields()) <= values, 'nor both together');
  await node.ack('c', owner, first + MESSAGES, last, [], 5 * PUBREL_ENTRY.length);
  t.equal(await fields(), 0);
  t.same(
    await node.store.totals().then(({ queuedMessages, queuedBytes }) => [queuedMessages, queuedBytes]),
    [0, 0],
  );

  const next = await queue(1);
  t.ok((await fields()) <= 3);
  await node.ack('c', owner, next, [next + 5], [], 10);
  t.equal(await fields(), MESSAGES - 1, 'one out of order takes its value apart');
});

for (const qos of [1, 2] as const) {
  t.test(
    `QoS ${qos}: what a lost tail brings back below the owner's head goes when the head moves`,
    async (t) => {
      const server = await startRedis(t);
      const node = await makeNode(await redisWorld(t, server.url, DEFAULT_LIMITS, [server]));
      const session = await node.claim('c', {});
      const owner = node.owner(session);
      const texts = Array.from({ length: MESSAGES }, (_, index) => `message ${index}`);
      await Promise.all(texts.map((text) => node.enqueue('c', session.life, text, { qos })));
      await node.enqueue('c', session.life, 'one that stands alone', { qos });
      const keys = (await server.command('KEYS', '*{b*')) as string[];
      for (const key of keys) await server.command('COPY', key, `kept${key}`);
      const { entries } = await node.pull('c', owner, 1);
      const bytes = entries.map((entry) => entry!.length);
      const sum = (from: number, to: number) =>
        bytes.slice(from, to).reduce((total, size) => total + size, 0);
      const row = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => from + index);
      await node.ack('c', owner, 13, row(1, 13), [], sum(0, 12));
      for (const key of keys) await server.command('COPY', `kept${key}`, key, 'REPLACE');
      await noteJump(server);

      // The owner knows its head alone.
      await node.ack('c', owner, 13, [], []);
      const totals = () =>
        node.store.totals().then(({ queuedMessages, queuedBytes }) => [queuedMessages, queuedBytes]);
      t.same(await totals(), [MESSAGES + 1 - 12, sum(12, MESSAGES + 1)]);
      await node.ack('c', owner, MESSAGES + 2, row(13, MESSAGES + 2), [], sum(12, MESSAGES + 1));
      t.same(await totals(), [0, 0]);
      const queues = (await server.command('KEYS', '*:q:c')) as string[];
      t.same(
        queues.filter((key) => !key.startsWith('kept')),
        [],
      );
    },
  );
}
