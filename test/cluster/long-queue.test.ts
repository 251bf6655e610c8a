// Bar 7: everything that waits for a session comes in one connection, in order and soon, and the cost of a message does
// not grow with the length of the queue (G3, G4).

import t, { type Test } from 'tap';
import { atMost, none, PATIENCE_MS } from '../helpers/bars.ts';
import { awaitDelivery, describe } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { StreamPublisher } from '../helpers/roaming.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

interface Drain {
  firstMs: number;
  allMs: number;
}

/** Lets `count` messages wait for one session and fetches them. */
async function drain(
  t: Test,
  publisherNode: SwarmqNode,
  node: SwarmqNode,
  name: string,
  count: number,
): Promise<Drain> {
  const subscriber = new MqttClient(t, { clientId: `${name}-subscriber`, clean: false });
  await subscriber.connect(node.port);
  await subscriber.subscribe(`wait/${name}`, 1);
  await subscriber.disconnect();
  const publisher = new MqttClient(t, { clientId: `${name}-publisher` });
  await publisher.connect(publisherNode.port);
  const options = {
    publisher: name,
    topic: `wait/${name}`,
    qos: 1 as const,
    window: 500,
    count,
    payloadBytes: 150,
  };
  const log = await new StreamPublisher(publisher, options).start().completed();
  t.equal(log.acked, count);

  const { connectAt } = await subscriber.connect(node.port);
  const verdict = await awaitDelivery(subscriber, [log], {}, 60_000);
  t.comment(`${name}: ${describe(verdict)}`);
  none(t, 'acknowledged and lost', verdict.lost);
  none(t, 'given twice', verdict.doubled);
  none(t, 'out of order', verdict.disordered);
  t.equal(subscriber.connections.length, 2, 'in one connection');
  return {
    firstMs: subscriber.connections[1]!.firstPublishAt! - connectAt,
    allMs: subscriber.received.at(-1)!.at - connectAt,
  };
}

t.test('20,000 messages wait for one session', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const [a, b] = await startNodes(t, 2, { redis: redis.url });
  const short = await drain(t, a!, b!, 'short', 2000);
  const long = await drain(t, a!, b!, 'long', 20_000);
  atMost(t, 'first message after', { measured: long.firstMs, bar: 50, sanity: 1000 });
  atMost(t, 'all messages after', { measured: long.allMs, bar: 3000, sanity: 20_000 });
  const growth = long.allMs / 20_000 / (short.allMs / 2000);
  atMost(t, 'cost per message against a queue of a tenth', {
    measured: growth,
    bar: 1.5,
    sanity: 3,
    unit: 'times',
  });
});
