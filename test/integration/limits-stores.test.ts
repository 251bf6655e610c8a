// The limits that the store keeps, exceeded on running nodes over each store: queues of sessions under both rules, and
// retained messages.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const WINDOW = 2;

const limits = (lines: Record<string, string | number>) =>
  `limits:\n  maxInflightMessages: ${WINDOW}\n${Object.entries(lines)
    .map(([key, value]) => `  ${key}: ${value}\n`)
    .join('')}`;

interface Store {
  name: string;
  open(t: Test): Promise<{ redis?: string }>;
}

const STORES: Store[] = [
  { name: 'embedded', open: async () => ({}) },
  { name: 'redis', open: async (t) => ({ redis: (await startRedis(t)).url }) },
];

/** An offline session on `queue/#`, a publisher, and a bystander with a session of its own on `by`. */
async function openQueue(t: Test, node: SwarmqNode) {
  const sleeper = new MqttClient(t, { clientId: 'sleeper', version: 5, clean: false });
  await sleeper.connect(node.port);
  await sleeper.subscribe('queue/#', 1);
  await sleeper.disconnect();
  const bystander = new MqttClient(t, { clientId: 'bystander', version: 5, clean: false });
  await bystander.connect(node.port);
  await bystander.subscribe(['by', 'queue/1'], 1);
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(node.port);
  return { sleeper, bystander, publisher };
}

const dropped = async (node: SwarmqNode, reason: string) =>
  (await node.metric('swarmq_messages_dropped_total', `reason="${reason}"`)) ?? 0;
const rejected = async (node: SwarmqNode, limit: string) =>
  (await node.metric('swarmq_limit_rejections_total', `limit="${limit}"`)) ?? 0;

/** The numbers of the messages that the session still has. */
async function wake(sleeper: MqttClient, node: SwarmqNode, count: number): Promise<number[]> {
  await sleeper.connect(node.port);
  await eventually('what is left arrives', () => sleeper.received.length >= count);
  await sleeper.subscribe('barrier', 0);
  return sleeper.received.map(({ payload }) => Number.parseInt(payload.toString(), 10));
}

for (const store of STORES) {
  t.test(`${store.name}: a full queue drops its oldest`, async (t) => {
    const node = await startNode(t, { ...(await store.open(t)), config: limits({ maxQueuedMessages: 10 }) });
    const { sleeper, bystander, publisher } = await openQueue(t, node);
    for (let index = 0; index < 30; index++) {
      t.equal(await publisher.publish('queue/2', `${index}`, { qos: 1 }), 0);
    }
    t.equal(await dropped(node, 'queue_full'), 20);
    t.equal(await node.metric('swarmq_queue_messages'), 10);
    t.equal(await publisher.publish('by', 'x', { qos: 1 }), 0, 'another session has room');
    await eventually('and gets it', () => bystander.received.length === 1);
    // The first of the queue may have been sent before: the window is kept, whatever the limit says.
    const left = await wake(sleeper, node, 10);
    t.same(left, [0, 1, 22, 23, 24, 25, 26, 27, 28, 29]);
    await eventually('the queue is empty', async () => (await node.metric('swarmq_queue_messages')) === 0);
  });

  t.test(`${store.name}: a full queue rejects the new message`, async (t) => {
    const config = limits({ maxQueuedMessages: 10, queueFullPolicy: 'reject' });
    const node = await startNode(t, { ...(await store.open(t)), config });
    const { sleeper, bystander, publisher } = await openQueue(t, node);
    const codes: number[] = [];
    for (let index = 0; index < 12; index++) {
      codes.push(await publisher.publish('queue/1', `${index}`, { qos: 1 }));
    }
    t.same(codes, [...new Array(10).fill(0), 0x97, 0x97], 'the publisher is told: quota exceeded');
    await eventually('a session that has room gets all of it', () => bystander.received.length === 12);
    t.equal(await publisher.publish('queue/1', 'x', { qos: 2 }), 0x97, 'in PUBREC at QoS 2');
    const old = new MqttClient(t, { clientId: 'old', version: 4 });
    await old.connect(node.port);
    await old.publish('queue/1', 'x', { qos: 1 });
    t.pass('MQTT 3.1.1 has no word for it: PUBACK comes');
    t.equal(await dropped(node, 'queue_rejected'), 4);
    t.equal(await rejected(node, 'queued_messages'), 4);
    t.same(await wake(sleeper, node, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  for (const policy of ['drop-oldest', 'reject']) {
    t.test(`${store.name}: bytes of a queue, ${policy}`, async (t) => {
      const config = limits({ maxQueuedBytes: '64KB', queueFullPolicy: policy });
      const node = await startNode(t, { ...(await store.open(t)), config });
      const { sleeper, publisher } = await openQueue(t, node);
      let refused = 0;
      for (let index = 0; index < 30; index++) {
        const payload = `${index}`.padEnd(8000, ' ');
        if ((await publisher.publish('queue/2', payload, { qos: 1 })) === 0x97) refused++;
      }
      const lost = await dropped(node, policy === 'reject' ? 'queue_rejected' : 'queue_full');
      t.equal(lost, 22, 'eight fit');
      t.equal(refused, policy === 'reject' ? 22 : 0);
      const bytes = (await node.metric('swarmq_queue_bytes')) ?? 0;
      t.ok(bytes > 8 * 8000 && bytes <= 65_536, `${bytes} bytes wait`);
      const left = await wake(sleeper, node, 8);
      t.same(left, policy === 'reject' ? [0, 1, 2, 3, 4, 5, 6, 7] : [0, 1, 24, 25, 26, 27, 28, 29]);
      await eventually('no bytes are left', async () => (await node.metric('swarmq_queue_bytes')) === 0);
    });
  }

  t.test(`${store.name}: number of retained messages`, async (t) => {
    const config = limits({ maxRetainedMessages: 64 });
    const node = await startNode(t, { ...(await store.open(t)), config });
    const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
    await publisher.connect(node.port);
    await publisher.subscribe('r/#', 0);
    const kept: string[] = [];
    const refused: string[] = [];
    for (let index = 0; index < 200; index++) {
      const topic = `r/${index}`;
      const code = await publisher.publish(topic, 'first', { qos: 1, retain: true });
      (code === 0x97 ? refused : kept).push(topic);
    }
    t.ok(kept.length >= 32 && kept.length <= 64, `${kept.length} of at most 64 are kept`);
    t.equal(await rejected(node, 'retained_messages'), refused.length);
    t.equal(publisher.received.length, 200, 'those who subscribe get it all the same');
    t.equal(
      await publisher.publish(kept[0]!, 'second', { qos: 1, retain: true }),
      0,
      'a kept one may change',
    );
    t.equal(await publisher.publish(kept[1]!, '', { qos: 1, retain: true }), 0, 'and go');
    const reader = new MqttClient(t, { clientId: 'reader', version: 5 });
    await reader.connect(node.port);
    await reader.subscribe('r/#', 1);
    await eventually('the kept ones arrive', () => reader.received.length === kept.length - 1);
    t.equal(reader.received.find(({ topic }) => topic === kept[0])?.payload.toString(), 'second');
    t.equal(await node.metric('swarmq_retained_messages'), kept.length - 1);
  });

  t.test(`${store.name}: bytes of retained messages`, async (t) => {
    const config = limits({ maxRetainedBytes: '256KB' });
    const node = await startNode(t, { ...(await store.open(t)), config });
    const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
    await publisher.connect(node.port);
    let refused = 0;
    for (let index = 0; index < 200; index++) {
      const options = { qos: 1, retain: true } as const;
      if ((await publisher.publish(`r/${index}`, 'x'.repeat(4096), options)) === 0x97) refused++;
    }
    t.ok(refused >= 200 - 64, `${refused} of 200 are refused`);
    t.equal(await rejected(node, 'retained_messages'), refused);
    const bytes = (await node.metric('swarmq_retained_bytes')) ?? 0;
    t.ok(bytes > 64_000 && bytes <= 262_144, `${bytes} bytes are kept`);
  });
}
