// A Redis that is there and does not do as it should: read-only, slow, or with one master of a Cluster frozen for longer
// than a lease. Nothing acknowledged is lost, no connection is closed, no node is declared dead and no will is published
// for it (G1, G8, G9); and a flood meets bounded memory in a node that waits for its store.

import { connect as openSocket, type Socket } from 'node:net';
import mqtt from 'mqtt-packet';
import t, { type Test } from 'tap';
import { none } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import { freePort, type Owner } from '../helpers/owner.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { type SwarmqNode, startNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(300_000);

const LEASE_MS = 1500;
const CONFIG = `cluster:\n  lease: ${LEASE_MS}ms\n  renewEvery: 300ms\n  sweepEvery: 200ms\n`;
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Streams from clients of one node to sessions of another; everybody has a will. */
class Traffic {
  readonly lines: { stream: StreamPublisher; subscriber: MqttClient }[] = [];
  readonly clients: MqttClient[] = [];
  readonly watcher: MqttClient;

  static async start(owner: Owner, a: SwarmqNode, b: SwarmqNode, count: number): Promise<Traffic> {
    const traffic = new Traffic(owner);
    await traffic.watcher.connect(a.port);
    await traffic.watcher.subscribe('wills/#', 1);
    for (let index = 0; index < count; index++) await traffic.#add(owner, a, b, index);
    await eventually('traffic flows', () => traffic.lines.every(({ stream }) => stream.log.acked > 50));
    return traffic;
  }

  private constructor(owner: Owner) {
    this.watcher = new MqttClient(owner, { clientId: 'watcher', clean: false });
    this.clients.push(this.watcher);
  }

  async #add(owner: Owner, a: SwarmqNode, b: SwarmqNode, index: number): Promise<void> {
    const name = `line${index}`;
    const clientOf = (role: string) => {
      const will = { topic: `wills/${name}`, payload: Buffer.from(role), qos: 1 as const, retain: false };
      return new MqttClient(owner, { clientId: `${name}-${role}`, clean: false, will });
    };
    const [subscriber, publisher] = [clientOf('subscriber'), clientOf('publisher')];
    await subscriber.connect(b.port);
    await subscriber.subscribe(name, 2);
    await publisher.connect(a.port);
    this.clients.push(subscriber, publisher);
    const qos = index % 2 === 0 ? 1 : 2;
    const stream = new StreamPublisher(publisher, { publisher: name, topic: name, qos, ratePerSecond: 100 });
    this.lines.push({ stream: stream.start(), subscriber });
  }

  acked(): number {
    return this.lines.reduce((sum, { stream }) => sum + stream.log.acked, 0);
  }

  async judge(t: Test, nodes: readonly SwarmqNode[]): Promise<void> {
    for (const { stream, subscriber } of this.lines) {
      const log = await stream.finish(60_000);
      const verdict = await awaitDelivery(subscriber, [log]);
      t.comment(describe(verdict));
      none(t, 'acknowledged and lost', verdict.lost);
      none(t, 'out of order', verdict.disordered);
      if (log.qos[0] === 2) none(t, 'given twice', verdict.doubled);
    }
    const stayed = this.clients.filter(
      ({ isConnected, connections }) => isConnected && connections.length === 1,
    );
    t.equal(stayed.length, this.clients.length, 'no connection was closed');
    t.same(this.watcher.received, [], 'no will was published');
    for (const node of nodes) t.notMatch(node.log, 'declared dead', `${node.name} was not declared dead`);
  }
}

t.test('a single Redis is made read-only, and a master again', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = (await startNodes(t, 2, { redis: redis.url, config: CONFIG })) as [SwarmqNode, SwarmqNode];
  const traffic = await Traffic.start(t, a, b, 2);
  // It follows a server that is not there: what it has stays, and writes are refused.
  await redis.command('REPLICAOF', '127.0.0.1', await freePort());
  await pause(300);
  const before = traffic.acked();
  await eventually('not ready', async () => (await a.admin('/readyz')).status === 503);
  await pause(2 * LEASE_MS);
  t.equal(traffic.acked(), before, 'nothing is acknowledged meanwhile');
  await redis.command('REPLICAOF', 'NO', 'ONE');
  await eventually('acknowledgements come again', () => traffic.acked() > before + 100, 30_000);
  await traffic.judge(t, [a, b]);
});

t.test('a Redis that answers late, in the end later than a lease is long', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const proxy = await startProxy(t, redis.port);
  const url = `redis://127.0.0.1:${proxy.port}`;
  const [a, b] = (await startNodes(t, 2, { redis: url, config: CONFIG })) as [SwarmqNode, SwarmqNode];
  const traffic = await Traffic.start(t, a, b, 2);
  for (const delayMs of [50, 200]) {
    proxy.delayMs = delayMs;
    const before = traffic.acked();
    await eventually(`it goes on at ${delayMs} ms each way`, () => traffic.acked() > before + 200, 30_000);
  }
  proxy.delayMs = LEASE_MS;
  await pause(4 * LEASE_MS);
  proxy.delayMs = 0;
  const before = traffic.acked();
  await eventually('it goes on', () => traffic.acked() > before + 200, 30_000);
  await traffic.judge(t, [a, b]);
});

t.test('interleaving 23: each master of a Redis Cluster frozen for longer than a lease', async (t) => {
  const cluster = await startRedisCluster(t, { config: { 'cluster-node-timeout': '60000' } });
  const [a, b] = (await startNodes(t, 2, { redis: cluster.url, config: CONFIG })) as [SwarmqNode, SwarmqNode];
  const traffic = await Traffic.start(t, a, b, 6);
  for (const [at, master] of cluster.masters.entries()) {
    const acked = traffic.lines.map(({ stream }) => stream.log.acked);
    master.pause();
    await pause(2 * LEASE_MS);
    const going = traffic.lines.filter(({ stream }, index) => stream.log.acked > acked[index]! + 50);
    master.resume();
    // Leases and log lie on one of them: everybody waits for that one.
    t.comment(`master ${at}: ${going.length} of ${traffic.lines.length} lines went on`);
    const before = traffic.lines.map(({ stream }) => stream.log.acked);
    await eventually(
      'all go on',
      () => traffic.lines.every(({ stream }, index) => stream.log.acked > before[index]! + 20),
      30_000,
    );
  }
  await traffic.judge(t, [a, b]);
});

/** Writes the same packets over and over, whatever is answered; stops where the broker does not read. */
function flood(
  owner: Owner,
  port: number,
  clientId: string,
  packet: Buffer,
): { socket: Socket; sent: () => number } {
  const socket = openSocket({ port, host: '127.0.0.1' });
  const connect = { cmd: 'connect', clientId, clean: true, keepalive: 0, protocolVersion: 4 } as const;
  socket.write(mqtt.generate(connect));
  let bytes = 0;
  const chunk = Buffer.concat(Array.from({ length: 50 }, () => packet));
  const write = () => {
    if (socket.destroyed) return;
    bytes += chunk.length;
    if (socket.write(chunk)) setImmediate(write);
    else socket.once('drain', write);
  };
  socket.once('data', write);
  socket.on('data', () => {}).on('error', () => {});
  owner.teardown(() => socket.destroy());
  return { socket, sent: () => bytes };
}

t.test('floods at every QoS against a node whose store is slow: memory is bounded', async (t) => {
  const redis = await startRedis(t);
  const proxy = await startProxy(t, redis.port);
  const limits =
    'maxUncommittedMessages: 2000\n  maxUncommittedBytes: 4MB\n  maxUncommittedPerConnection: 200';
  const node = await startNode(t, {
    redis: `redis://127.0.0.1:${proxy.port}`,
    config: `limits:\n  ${limits}\n  maxPacketSize: 64KB\n  maxConnectionBytes: 256KB\n  maxQueuedMessages: 1000\n`,
  });
  const away = new MqttClient(t, { clientId: 'away', clean: false });
  await away.connect(node.port);
  await away.subscribe('flood/#', 2);
  await away.disconnect();
  const stuck = new MqttClient(t, { clientId: 'stuck' });
  await stuck.connect(node.port);
  await stuck.subscribe('flood/#', 0);
  stuck.stopReading();
  const quiet = new MqttClient(t, { clientId: 'quiet' });
  await quiet.connect(node.port);
  await quiet.subscribe('quiet', 0);
  const base = node.residentBytes();
  proxy.delayMs = 20;

  const floods = [0, 0, 1, 1, 1, 1, 2, 2].map((qos, index) => {
    const payload = Buffer.alloc(2000, index);
    const common = { cmd: 'publish', topic: `flood/${index}`, payload, retain: false, dup: false } as const;
    const packet = mqtt.generate({ ...common, qos: qos as 0 | 1 | 2, messageId: 1 + index });
    return flood(t, node.port, `flood-${index}`, packet);
  });
  let highest = 0;
  const sent = () => floods.reduce((sum, one) => sum + one.sent(), 0);
  const started = performance.now();
  await eventually(
    'much more was offered than fits',
    () => {
      highest = Math.max(highest, node.residentBytes());
      return sent() > 1e9 && performance.now() - started > 5000;
    },
    60_000,
  );
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
  t.comment(`offered ${megabytes(sent())}, memory from ${megabytes(base)} to ${megabytes(highest)}`);
  t.ok(highest - base < 200e6, 'and not kept');
  t.ok(
    ((await node.metric('swarmq_limit_rejections_total', 'uncommitted')) ?? 0) > 0,
    'publishers were held',
  );
  await quiet.publish('quiet', 'x');
  await eventually('others are served', () => quiet.received.length === 1);
  for (const { socket } of floods) socket.destroy();
  proxy.delayMs = 0;
  t.equal(await quiet.publish('flood/last', 'x', { qos: 1 }), 0, 'and the store goes on');
});
