// Bar 14: subscribers that never read delay nobody, hold no more memory than configured, and what they miss is counted by
// reason (G8).

import t from 'tap';
import { atMost, latencies, PATIENCE_MS, p99, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const STUCK = 200;
const HEALTHY = 10;
const PAYLOAD_BYTES = 8192;
const CONNECTION_BYTES = 262_144;
const RATE = 150;
const PHASE_MS = scale(10_000, 4000);

t.test('200 stuck subscribers beside 10 healthy ones', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const config = `limits:\n  maxConnectionBytes: ${CONNECTION_BYTES}\n  maxPacketSize: 64KB\n`;
  const [a, b] = await startNodes(t, 2, { redis: redis.url, config });
  const healthy: MqttClient[] = [];
  for (let index = 0; index < HEALTHY; index++) {
    const client = new MqttClient(t, { clientId: `healthy-${index}` });
    await client.connect(b!.port);
    await client.subscribe('crowded', 0);
    healthy.push(client);
  }
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  const options = {
    publisher: 'p',
    topic: 'crowded',
    qos: 0 as const,
    ratePerSecond: RATE,
    payloadBytes: PAYLOAD_BYTES,
  };
  const stream = new StreamPublisher(publisher, options).start();
  t.teardown(() => stream.stop());
  const measure = async () => {
    const marks = healthy.map(({ received }) => received.length);
    await new Promise((resolve) => setTimeout(resolve, PHASE_MS));
    return p99(healthy.flatMap((client, index) => latencies(client, stream.log, marks[index])));
  };
  await eventually('messages come', () => healthy.every(({ received }) => received.length > RATE));
  const quiet = await measure();

  const before = b!.residentBytes();
  const stuck: MqttClient[] = [];
  for (let index = 0; index < STUCK; index++) {
    const client = new MqttClient(t, { clientId: `stuck-${index}`, acks: 'never' });
    await client.connect(b!.port);
    await client.subscribe('crowded', 0);
    client.stopReading();
    stuck.push(client);
  }
  const dropped = async () => (await b!.metric('swarmq_messages_dropped_total')) ?? 0;
  // Each takes what its socket and its outbox hold before anything is dropped.
  await eventually(
    'every stuck subscriber misses something',
    async () => (await dropped()) >= STUCK * 10,
    120_000,
  );
  const crowded = await measure();
  t.comment(`p99 quiet ${quiet.toFixed(1)} ms, crowded ${crowded.toFixed(1)} ms`);
  // One pause of the machine makes the p99 of a short phase.
  atMost(t, 'p99 of the healthy', { measured: crowded, bar: 2 * Math.max(quiet, 2), sanity: 1000 });
  // Twice: what the outboxes hold, and the garbage of making it. Sockets' buffers are the kernel's.
  const growth = (b!.residentBytes() - before) / 1e6;
  const allowed = (2 * STUCK * CONNECTION_BYTES) / 1e6 + 50;
  atMost(t, 'memory of the node grew by', { measured: growth, bar: allowed, sanity: allowed, unit: 'MB' });
  const { body } = await b!.admin('/metrics');
  const reasons = body
    .split('\n')
    .filter((line) => /^swarmq_messages_dropped_total\{.*reason=.*\} [1-9]/.test(line));
  t.comment(reasons.join('; '));
  t.ok(reasons.length > 0, 'drops are counted by reason');
  const log = await stream.finish();
  for (const client of healthy) {
    const verdict = await awaitDelivery(client, [log], { countsQos0: true }, 10_000);
    if (verdict.lost.length > 0) t.fail(`${client.options.clientId} missed ${verdict.lost.length}`);
  }
  t.ok(a!.isRunning && b!.isRunning);
});
