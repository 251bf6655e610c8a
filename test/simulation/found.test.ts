// Faults that random runs found, each as the smallest story that showed it.

import t from 'tap';
import { Cluster } from './cluster.ts';
import { publish, subscribe, topicsOf } from './story.ts';

t.test('a subscription made again is given the retained messages again [MQTT-3.8.4-3]', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = [cluster.nodes[0]!, cluster.nodes[1]!];
  const sender = await cluster.connected('sender', first);
  const reader = await cluster.connected('reader', second);
  await publish(cluster, sender, 'r/1', 1, { retain: true });
  await subscribe(cluster, reader, ['r/#'], 1);
  await cluster.until('the retained message', () => topicsOf(cluster, reader).length === 1);
  await subscribe(cluster, reader, ['r/#'], 1);
  await cluster.until('it comes again', () => topicsOf(cluster, reader).length === 2);
  t.ok(cluster.history.deliveries.every(({ isRetained }) => isRetained));
});
