// Bar 1: nothing that was acknowledged to a publisher is lost when its node dies, at QoS 2 nothing comes twice (G1, G3).

import t from 'tap';
import { none, PATIENCE_MS, scale, WIDE_QUEUES } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe } from '../helpers/history.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const KILLS = scale(10, 3);
/** Acknowledged in each life of the node before it is killed. */
const PER_LIFE = scale(4000, 2000);

t.test('the node of a publisher is killed in mid-stream', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url, config: WIDE_QUEUES });
  for (const [qos, version] of [[1, 4], [2, 3], [2, 5], ...scale([[2, 4]], [])] as [Qos, 3 | 4 | 5][]) {
    await t.test(`QoS ${qos}, MQTT ${version}`, async (t) => {
      const name = `q${qos}v${version}`;
      const subscriber = new MqttClient(t, { clientId: `${name}-subscriber`, version, clean: false });
      await subscriber.connect(b!.port);
      await subscriber.subscribe(`kill/${name}`, qos);
      await subscriber.disconnect();

      const publisher = new MqttClient(t, { clientId: `${name}-publisher`, version, clean: false });
      const roaming = keepConnected(publisher, () => [a!.port]);
      await roaming.connected();
      const options = { publisher: name, topic: `kill/${name}`, qos, window: 100 };
      const stream = new StreamPublisher(publisher, options).start();
      for (let kill = 0; kill < KILLS; kill++) {
        const before = stream.log.acked;
        await eventually('the stream is running', () => stream.log.acked >= before + PER_LIFE, 60_000);
        await a!.sigkill();
        await a!.start();
        await roaming.connected(30_000);
      }
      const log = await stream.finish();
      roaming.stop();
      t.equal(publisher.connections.length, KILLS + 1);
      // MQTT 3.1 does not tell it.
      if (version > 3) {
        const resumed = publisher.connections.slice(1);
        t.ok(
          resumed.every(({ sessionPresent }) => sessionPresent),
          'session present after each kill',
        );
      }

      await subscriber.connect(b!.port);
      const verdict = await awaitDelivery(subscriber, [log], {}, 120_000);
      t.comment(describe(verdict));
      none(t, 'acknowledged and lost', verdict.lost);
      none(t, 'never sent', verdict.unknown);
      none(t, 'out of order', verdict.disordered);
      if (qos === 2) none(t, 'given twice', verdict.doubled);
    });
  }
});
