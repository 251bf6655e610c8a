// Drop accounting: over all nodes, what was matched is delivered, waiting or dropped by a named reason, whatever happened.
// Mixed traffic through two nodes on one Redis, with drops for every reason that a client can provoke.

import t from 'tap';
import { balanced, droppedBy, figures } from '../helpers/accounting.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const CONFIG = `
limits:
  maxInflightMessages: 8
  maxQueuedMessages: 20
  maxConnectionBytes: 64KB
  maxPacketSize: 64KB
cluster:
  lease: 1s
  renewEvery: 200ms
`;

t.test('matched = delivered + waiting + dropped', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const nodes = await startNodes(t, 2, { redis: redis.url, config: CONFIG });
  const [a, b] = nodes as [SwarmqNode, SwarmqNode];
  const dropped = (reason: string) => droppedBy(nodes, reason);
  const publisher = new MqttClient(t, { clientId: 'publisher', version: 5 });
  await publisher.connect(a.port);
  const open = async (
    node: SwarmqNode,
    clientId: string,
    filter: string,
    qos: 0 | 1 | 2,
    options: Partial<ConstructorParameters<typeof MqttClient>[1]> = {},
  ) => {
    const client = new MqttClient(t, { clientId, version: 5, ...options });
    await client.connect(node.port);
    await client.subscribe(filter, qos);
    return client;
  };

  await t.test('delivered: every QoS, persistent and not, on both nodes', async (t) => {
    const clients: MqttClient[] = [];
    for (const node of nodes)
      for (const clean of [true, false])
        for (const qos of [0, 1, 2] as const)
          clients.push(await open(node, `plain-${node.name}-${clean}-${qos}`, 'plain', qos, { clean }));
    for (let index = 0; index < 30; index++) {
      await publisher.publish('plain', `${index}`, { qos: (index % 3) as 0 | 1 | 2 });
    }
    await eventually('all arrive', () => clients.every(({ received }) => received.length === 30));
    const now = await balanced(t, nodes, 'all is delivered');
    t.equal(now.matched, 12 * 30);
    t.equal(now.delivered, 12 * 30);
    for (const client of clients) await client.disconnect();
  });

  await t.test('waiting, and dropped from a full queue', async (t) => {
    const sleeper = await open(b, 'sleeper', 'sleep', 1, { clean: false });
    await sleeper.disconnect();
    const before = await figures(nodes);
    for (let index = 0; index < 35; index++) await publisher.publish('sleep', 'x', { qos: 1 });
    const now = await balanced(t, nodes, 'a queue waits');
    t.equal(now.queued - before.queued, 20);
    t.equal(await dropped('queue_full'), 15);
    await sleeper.connect(a.port, { clean: true });
    await balanced(t, nodes, 'a clean start ends the session before');
    t.equal(await dropped('session_ended'), 20);
  });

  await t.test('sessions that end with messages waiting', async (t) => {
    const before = await dropped('session_ended');
    const short = await open(b, 'short', 'short', 2, { clean: false, sessionExpirySeconds: 1 });
    short.cut();
    for (let index = 0; index < 5; index++) await publisher.publish('short', 'x', { qos: 2 });
    await eventually('expired', async () => (await dropped('session_ended')) === before + 5);
    const leaver = await open(b, 'leaver', 'leave', 1, { clean: false, acks: 'never' });
    for (let index = 0; index < 12; index++) await publisher.publish('leave', 'x', { qos: 1 });
    await leaver.disconnect({ sessionExpirySeconds: 0 });
    await eventually('left', async () => (await dropped('session_ended')) === before + 17);
    const clean = await open(b, 'clean', 'clean', 1, { acks: 'never' });
    for (let index = 0; index < 12; index++) await publisher.publish('clean', 'x', { qos: 1 });
    await eventually('under way', () => clean.received.length === 8);
    const waiting = await balanced(t, nodes, 'a window and its backlog');
    t.equal(waiting.live, 12, '8 under way, 4 behind them');
    clean.cut();
    await eventually('ended', async () => (await dropped('session_ended')) === before + 29);
    await balanced(t, nodes, 'ended sessions');
  });

  await t.test('expired messages', async (t) => {
    const properties = { messageExpiryInterval: 1 };
    const late = await open(b, 'late', 'late', 1, { clean: false });
    await late.disconnect();
    for (let index = 0; index < 6; index++) await publisher.publish('late', 'x', { qos: 1, properties });
    await new Promise((resolve) => setTimeout(resolve, 1200));
    await late.connect(a.port);
    await eventually('expired', async () => (await dropped('expired')) === 6);
    t.equal(late.received.length, 0);
    await balanced(t, nodes, 'expired');
  });

  await t.test('messages that are larger than the client takes', async (t) => {
    const properties = { maximumPacketSize: 100 };
    for (const [clean, qos] of [
      [true, 0],
      [true, 1],
      [false, 1],
    ] as const) {
      const before = await dropped('client_packet_size');
      const small = await open(b, `small-${clean}-${qos}`, 'large', qos, { clean, properties });
      await publisher.publish('large', 'x'.repeat(200), { qos: 1 });
      await publisher.publish('large', 'fits', { qos: 1 });
      await eventually('the small one', () => small.received.length === 1);
      await eventually('told', async () => (await dropped('client_packet_size')) === before + 1);
      await small.disconnect();
    }
    await balanced(t, nodes, 'too large');
  });

  await t.test('clients that do not read', async (t) => {
    for (const qos of [0, 1] as const) {
      const before = await dropped('connection_full');
      const stuck = await open(b, `stuck-${qos}`, 'stuck', qos, { acks: 'never' });
      stuck.stopReading();
      let sent = 0;
      await eventually(
        'drops',
        async () => {
          for (let index = 0; index < 50; index++) {
            await publisher.publish('stuck', 'x'.repeat(32_000), { qos: 1 });
            sent++;
          }
          return (await dropped('connection_full')) > before;
        },
        60_000,
      );
      await balanced(t, nodes, `QoS ${qos}: ${sent} sent to one that does not read`);
      stuck.cut();
      await balanced(t, nodes, 'and it is gone');
    }
  });

  await t.test('retained messages for new subscriptions', async (t) => {
    for (let index = 0; index < 12; index++) {
      await publisher.publish(`kept/${index}`, 'x', { qos: 1, retain: true });
    }
    for (const clean of [true, false]) {
      for (const qos of [0, 1] as const) {
        const before = await figures(nodes);
        const reader = await open(b, `reader-${clean}-${qos}`, 'kept/#', qos, { clean });
        await eventually('all come', () => reader.received.length === 12);
        const now = await balanced(t, nodes, `retained, clean ${clean}, QoS ${qos}`);
        t.equal(now.matched - before.matched, 12);
        await reader.disconnect();
      }
    }
  });

  await t.test('moves between nodes, with messages sent again', async (t) => {
    const mover = await open(a, 'mover', 'move', 2, { clean: false, acks: 'manual' });
    for (let turn = 0; turn < 6; turn++) {
      for (let index = 0; index < 3; index++) await publisher.publish('move', 'x', { qos: turn % 2 ? 1 : 2 });
      mover.cut();
      await mover.connect((turn % 2 ? a : b).port);
    }
    await balanced(t, nodes, 'unacknowledged ones wait');
    mover.options.acks = 'auto';
    mover.cut();
    await mover.connect(b.port);
    await eventually('all is acknowledged', async () => (await figures(nodes)).queued === 0);
    await balanced(t, nodes, 'and count once');
  });

  await t.test('a group: each message once, also when it moves to another member', async (t) => {
    const filter = '$share/g/group';
    const before = await figures(nodes);
    const holder = await open(b, 'holder', filter, 2, { acks: 'never' });
    for (let index = 0; index < 12; index++) {
      await publisher.publish('group', 'x', { qos: (index % 3) as 0 | 1 | 2 });
    }
    const waiting = await balanced(t, nodes, 'a member that acknowledges nothing');
    t.equal(waiting.matched - before.matched, 12);
    const heirs = [await open(a, 'heir', filter, 1), await open(b, 'heir0', filter, 0)];
    holder.cut();
    await eventually(
      'what may go on has gone on',
      async () => (await figures(nodes)).queued === before.queued,
    );
    const now = await balanced(t, nodes, 'its session ended');
    t.equal(now.dropped - before.dropped, 6, 'QoS 2 was seen; two of QoS 1 are owed anew, at QoS 0');
    const got = () => heirs.reduce((sum, { received }) => sum + received.length, 0);
    await eventually('QoS 1 has come, and nothing else', () => got() === 4);
  });

  for (const reason of ['queue_full', 'session_ended', 'expired', 'client_packet_size', 'connection_full']) {
    t.comment(`${reason}: ${await dropped(reason)}`);
  }
});
