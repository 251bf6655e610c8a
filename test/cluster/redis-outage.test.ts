// Bar 4: while Redis is away nothing is acknowledged, nobody is disconnected, no will is published, QoS 0 on one node goes
// on; afterwards all of it resumes and nothing acknowledged is lost. The same when Sentinel moves the master (G1, G9).

import t, { type Test } from 'tap';
import { none, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe, type SentLog } from '../helpers/history.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import type { Owner } from '../helpers/owner.ts';
import { startRedis, startSentinelSet } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

interface Traffic {
  streams: { stream: StreamPublisher; online: MqttClient; offline: MqttClient; qos: Qos }[];
  clients: MqttClient[];
  acked(): number;
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** At QoS 1 and 2: a publisher on `a`, a connected session on `b`, an absent one, and a clean one that has a will. */
async function startTraffic(owner: Owner, a: SwarmqNode, b: SwarmqNode): Promise<Traffic> {
  const clients: MqttClient[] = [];
  const streams: Traffic['streams'] = [];
  for (const qos of [1, 2] as const) {
    const name = `q${qos}`;
    const will = { topic: 'wills', payload: name, qos: 1 as const, retain: false };
    const online = new MqttClient(owner, { clientId: `${name}-online`, clean: false, will });
    const offline = new MqttClient(owner, { clientId: `${name}-offline`, clean: false });
    const publisher = new MqttClient(owner, { clientId: `${name}-publisher`, clean: false, will });
    for (const client of [online, offline]) {
      await client.connect(b.port);
      await client.subscribe(`outage/${name}`, qos);
    }
    await offline.disconnect();
    await publisher.connect(a.port);
    const stream = new StreamPublisher(publisher, {
      publisher: name,
      topic: `outage/${name}`,
      qos,
      ratePerSecond: 1000,
    });
    streams.push({ stream: stream.start(), online, offline, qos });
    clients.push(online, publisher);
  }
  const watcher = new MqttClient(owner, { clientId: 'watcher', clean: false });
  await watcher.connect(a.port);
  await watcher.subscribe('wills', 1);
  clients.push(watcher);
  return { streams, clients, acked: () => streams.reduce((sum, { stream }) => sum + stream.log.acked, 0) };
}

async function judgeTraffic(t: Test, traffic: Traffic, b: SwarmqNode): Promise<void> {
  for (const { stream, online, offline, qos } of traffic.streams) {
    const log: SentLog = await stream.finish(60_000);
    await offline.connect(b.port);
    for (const [label, client] of [
      ['online', online],
      ['offline', offline],
    ] as const) {
      const verdict = await awaitDelivery(client, [log]);
      t.comment(`QoS ${qos} ${label}: ${describe(verdict)}`);
      none(t, `QoS ${qos} ${label}: acknowledged and lost`, verdict.lost);
      none(t, `QoS ${qos} ${label}: out of order`, verdict.disordered);
      if (qos === 2) none(t, `QoS ${qos} ${label}: given twice`, verdict.doubled);
    }
  }
  const stayed = traffic.clients.filter((client) => client.isConnected && client.connections.length === 1);
  t.equal(stayed.length, traffic.clients.length, 'no client connection was closed');
  const wills = traffic.clients.at(-1)!.received;
  t.same(
    wills.map(({ payload }) => String(payload)),
    [],
    'no will was published',
  );
}

t.test('Redis is killed and comes back', async (t) => {
  const redis = await startRedis(t, { appendonly: true, appendfsync: 'always' });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const traffic = await startTraffic(t, a!, b!);
  await eventually('traffic flows', () => traffic.acked() > 1000);

  const local = new MqttClient(t, { clientId: 'local' });
  await local.connect(a!.port);
  await local.subscribe('local');
  await redis.kill();
  await pause(300);
  const ackedAtKill = traffic.acked();
  await pause(scale(4700, 3700));
  t.equal(traffic.acked(), ackedAtKill, 'nothing is acknowledged while Redis is away');
  t.equal((await a!.admin('/readyz')).status, 503, 'not ready');
  t.equal((await a!.admin('/livez')).status, 200, 'but alive');
  await local.publish('local', 'x');
  await eventually('QoS 0 on one node goes on', () => local.received.length === 1, 2000);
  await redis.start();
  const back = performance.now();
  await eventually('acknowledgements come again', () => traffic.acked() > ackedAtKill + 500, 30_000);
  t.comment(`500 acknowledgements ${Math.round(performance.now() - back)} ms after Redis is back`);
  await eventually('ready again', async () => (await a!.admin('/readyz')).status === 200, 15_000);
  t.ok(a!.isRunning && b!.isRunning, 'no node ended');
  await judgeTraffic(t, traffic, b!);
});

t.test('Sentinel moves the master while one replica is asked for', async (t) => {
  const set = await startSentinelSet(t, { replicas: 2, downAfterMs: 1000, redis: { appendonly: true } });
  const [a, b] = await startNodes(t, 2, { redis: set.url, config: 'durability: replicas:1\n' });
  const traffic = await startTraffic(t, a!, b!);
  await eventually('traffic flows', () => traffic.acked() > 1000);
  const old = await set.master();
  const ackedAtKill = traffic.acked();
  await old.kill();
  const killed = performance.now();
  await eventually('another master', async () => (await set.master()) !== old, 30_000);
  await eventually('acknowledgements come again', () => traffic.acked() > ackedAtKill + 1000, 60_000);
  t.comment(`1,000 acknowledgements ${Math.round(performance.now() - killed)} ms after the kill`);
  await old.start();
  const before = traffic.acked();
  await eventually('and go on with the old master back', () => traffic.acked() > before + 1000, 30_000);
  t.ok(a!.isRunning && b!.isRunning, 'no node ended');
  await judgeTraffic(t, traffic, b!);
});
