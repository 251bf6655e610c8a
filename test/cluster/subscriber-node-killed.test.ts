// Bar 2: a session goes on at the next node when the node of its client dies: nothing lost, order kept, at QoS 2 nothing
// twice, and soon (G3, G4).

import t from 'tap';
import { atMost, none, PATIENCE_MS, scale, WIDE_QUEUES } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe, percentile } from '../helpers/history.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const KILLS = scale(10, 3);

t.test('the node of a connected subscriber is killed in mid-stream', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b, c] = await startNodes(t, 3, { redis: redis.url, config: WIDE_QUEUES });
  const homes = [b!, c!];
  for (const [qos, version] of [[1, 4], [2, 3], [2, 5], ...scale([[2, 4]], [])] as [Qos, 3 | 4 | 5][]) {
    await t.test(`QoS ${qos}, MQTT ${version}`, async (t) => {
      const name = `q${qos}v${version}`;
      const subscriber = new MqttClient(t, { clientId: `${name}-subscriber`, version, clean: false });
      const roaming = keepConnected(subscriber, () => homes.map(({ port }) => port));
      await roaming.connected();
      await subscriber.subscribe(`kill/${name}`, qos);

      const publisher = new MqttClient(t, { clientId: `${name}-publisher`, version });
      await publisher.connect(a!.port);
      const options = {
        publisher: name,
        topic: `kill/${name}`,
        qos,
        window: 100,
        ratePerSecond: scale(4000, 1000),
      };
      const stream = new StreamPublisher(publisher, options).start();
      for (let kill = 1; kill <= KILLS; kill++) {
        const before = subscriber.received.length;
        await eventually('messages come', () => subscriber.received.length > before + 1000, 60_000);
        const home = homes.find(({ port }) => port === subscriber.connections.at(-1)!.port)!;
        await home.sigkill();
        await eventually('it is at the other node', () => subscriber.connections.length === kill + 1, 30_000);
        await eventually(
          'the stream goes on',
          () => subscriber.connections[kill]!.firstPublishAt !== undefined,
          30_000,
        );
        await home.start();
      }
      const log = await stream.finish();
      const verdict = await awaitDelivery(subscriber, [log], {}, 60_000);
      roaming.stop();
      t.comment(describe(verdict));
      none(t, 'acknowledged and lost', verdict.lost);
      none(t, 'never sent', verdict.unknown);
      none(t, 'out of order', verdict.disordered);
      if (qos === 2) none(t, 'given twice', verdict.doubled);
      const resumed = subscriber.connections.slice(1);
      // MQTT 3.1 does not tell it.
      if (version > 3) {
        t.ok(
          resumed.every(({ sessionPresent }) => sessionPresent),
          'session present',
        );
      }
      const times = resumed.map(({ connectAt, firstPublishAt }) => firstPublishAt! - connectAt);
      atMost(t, 'CONNECT to first resumed message, median', {
        measured: percentile(times, 0.5),
        bar: 20,
        sanity: 1000,
      });
      t.ok(publisher.isConnected && publisher.connections.length === 1, 'the publisher notices nothing');
    });
  }
});
