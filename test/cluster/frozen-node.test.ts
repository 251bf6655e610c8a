// Bar 5: a node that was frozen past its lease and thaws changes nothing of the sessions that moved on, and closes its
// stale connections (G3, G5).

import t from 'tap';
import { none, PATIENCE_MS, scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe } from '../helpers/history.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

/** Longer than a lease in any case. */
const FROZEN_MS = scale(15_000, 6000);

t.test('a node is stopped, its clients go elsewhere, it goes on', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b, c] = await startNodes(t, 3, { redis: redis.url });
  const movers: { subscriber: MqttClient; publisher: MqttClient; stream: StreamPublisher; qos: Qos }[] = [];
  for (const [qos, version] of [
    [1, 4],
    [2, 5],
  ] as [Qos, 4 | 5][]) {
    const name = `q${qos}`;
    const subscriber = new MqttClient(t, { clientId: `${name}-subscriber`, version, clean: false });
    const publisher = new MqttClient(t, { clientId: `${name}-publisher`, version, clean: false });
    await subscriber.connect(b!.port);
    await subscriber.subscribe([`frozen/${name}`, 'old'], qos);
    await publisher.connect(b!.port);
    const options = { publisher: name, topic: `frozen/${name}`, qos, ratePerSecond: 500 };
    movers.push({ subscriber, publisher, stream: new StreamPublisher(publisher, options).start(), qos });
  }
  await eventually('messages come', () => movers.every(({ subscriber }) => subscriber.received.length > 500));

  b!.sigstop();
  const frozenAt = performance.now();
  const stale = movers.flatMap(({ subscriber, publisher }) => [
    subscriber.leaveOpen(),
    publisher.leaveOpen(),
  ]);
  for (const { subscriber, publisher } of movers) {
    const record = await subscriber.connect(c!.port);
    t.ok(record.sessionPresent, 'the session is at the next node');
    t.ok((await publisher.connect(a!.port)).sessionPresent);
    // What the frozen node still believes must not come back: this subscription ends while it sleeps.
    await subscriber.unsubscribe('old');
  }
  await eventually(
    'it was frozen long enough',
    () => performance.now() - frozenAt > FROZEN_MS,
    FROZEN_MS * 2,
  );
  b!.sigcont();
  const thawedAt = performance.now();
  await eventually(
    'the stale connections are closed',
    () => stale.every(({ closedAt }) => closedAt !== undefined),
    15_000,
  );
  t.comment(`stale connections closed ${Math.round(performance.now() - thawedAt)} ms after the thaw`);
  t.ok(b!.isRunning, 'the node goes on');

  const probe = new MqttClient(t, { clientId: 'probe' });
  // The node may refuse connections for the moment in which it starts anew.
  const roaming = keepConnected(probe, () => [b!.port]);
  await roaming.connected();
  await probe.publish('old', 'no', { qos: 1 });
  for (const { subscriber, publisher, stream, qos } of movers) {
    const log = await stream.finish();
    const verdict = await awaitDelivery(subscriber, [log]);
    t.comment(`QoS ${qos}: ${describe(verdict)}`);
    none(t, 'acknowledged and lost', verdict.lost);
    none(t, 'never sent', verdict.unknown);
    none(t, 'out of order', verdict.disordered);
    if (qos === 2) none(t, 'given twice', verdict.doubled);
    t.ok(subscriber.isConnected && subscriber.connections.length === 2, 'the subscriber was left alone');
    t.ok(publisher.isConnected && publisher.connections.length === 2, 'the publisher was left alone');
  }
});
