// Bar 11: a client id has one live connection in the cluster: whoever connects last, and the one before is told so (G5).
// And the will of a client that moves is published as often as its connection deserves (G7).

import t from 'tap';
import { atMost, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { percentile } from '../helpers/history.ts';
import { type ConnectionRecord, MqttClient } from '../helpers/mqtt-client.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const TURNS = scale(1000, 100);
/** What such a node tells Redis arrives so late. */
const LINE_MS = 60;
let nodes: SwarmqNode[];
let redis: Awaited<ReturnType<typeof startRedis>>;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
  nodes = await startNodes(t, 2, { redis: redis.url });
});

for (const version of [5, 4] as const) {
  t.test(`the same client id connects to two nodes in turn, MQTT ${version}`, async (t) => {
    const client = new MqttClient(t, { clientId: `wanderer-${version}`, version, clean: false });
    const left: ConnectionRecord[] = [];
    const waits: number[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      const record = await client.connect(nodes[turn % 2]!.port);
      if (turn === 0) await client.subscribe('wanderer', 1);
      const before = left.at(-1);
      if (before) {
        await eventually('the connection before is closed', () => before.closedAt !== undefined, 5000);
        waits.push(before.closedAt! - record.connackAt);
      }
      if (turn > 0 && !record.sessionPresent) t.fail(`turn ${turn}: the session is gone`);
      if (turn < TURNS - 1) left.push(client.leaveOpen());
    }
    atMost(t, 'old connection closed after the later CONNACK, slowest', {
      measured: Math.max(...waits),
      bar: 1000,
      sanity: 3000,
    });
    t.comment(`median ${percentile(waits, 0.5).toFixed(1)} ms`);
    if (version === 5) {
      const codes = new Set(left.map(({ disconnectCode }) => disconnectCode));
      t.same([...codes], [0x8e], 'each was told: session taken over');
    }
    t.ok(client.isConnected, 'the last one lives');
    await client.publish('wanderer', 'still here', { qos: 1 });
    await eventually('and has the session', () => client.received.length === 1);
  });
}

t.test('many connect at once under one client id: one stays', async (t) => {
  for (let round = 0; round < scale(20, 5); round++) {
    const crowd = Array.from(
      { length: 8 },
      () => new MqttClient(t, { clientId: 'crowd', version: 5, clean: false }),
    );
    await Promise.allSettled(crowd.map((client, index) => client.connect(nodes[index % 2]!.port)));
    await eventually('one is left', () => crowd.filter((client) => client.isConnected).length <= 1, 5000);
    const alive = crowd.filter((client) => client.isConnected);
    t.equal(alive.length, 1, 'and one is');
    await alive[0]!.subscribe('crowd', 1);
    await alive[0]!.publish('crowd', 'x', { qos: 1 });
    await eventually('it works', () => alive[0]!.received.length >= 1);
    alive[0]!.cut();
  }
});

t.test('a client moves from a node whose line to Redis is long: no will behind DISCONNECT', async (t) => {
  const proxy = await startProxy(t, redis.port);
  const far = await startNode(t, { redis: `redis://127.0.0.1:${proxy.port}`, name: 'far' });
  const watcher = new MqttClient(t, { clientId: 'watcher' });
  await watcher.connect(nodes[1]!.port);
  await watcher.subscribe('status/#', 1);
  const told = () => watcher.received.map(({ topic, payload }) => `${topic} ${payload}`);
  proxy.delayMs = LINE_MS;
  const expected: string[] = [];
  for (const version of [4, 5] as const) {
    for (const leaves of [true, false]) {
      const topic = `status/${version}`;
      const will = { topic, payload: 'gone', qos: 1 as const, retain: true };
      const options = { clientId: `mover-${version}`, version, clean: true };
      const first = new MqttClient(t, { ...options, will });
      await first.connect(far.port);
      if (leaves) await first.disconnect();
      const second = new MqttClient(t, options);
      const began = performance.now();
      await second.connect(nodes[0]!.port);
      if (leaves) t.ok(performance.now() - began < 1000, 'CONNACK does not wait for the node before');
      await second.publish(topic, 'here', { qos: 1, retain: true });
      expected.push(...(leaves ? [] : [`${topic} gone`]), `${topic} here`);
      await eventually('what it says', () => told().length >= expected.length);
      t.same(
        told(),
        expected,
        leaves ? 'no will, also late' : 'the will of a connection that was there, and first',
      );
      await second.disconnect();
    }
  }
});
