// Bar 11: a client id has one live connection in the cluster: whoever connects last, and the one before is told so (G5).

import t from 'tap';
import { atMost, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { percentile } from '../helpers/history.ts';
import { type ConnectionRecord, MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const TURNS = scale(1000, 100);
let nodes: SwarmqNode[];

t.before(async () => {
  const redis = await startRedis(t, { appendonly: true });
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
