// Drop accounting where messages are refused: by a full queue that takes no more, on the way to another node while the
// store stands still, and retained copies that a newer message has passed by. Two nodes on one Redis; the equation holds
// all the same.

import t from 'tap';
import { balanced, droppedBy, figures } from '../helpers/accounting.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

// A lease that outlives the pause of Redis.
const CONFIG = `
limits:
  maxInflightMessages: 4
  maxQueuedMessages: 20
  queueFullPolicy: reject
  maxConnectionBytes: 64MB
cluster:
  lease: 60s
  renewEvery: 500ms
`;

t.test('matched = delivered + waiting + dropped, where messages are refused', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const nodes = await startNodes(t, 2, { redis: redis.url, config: CONFIG });
  const [a, b] = nodes as [SwarmqNode, SwarmqNode];
  const dropped = (reason: string) => droppedBy(nodes, reason);
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(a.port);

  await t.test('queue_rejected: by queues, and by the queue of a group', async (t) => {
    const before = await figures(nodes);
    for (const filter of ['full', '$share/g/shared']) {
      const sleeper = new MqttClient(t, { clientId: `sleeper ${filter}`, version: 5, clean: false });
      await sleeper.connect(b.port);
      await sleeper.subscribe(filter, 2);
      await sleeper.disconnect();
    }
    for (let index = 0; index < 30; index++) {
      for (const topic of ['full', 'shared']) {
        const code = await publisher.publish(topic, 'x', { qos: index % 2 ? 1 : 2 });
        if (index >= 20) t.equal(code, 0x97, `${topic} ${index}`);
      }
    }
    const now = await balanced(t, nodes, 'two queues are full');
    t.equal(now.queued - before.queued, 40);
    t.equal(await dropped('queue_rejected'), 20);
  });

  await t.test('inbox_full: while the store does not take what is for another node', async (t) => {
    const passer = new MqttClient(t, { clientId: 'passer', version: 5 });
    await passer.connect(b.port);
    await passer.subscribe('pass', 0);
    await publisher.publish('pass', 'first');
    await eventually('it comes', () => passer.received.length === 1);
    const here = new MqttClient(t, { clientId: 'here', version: 5 });
    await here.connect(a.port);
    await here.subscribe('pass', 0);
    redis.pause();
    t.teardown(() => redis.resume());
    const COUNT = 400;
    for (let index = 0; index < COUNT; index++) await publisher.publish('pass', 'x'.repeat(30_000));
    await eventually('a receiver on the same node gets all of it', () => here.received.length === COUNT);
    const lost = (await a.metric('swarmq_messages_dropped_total', '"inbox_full"')) ?? 0;
    t.ok(lost > 80 && lost < 200, `${lost} of ${COUNT} had no room: 8 MB wait`);
    redis.resume();
    await eventually('the others come', () => passer.received.length === COUNT + 1 - lost);
    await balanced(t, nodes, 'Redis is back');
    await publisher.publish('pass', 'last');
    await eventually('and it goes on', () => passer.received.at(-1)?.payload.toString() === 'last');
    await balanced(t, nodes, 'all of it counts');
  });

  await t.test('superseded: copies that a newer message at QoS 0 has passed by', async (t) => {
    const TOPICS = 12;
    for (const clean of [true, false]) {
      const topic = (index: number) => `old/${clean}/${index}`;
      for (let index = 0; index < TOPICS; index++) {
        await publisher.publish(topic(index), 'old', { qos: 1, retain: true });
      }
      const before = await dropped('superseded');
      const clientId = `reader-${clean}`;
      const reader = new MqttClient(t, { clientId, version: 5, clean, acks: 'manual' });
      await reader.connect(b.port);
      await reader.subscribe(`old/${clean}/#`, 1);
      const copies = () => reader.received.filter(({ payload }) => payload.toString() === 'old');
      await eventually('the window is full', () => copies().length === 4);
      for (let index = 0; index < TOPICS; index++) {
        await publisher.publish(topic(index), 'new', { retain: true });
      }
      const news = () => reader.received.filter(({ payload }) => payload.toString() === 'new');
      await eventually('what is new has come', () => news().length === TOPICS);
      reader.options.acks = 'auto';
      for (const message of copies()) reader.ack(message);
      await eventually('the rest is dropped', async () => (await dropped('superseded')) - before > 0);
      const now = await balanced(t, nodes, `clean ${clean}`);
      t.equal(now.live, 0);
      t.equal(copies().length, 4, 'no old one comes behind a new one');
      await reader.disconnect();
    }
  });
});
