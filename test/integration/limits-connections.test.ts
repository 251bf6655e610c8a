// The limits on connections and on what a node holds in memory for them: each exceeded on a running node, counted, and
// without harm to a bystander.

import { connect, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { droppedBy } from '../helpers/accounting.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(240_000);

const rejections = async (node: SwarmqNode, limit: string) =>
  (await node.metric('swarmq_limit_rejections_total', `limit="${limit}"`)) ?? 0;

async function join(t: Test, node: SwarmqNode, clientId: string, options = {}): Promise<MqttClient> {
  const client = new MqttClient(t, { clientId, version: 5, ...options });
  await client.connect(node.port);
  return client;
}

/** A socket that has said nothing yet. */
function knock(t: Test, node: SwarmqNode, localAddress?: string): { socket: Socket; isClosed(): boolean } {
  const socket = connect({ port: node.port, host: '127.0.0.1', localAddress });
  let isClosed = false;
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
  });
  t.teardown(() => socket.destroy());
  return { socket, isClosed: () => isClosed };
}

for (const [limit, config] of [
  ['connections', 'limits:\n  maxConnections: 3\n'],
  ['listener_connections', 'listeners:\n  tcp:\n    maxConnections: 3\n'],
  ['connections_per_source', 'listeners:\n  tcp:\n    maxConnectionsPerSource: 3\n'],
] as const) {
  t.test(limit, async (t) => {
    const node = await startNode(t, { config });
    const clients = [await join(t, node, '1'), await join(t, node, '2'), await join(t, node, '3')];
    for (let index = 0; index < 5; index++) await t.rejects(join(t, node, 'more'));
    await eventually('counted', async () => (await rejections(node, limit)) === 5);
    if (limit === 'connections_per_source') {
      const other = new MqttClient(t, {
        clientId: 'elsewhere',
        version: 5,
        open: (port) => connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' }),
      });
      await other.connect(node.port);
      t.pass('another source has room');
    }
    await clients[0]!.subscribe('t', 1);
    await clients[1]!.publish('t', 'x', { qos: 1 });
    await eventually('those inside are served', () => clients[0]!.received.length === 1);
    await clients[2]!.disconnect();
    await eventually('a place that is free can be taken', () => join(t, node, 'next'));
  });
}

t.test('before CONNECT: time and bytes', async (t) => {
  const config = 'listeners:\n  tcp:\n    connectTimeout: 500ms\n    preConnectMaxBytes: 2KB\n';
  const node = await startNode(t, { config });
  const bystander = await join(t, node, 'bystander');
  const silent = knock(t, node);
  const half = knock(t, node);
  half.socket.write(Buffer.from([0x10, 0x20, 0, 4]));
  await eventually('both are closed', () => silent.isClosed() && half.isClosed(), 5000);
  t.equal(await rejections(node, 'connect_timeout'), 2);
  const talker = knock(t, node);
  // A CONNECT of 16 KB that never ends.
  talker.socket.write(Buffer.concat([Buffer.from([0x10, 0x80, 0x80, 0x01]), Buffer.alloc(3000)]));
  await eventually('closed', talker.isClosed, 5000);
  t.equal(await rejections(node, 'pre_connect_bytes'), 1);
  await new Promise((resolve) => setTimeout(resolve, 600));
  t.ok(bystander.isConnected, 'the time is for CONNECT alone');
});

t.test('bytes waiting for one connection', async (t) => {
  const node = await startNode(t, {
    config: 'limits:\n  maxConnectionBytes: 256KB\n  maxPacketSize: 128KB\n',
  });
  const publisher = await join(t, node, 'publisher');
  const healthy = await join(t, node, 'healthy');
  await healthy.subscribe('data', 0);
  const stuck: MqttClient[] = [];
  for (let index = 0; index < 20; index++) {
    const client = await join(t, node, `stuck-${index}`);
    await client.subscribe('data', 0);
    client.stopReading();
    stuck.push(client);
  }
  const before = node.residentBytes();
  let sent = 0;
  const full = () => node.metric('swarmq_messages_dropped_total', 'connection_full');
  await eventually(
    'all of them miss something',
    async () => {
      for (let index = 0; index < 20; index++)
        await publisher.publish('data', 'x'.repeat(50_000), { qos: 1 });
      sent += 20;
      return ((await full()) ?? 0) > 20 * stuck.length;
    },
    60_000,
  );
  await eventually('a healthy one misses nothing', () => healthy.received.length === sent);
  const outbox = (await node.metric('swarmq_outbox_bytes')) ?? 0;
  t.ok(outbox > 0 && outbox <= 20 * (262_144 + 100_000), `${outbox} bytes wait in all`);
  const grown = node.residentBytes() - before;
  t.ok(grown < 150e6, `memory grew by ${(grown / 1e6).toFixed(0)} MB`);
  t.ok(
    stuck.every(({ isConnected }) => isConnected),
    'nobody is thrown out for reading slowly',
  );

  // Answers cannot be dropped: a client that asks and never reads the answers goes.
  const asker = knock(t, node);
  asker.socket.pause();
  asker.socket.write(Buffer.from('100d00044d5154540402000000015a', 'hex'));
  const pings = Buffer.alloc(200_000, Buffer.from([0xc0, 0]));
  const flood = setInterval(() => asker.socket.writableLength < 1e6 && asker.socket.write(pings), 5);
  t.teardown(() => clearInterval(flood));
  await eventually('closed', async () => (await rejections(node, 'connection_bytes')) === 1, 60_000);
  clearInterval(flood);
});

t.test('uncommitted messages, of a connection and of the node', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const config = 'limits:\n  maxUncommittedPerConnection: 50\n  maxUncommittedMessages: 120\n';
  const node = await startNode(t, { redis: redis.url, config });
  const receiver = await join(t, node, 'receiver', { clean: false });
  await receiver.subscribe(['data', 'live'], 1);
  const live = await join(t, node, 'live');
  await live.subscribe('live', 0);
  const publishers: MqttClient[] = [];
  for (let index = 0; index < 4; index++) {
    publishers.push(await join(t, node, `publisher-${index}`, { version: 4 }));
  }
  redis.pause();
  t.teardown(() => redis.resume());
  let acked = 0;
  for (const publisher of publishers) {
    for (let index = 0; index < 2000; index++) {
      publisher.publishThen('data', `${index}`, { qos: 1 }, (outcome) => {
        if (outcome === 0) acked++;
      });
    }
  }
  await eventually('some are held', async () => (await rejections(node, 'uncommitted_per_connection')) >= 1);
  await eventually('the node is full', async () => (await rejections(node, 'uncommitted_messages')) >= 1);
  const waiting = (await node.metric('swarmq_uncommitted_messages')) ?? 0;
  t.ok(waiting >= 100 && waiting <= 4 * 50, `${waiting} of 8000 are taken in`);
  t.ok(((await node.metric('swarmq_connections_held')) ?? 0) >= 2);
  t.equal(acked, 0, 'nothing is acknowledged that is not committed');
  // QoS 0 between clients of this node needs no store.
  await live.publish('live', 'x');
  await eventually('QoS 0 goes on', () => live.received.length >= 1);
  redis.resume();
  await eventually('all are acknowledged', () => acked === 8000, 60_000);
  await eventually(
    'and delivered',
    () => receiver.received.filter(({ qos }) => qos === 1).length === 8000,
    60_000,
  );
  t.equal(await node.metric('swarmq_uncommitted_messages'), 0);
  t.equal(await node.metric('swarmq_uncommitted_bytes'), 0);
  t.equal(await node.metric('swarmq_connections_held'), 0);
});

t.test('uncommitted bytes of the node', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const node = await startNode(t, { redis: redis.url, config: 'limits:\n  maxUncommittedBytes: 1MB\n' });
  const receiver = await join(t, node, 'receiver', { clean: false });
  await receiver.subscribe('data', 1);
  const publishers = [await join(t, node, 'publisher-0'), await join(t, node, 'publisher-1')];
  redis.pause();
  t.teardown(() => redis.resume());
  let acked = 0;
  for (let index = 0; index < 200; index++) {
    for (const publisher of publishers) {
      publisher.publishThen('data', `${index}`.padEnd(16_000, ' '), { qos: 1 }, (outcome) => {
        if (outcome === 0) acked++;
      });
    }
  }
  await eventually('the node is full', async () => (await rejections(node, 'uncommitted_bytes')) >= 1);
  await eventually('both are held', async () => (await node.metric('swarmq_connections_held')) === 2);
  const bytes = (await node.metric('swarmq_uncommitted_bytes')) ?? 0;
  t.ok(bytes >= 1_048_576 && bytes < 1_048_576 + 2 * 65_536, `${bytes} of 6.4 MB are taken in`);
  t.equal(await rejections(node, 'uncommitted_messages'), 0);
  t.equal(acked, 0);
  redis.resume();
  await eventually('all are acknowledged', () => acked === 400, 60_000);
  await eventually('and delivered', () => receiver.received.length === 400, 60_000);
  t.equal(await node.metric('swarmq_uncommitted_bytes'), 0);
  t.equal(await node.metric('swarmq_connections_held'), 0);
});

t.test('members of a group, wherever they are connected', async (t) => {
  const redis = await startRedis(t);
  const nodes = await startNodes(t, 2, { redis: redis.url, config: 'limits:\n  maxGroupMembers: 3\n' });
  const [a, b] = nodes as [SwarmqNode, SwarmqNode];
  const FILTER = '$share/g/work';
  const members: MqttClient[] = [];
  for (const node of [a, b, a]) {
    const member = await join(t, node, `member-${members.length}`, { clean: false });
    t.same(await member.subscribe(FILTER, 1), [1]);
    members.push(member);
  }
  for (const node of [a, b]) {
    const late = await join(t, node, `late-${node.name}`);
    t.same(await late.subscribe([FILTER, '$share/other/work', 'work/x'], 1), [0x97, 1, 1], 'that group only');
    t.equal(await rejections(node, 'group_members'), 1);
    const old = await join(t, node, `old-${node.name}`, { version: 4 });
    t.same(await old.subscribe(FILTER, 1), [0x80]);
    t.equal(await rejections(node, 'group_members'), 2);
  }
  t.same(await members[1]!.subscribe(FILTER, 2), [2], 'who is in it may subscribe again');
  await members[0]!.disconnect();
  const next = await join(t, b, 'next');
  t.same(await next.subscribe(FILTER, 1), [0x97], 'who is away is a member');
  await members[1]!.unsubscribe(FILTER);
  await eventually('there is room again', async () => (await next.subscribe(FILTER, 1))[0] === 1);
});

t.test('bytes that wait for another node', async (t) => {
  const redis = await startRedis(t);
  const config = 'limits:\n  maxPeerBytes: 64KB\ncluster:\n  lease: 60s\n  renewEvery: 500ms\n';
  const [a, b] = (await startNodes(t, 2, { redis: redis.url, config })) as [SwarmqNode, SwarmqNode];
  const passer = await join(t, b, 'passer');
  await passer.subscribe('data', 0);
  const neighbour = await join(t, a, 'neighbour');
  await neighbour.subscribe('data', 0);
  const publisher = await join(t, a, 'publisher');
  await publisher.publish('data', 'first', { qos: 1 });
  await eventually('both get it', () => passer.received.length === 1 && neighbour.received.length === 1);
  const dropped = () => droppedBy([a, b], 'inbox_full');
  redis.pause();
  for (let index = 0; index < 50; index++) {
    await publisher.publish('data', `${index}`.padEnd(4000, ' '), { qos: 0 });
  }
  await eventually('who is on the same node gets all', () => neighbour.received.length === 51);
  const lost = await dropped();
  t.ok(lost > 25 && lost < 45, `${lost} of 200 KB are beyond it`);
  redis.resume();
  await eventually('the others come', () => passer.received.length === 51 - lost, 30_000);
  await publisher.publish('data', 'last', { qos: 0 });
  await eventually('and it goes on', () => passer.received.at(-1)?.payload.toString() === 'last');
  t.equal(await dropped(), lost);
});

t.test('bytes of an inbox', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  // A lease that outlives the pause: the node is not dead, it only does not read.
  const config = 'limits:\n  maxInboxBytes: 1MB\ncluster:\n  lease: 60s\n  renewEvery: 500ms\n';
  const [a, b] = (await startNodes(t, 2, { redis: redis.url, config })) as [SwarmqNode, SwarmqNode];
  const keeper = await join(t, b, 'keeper', { clean: false });
  await keeper.subscribe('data', 1);
  const passer = await join(t, b, 'passer');
  await passer.subscribe('data', 0);
  const publisher = await join(t, a, 'publisher');
  await publisher.publish('data', 'first', { qos: 1 });
  await eventually('both get it', () => keeper.received.length === 1 && passer.received.length === 1);
  b.sigstop();
  t.teardown(() => b.sigcont());
  for (let index = 0; index < 200; index++) {
    t.equal(await publisher.publish('data', `${index}`.padEnd(20_000, ' '), { qos: 1 }), 0);
  }
  let size = 0;
  for (const inbox of (await redis.command('KEYS', '*:inbox')) as string[]) {
    size = Math.max(size, Number(await redis.command('MEMORY', 'USAGE', inbox, 'SAMPLES', 0)));
  }
  t.ok(size < 2e6, `the inbox takes ${size} bytes of 4 MB and more`);
  b.sigcont();
  await eventually('a session with a queue misses nothing', () => keeper.received.length === 201, 30_000);
  t.same(
    keeper.received.slice(1).map(({ payload }) => Number.parseInt(payload.toString(), 10)),
    Array.from({ length: 200 }, (_none, index) => index),
  );
  await eventually('the gap is counted', async () => (await rejections(b, 'inbox_bytes')) >= 1);
  await publisher.publish('data', 'last', { qos: 1 });
  await eventually('and it goes on', () => passer.received.at(-1)?.payload.toString() === 'last');
});
