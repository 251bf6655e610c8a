// Bar 8: a publish that thousands of absent sessions match is acknowledged soon, its payload is stored once, and others
// hardly notice (G1, G8).

import t from 'tap';
import { atMost, LatencyProbe, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { percentile } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { makeSessions } from '../helpers/session-maker.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const SESSIONS = scale(5000, 2000);
const PAYLOAD_BYTES = 50_000;
const ROUNDS = 10;

t.test('interleaving 17: one message for thousands of sessions that are away', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const memory = async () => Number((await redis.info('memory')).get('used_memory'));
  const clientId = (index: number) => `away-${index}`;
  await makeSessions({
    count: SESSIONS,
    ports: [a!.port, b!.port],
    clientId,
    filters: () => ['fan/#'],
    qos: 1,
  });

  const probe = await new LatencyProbe(t, { name: 'bystander', from: a!.port, to: b!.port }).start();
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  await eventually('the bystander runs', () => probe.take().length > 0);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const quiet = percentile(probe.take(), 0.95);

  // The first one meets a node that has never done this and a Redis that makes 5,000 new keys.
  const first = performance.now();
  await publisher.publish('fan/first', Buffer.alloc(PAYLOAD_BYTES), { qos: 1 });
  t.comment(`the first of all acknowledged after ${(performance.now() - first).toFixed(0)} ms`);
  probe.take();

  const before = await memory();
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    await publisher.publish(`fan/${round}`, Buffer.alloc(PAYLOAD_BYTES, round), { qos: 1 });
    times.push(performance.now() - started);
    // Far enough apart that most of the bystander's messages meet the middle of one, not the queue behind all.
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  const busy = percentile(probe.take(), 0.95);
  const perEntry = ((await memory()) - before - ROUNDS * PAYLOAD_BYTES) / (ROUNDS * SESSIONS);
  t.comment(`acknowledged after, each in ms: ${times.map((ms) => ms.toFixed(0)).join(' ')}`);
  atMost(t, 'acknowledged after, median of ten', {
    measured: percentile(times, 0.5),
    bar: 200,
    sanity: 2000,
  });
  atMost(t, 'memory of an entry beside its payload', {
    measured: perEntry,
    bar: 400,
    sanity: 1000,
    unit: 'bytes',
  });
  t.comment(`bystander p95: quiet ${quiet.toFixed(1)} ms, meanwhile ${busy.toFixed(1)} ms`);
  // Below a millisecond or two the machine, not the broker, makes the difference.
  atMost(t, 'bystander p95', { measured: busy, bar: 2 * Math.max(quiet, 2), sanity: 1000 });
  await probe.finish(t);

  const last = new MqttClient(t, { clientId: clientId(SESSIONS - 1), clean: false });
  await last.connect(b!.port);
  await eventually('a session gets all of them', () => last.received.length === 1 + ROUNDS);
  const rounds = last.received.slice(1);
  t.ok(rounds.every(({ payload }, round) => payload.length === PAYLOAD_BYTES && payload[0] === round));
});
