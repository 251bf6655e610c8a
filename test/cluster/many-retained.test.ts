// Bar 10: among very many retained messages a subscription finds its own at once, and one that matches all gets all without
// holding up others (G6, G8).

import t from 'tap';
import { atMost, LatencyProbe, PATIENCE_MS, p99, scale } from '../helpers/bars.ts';
import { readInBulk } from '../helpers/bulk-reader.ts';
import { eventually } from '../helpers/eventually.ts';
import { percentile } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const RETAINED = scale(100_000, 10_000);
const TRIES = 20;

t.test('retained messages r/<i>/state', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(a!.port);
  let acked = 0;
  for (let index = 0; index < RETAINED; index++) {
    const done = (outcome: number | Error) => {
      if (outcome === 0) acked++;
    };
    publisher.publishThen(`r/${index}/state`, `value ${index}`, { qos: 1, retain: true }, done);
    if (index % 500 === 499) await eventually('there is room', () => acked > index - 500);
  }
  await eventually('all are retained', () => acked === RETAINED, 120_000);

  const clients: MqttClient[] = [];
  for (const filter of ['r/5/state', 'r/5/#']) {
    const times: number[] = [];
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const client = new MqttClient(t, { clientId: `reader-${filter.length}-${attempt}` });
      await client.connect(b!.port);
      const started = performance.now();
      void client.subscribe(filter, 1);
      await eventually('the retained message', () => client.received.length === 1);
      times.push(client.received[0]!.at - started);
      t.match(client.received[0], { topic: 'r/5/state', retain: true }, `${filter} finds it`);
      t.equal(String(client.received[0]!.payload), 'value 5');
      clients.push(client);
    }
    const figure = { measured: percentile(times, 0.5), bar: 10, sanity: 500 };
    atMost(t, `${filter} answered after, median of ${TRIES}`, figure);
  }
  t.ok(
    clients.every(({ received }) => received.length === 1),
    'one message each, and no other',
  );

  for (const clean of [true, false]) {
    const probe = await new LatencyProbe(t, {
      name: `bystander-${clean}`,
      from: a!.port,
      to: b!.port,
    }).start();
    const kind = clean ? 'clean' : 'persistent';
    const plan = { port: b!.port, clientId: `all-${kind}`, clean, filter: 'r/+/state', qos: 1 as const };
    const result = await readInBulk(t, { ...plan, count: RETAINED, withinMs: 120_000 });
    t.comment(`${kind}: ${result.received} retained messages in ${Math.round(result.tookMs)} ms`);
    t.equal(result.received, RETAINED);
    t.equal(result.topics, RETAINED, 'each once');
    const figure = { measured: p99(probe.take()), bar: 50, sanity: 3000 };
    atMost(t, `p99 of a bystander meanwhile (${kind})`, figure);
    await probe.finish(t);
  }
});
