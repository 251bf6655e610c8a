// What can be seen of two running nodes: the pages of the admin port, and the $SYS topics of the whole cluster under the
// names that mosquitto gives them.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import t from 'tap';
import { METRICS } from '../../src/observability/metrics.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(120_000);
const run = promisify(execFile);
/** Owns clients that later tests still count. */
const whole = t;

let redis: RedisServer;
let a: SwarmqNode;
let b: SwarmqNode;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true, appendfsync: 'always' });
  const config = 'sys:\n  interval: 1s\n';
  [a, b] = (await startNodes(t, 2, { redis: redis.url, config })) as [SwarmqNode, SwarmqNode];
});

t.test('pages', async (t) => {
  t.same(JSON.parse((await a.admin('/livez')).body), { alive: true, state: 'ready' });
  const ready = await a.admin('/readyz');
  t.equal(ready.status, 200);
  t.same(JSON.parse(ready.body), { ready: true, reasons: [], state: 'ready' });
  t.match(JSON.parse((await a.admin('/')).body), { name: 'swarmq', node: 'a', state: 'ready' });
  t.equal((await a.admin('/nothing')).status, 404);
});

t.test('metrics: every one of the table, as Prometheus reads them', async (t) => {
  const answer = await fetch(`http://127.0.0.1:${a.adminPort}/metrics`);
  t.match(answer.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
  const body = await answer.text();
  for (const { name, type } of METRICS) t.ok(body.includes(`# TYPE ${name} ${type}\n`), name);
  for (const line of body.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (!/^[a-zA-Z_:][\w:]*(\{[^}]*\})? (-?[\d.e+-]+|\+Inf|NaN)$/.test(line)) t.fail(`not a sample: ${line}`);
  }
  await eventually('they know of each other', async () => (await a.metric('swarmq_cluster_nodes')) === 2);
  t.equal(await a.metric('swarmq_redis_up'), 1);
  t.equal(await a.metric('swarmq_state', 'ready'), 1);
});

t.test('figures of the node and of the cluster', async (t) => {
  const clients: MqttClient[] = [];
  for (const [index, node] of [a, b, b].entries()) {
    const client = new MqttClient(whole, { clientId: `seen-${index}`, version: 5, clean: false });
    await client.connect(node.port);
    await client.subscribe([`seen/${index}`, 'seen/+'], 1);
    clients.push(client);
  }
  t.equal(await a.metric('swarmq_sessions', 'connected'), 1);
  t.equal(await b.metric('swarmq_sessions', 'connected'), 2);
  t.equal(await a.metric('swarmq_sessions', 'stored'), 3);
  t.equal(await b.metric('swarmq_subscriptions', 'plain'), 2);
  t.equal(await b.metric('swarmq_subscriptions', 'wildcard'), 2);
  t.equal(await b.metric('swarmq_connections', 'tcp'), 2);
  const publisher = clients[0]!;
  await publisher.publish('seen/x', 'abc', { qos: 1, retain: true });
  await eventually('all get it', () => clients.every(({ received }) => received.length === 1));
  t.equal(await a.metric('swarmq_messages_received_total', 'qos="1"'), 1);
  t.equal(await a.metric('swarmq_retained_messages'), 1);
  t.equal(await a.metric('swarmq_publish_duration_seconds_count'), 1);
  const tookSeconds = (await a.metric('swarmq_publish_duration_seconds_sum')) as number;
  t.ok(tookSeconds > 0 && tookSeconds < 30, `${tookSeconds} s`);
  t.ok(((await a.metric('swarmq_commit_batch_messages_sum')) as number) >= 3, 'an enqueue for each session');
  t.ok(((await a.metric('swarmq_commit_duration_seconds_count')) as number) >= 1);
  await clients[2]!.disconnect();
  await publisher.publish('seen/x', 'abc', { qos: 1 });
  await eventually('it waits', async () => (await a.metric('swarmq_queue_messages')) === 1);
  t.ok(((await b.metric('swarmq_queue_bytes')) ?? 0) > 10);
  t.ok(((await a.metric('swarmq_routes')) ?? 0) >= 3);
});

t.test('$SYS of the cluster, to new and to present subscribers, on both nodes', async (t) => {
  for (const node of [a, b]) {
    const reader = new MqttClient(t, { clientId: `sys-${node.name}`, version: 5 });
    await reader.connect(node.port);
    await reader.subscribe('$SYS/broker/#', { qos: 1, retainAsPublished: true });
    await reader.subscribe(['$share/x/sys/1', '$share/y/sys/1'], 1);
    const value = (name: string) =>
      reader.received.findLast(({ topic }) => topic === `$SYS/broker/${name}`)?.payload.toString();
    await eventually('the tree is there at once', () => value('clients/total'), 1500);
    const first = reader.received.find(({ topic }) => topic === '$SYS/broker/version');
    t.match(first?.payload.toString(), /^swarmq version /);
    t.equal(first?.retain, true);
    // seen-0, seen-1 and this one, wherever they are connected; seen-2 has left its session behind.
    const figures = {
      'clients/connected': '3',
      'clients/disconnected': '1',
      'clients/total': '4',
      'retained messages/count': '1',
      // One waits, one is retained.
      'store/messages/count': '2',
      // Two of each session, of the one that is away too, and the reader's plain one.
      'subscriptions/count': '7',
      'shared_subscriptions/count': '2',
    };
    const told = () => Object.fromEntries(Object.keys(figures).map((name) => [name, value(name)]));
    const isTold = () => Object.entries(figures).every(([name, figure]) => value(name) === figure);
    // They are told one after another, and those of another node when that has told them.
    await eventually('the figures of both nodes', isTold, 15_000).catch(() => {});
    t.same(told(), figures);
    t.ok(Number(value('store/messages/bytes')) > 0);
    for (const name of [
      'uptime',
      'messages/received',
      'messages/sent',
      'publish/messages/received',
      'publish/messages/sent',
      'publish/messages/dropped',
      'publish/bytes/received',
      'publish/bytes/sent',
      'bytes/received',
      'bytes/sent',
      'heap/current',
      'clients/maximum',
      'clients/expired',
    ]) {
      t.match(value(name), /^\d+( seconds)?$/, name);
    }
    await eventually('load averages', () => value('load/messages/received/1min') !== undefined);
    const later = reader.received.length;
    await eventually('changes follow', () => reader.received.length > later, 5000);
    await reader.disconnect();
  }
});

t.test('$SYS is the broker\'s own, and "#" leaves it out', async (t) => {
  const { stdout } = await run('mosquitto_sub', [
    ...[
      '-h',
      '127.0.0.1',
      '-p',
      String(b.port),
      '-t',
      '$SYS/broker/clients/connected',
      '-C',
      '1',
      '-W',
      '10',
    ],
  ]);
  t.match(stdout, /^\d+\n$/, 'mosquitto_sub reads it');
  const all = new MqttClient(t, { clientId: 'all', version: 5 });
  await all.connect(a.port);
  await all.subscribe('#', 1);
  t.equal(await all.publish('$SYS/broker/version', 'mine', { qos: 1, retain: true }), 0x87, 'not authorized');
  await all.publish('plain', 'x', { qos: 1 });
  await eventually('what is not $SYS', () => all.received.some(({ topic }) => topic === 'plain'));
  t.notOk(all.received.some(({ topic }) => topic.startsWith('$')));
});

t.test('/readyz while the store is away', async (t) => {
  await redis.kill();
  await eventually('not ready', async () => (await a.admin('/readyz')).status === 503);
  const { ready, reasons, state } = JSON.parse((await a.admin('/readyz')).body);
  t.match({ ready, state }, { ready: false, state: 'degraded' });
  t.match(reasons.join(), /the store is not available: .+/);
  t.equal((await a.admin('/livez')).status, 200);
  const since = performance.now();
  t.equal(await a.metric('swarmq_redis_up'), 0, 'metrics are told all the same');
  t.ok(performance.now() - since < 3000, 'and soon');
  await redis.start();
  await eventually('ready again', async () => (await a.admin('/readyz')).status === 200, 20_000);
});
