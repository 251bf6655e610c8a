// Bar 9: a node that starts on very many sessions is ready soon, knows all their subscriptions, and pays little memory for
// one (G2).

import t from 'tap';
import { atMost, isFullScale, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { makeSessions } from '../helpers/session-maker.ts';
import { startNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const SESSIONS = scale(100_000, 5000);

t.test('a node starts on many sessions with three subscriptions each', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const emptyNode = await startNode(t, { redis: redis.url, name: 'empty' });
  const emptyBytes = emptyNode.residentBytes();
  t.comment(`ready without sessions after ${emptyNode.readyMs.toFixed(0)} ms`);
  await emptyNode.stop();

  const clientId = (index: number) => `device-${index}`;
  const filters = (index: number) => [
    `d/${index}/command`,
    `d/${index}/config/#`,
    `site/${index % 100}/+/alarm`,
  ];
  const started = performance.now();
  await makeSessions({ count: SESSIONS, ports: [a!.port, b!.port], clientId, filters, qos: 1 });
  const seconds = (performance.now() - started) / 1000;
  t.comment(`${SESSIONS} sessions made at ${(SESSIONS / seconds).toFixed(0)} a second`);

  const node = await startNode(t, { redis: redis.url, name: 'late' });
  atMost(t, 'ready after', { measured: node.readyMs, bar: 4000, sanity: 15_000 });
  const perSession = (node.residentBytes() - emptyBytes) / SESSIONS;
  // A few thousand sessions disappear in what a process takes anyway.
  if (isFullScale)
    atMost(t, 'memory per session', { measured: perSession, bar: 1000, sanity: 1000, unit: 'bytes' });

  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(node.port);
  for (const index of [0, 1, SESSIONS >> 1, SESSIONS - 1]) {
    for (const topic of [`d/${index}/command`, `d/${index}/config/a/b`, `site/${index % 100}/x/alarm`]) {
      await publisher.publish(topic, topic, { qos: 1 });
    }
    const device = new MqttClient(t, { clientId: clientId(index), clean: false });
    t.ok((await device.connect(node.port)).sessionPresent);
    const own = () => device.received.filter(({ topic }) => topic.startsWith(`d/${index}/`)).length;
    await eventually(`session ${index} gets its messages`, () => own() === 2 && device.received.length >= 3);
  }
});
