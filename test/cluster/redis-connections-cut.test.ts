// Bar 3: while the Redis connections of the nodes are cut again and again, clients stay connected and everything that was
// acknowledged arrives within two seconds after, without anybody reconnecting (G3).

import t from 'tap';
import { none, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { awaitDelivery, describe } from '../helpers/history.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { type ClientKind, startRedis } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const KINDS: ClientKind[] = ['normal', 'pubsub', 'replica', 'master'];
const CUTS = scale(10, 4);

t.test('connections of every kind are cut once per second', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const clients: MqttClient[] = [];
  const streams: { stream: StreamPublisher; subscriber: MqttClient; label: string }[] = [];
  for (const [qos, clean] of [
    [1, false],
    [2, false],
    [1, true],
    [2, true],
  ] as [Qos, boolean][]) {
    const name = `q${qos}${clean ? 'clean' : 'kept'}`;
    const subscriber = new MqttClient(t, { clientId: `${name}-subscriber`, clean });
    const publisher = new MqttClient(t, { clientId: `${name}-publisher` });
    await subscriber.connect(b!.port);
    await publisher.connect(a!.port);
    await subscriber.subscribe(`cut/${name}`, qos);
    const stream = new StreamPublisher(publisher, {
      publisher: name,
      topic: `cut/${name}`,
      qos,
      ratePerSecond: 500,
    });
    streams.push({ stream: stream.start(), subscriber, label: name });
    clients.push(subscriber, publisher);
  }
  let killed = 0;
  for (let cut = 0; cut < CUTS; cut++) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    for (const kind of KINDS) killed += await redis.clientKill(kind);
  }
  t.comment(`${killed} connections cut`);
  t.ok(killed >= CUTS * 2, 'connections of both nodes were cut');
  const ended = performance.now();
  for (const { stream, subscriber, label } of streams) {
    const log = await stream.finish();
    const verdict = await awaitDelivery(subscriber, [log], {}, scale(2000, 10_000));
    t.comment(
      `${label}: ${describe(verdict)}, ${Math.round(performance.now() - ended)} ms after the last cut`,
    );
    t.ok(verdict.acked > CUTS * 100, 'the stream went on');
    none(t, `${label}: acknowledged and lost`, verdict.lost);
    none(t, `${label}: out of order`, verdict.disordered);
    if (label.startsWith('q2')) none(t, `${label}: given twice`, verdict.doubled);
  }
  t.ok(
    clients.every((client) => client.isConnected && client.connections.length === 1),
    'nobody was disconnected',
  );
  t.ok(a!.isRunning && b!.isRunning, 'no node ended');
});
