// Bar 6: nothing is missing, doubled or disordered without a fault when QoS levels, retained messages and offline
// subscribers are mixed: delivery is not judged by counters of a broker (G3, G4).

import t from 'tap';
import { none, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { awaitDelivery, describe, judge } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const SECONDS = scale(10, 3);
const OFFLINE = 20;

t.test('one publisher alternates everything at 1,000 messages a second', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const online: MqttClient[] = [];
  for (const [index, node] of [a!, b!, a!, b!].entries()) {
    const client = new MqttClient(t, { clientId: `online-${index}`, clean: index < 2 });
    await client.connect(node.port);
    await client.subscribe('mixed/#', 2);
    online.push(client);
  }
  const offline: MqttClient[] = [];
  for (let index = 0; index < OFFLINE; index++) {
    const client = new MqttClient(t, { clientId: `offline-${index}`, clean: false });
    await client.connect(b!.port);
    await client.subscribe('mixed/queued', 2);
    await client.disconnect();
    offline.push(client);
  }
  const streams: StreamPublisher[] = [];
  for (const [index, node] of [a!, b!].entries()) {
    const publisher = new MqttClient(t, { clientId: `publisher-${index}` });
    await publisher.connect(node.port);
    const stream = new StreamPublisher(publisher, {
      publisher: `p${index}`,
      // Periods of 3, 2 and 5 meet in every combination.
      qos: (seq) => (seq % 3) as 0 | 1 | 2,
      topic: (seq) => (seq % 2 === 0 ? 'mixed/queued' : 'mixed/live'),
      retain: (seq) => seq % 5 === 0,
      ratePerSecond: 500,
      count: SECONDS * 500,
      window: 1000,
    });
    streams.push(stream.start());
  }
  const logs = await Promise.all(streams.map((stream) => stream.completed()));
  for (const client of online) {
    const verdict = await awaitDelivery(client, logs, { countsQos0: true });
    t.comment(`${client.options.clientId}: ${describe(verdict)}`);
    none(t, 'acknowledged and lost', verdict.lost);
    none(t, 'given twice', verdict.doubled);
    none(t, 'out of order', verdict.disordered);
  }
  for (const client of offline) await client.connect(a!.port);
  for (const client of offline) {
    const options = { expects: (log: (typeof logs)[0], seq: number) => log.topics[seq] === 'mixed/queued' };
    const { lost, doubled, disordered } = await awaitDelivery(client, logs, options);
    if (lost.length + doubled.length + disordered.length > 0) {
      t.same(
        { lost, doubled, disordered },
        { lost: [], doubled: [], disordered: [] },
        client.options.clientId,
      );
    }
  }
  t.ok(judge(logs, offline[0]!.received).received > 0, 'sessions that were away got what waited');
});
