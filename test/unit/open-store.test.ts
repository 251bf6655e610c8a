// Which store a configuration names, and the limits it is given.

import t from 'tap';
import { compileConfig } from '../../src/config/compile.ts';
import { limitsOf, makeStore, type StoreMeans } from '../../src/store/open.ts';
import { newStoreCounters } from '../../src/store/redis/options.ts';
import { systemClock } from '../../src/util/clock.ts';
import { systemRandom } from '../../src/util/random.ts';
import { ContractNode } from '../integration/store-world.ts';

const newMeans = (onBatch = (_durationMs: number, _operations: number) => {}): StoreMeans => ({
  clock: systemClock,
  random: systemRandom,
  log: () => {},
  counters: newStoreCounters(onBatch),
});

t.test('without a Redis url the embedded store is made', async (t) => {
  const batches: number[][] = [];
  const means = newMeans((durationMs, operations) => batches.push([durationMs, operations]));
  const node = new ContractNode();
  node.store = await makeStore(compileConfig({ data: { memory: true } }), means);
  t.teardown(() => node.store.close());
  t.equal(node.store.kind, 'embedded');
  await node.store.open(node);
  node.incarnation = 'i';
  await node.store.register('i', 'n', 3000);
  t.match(await node.claim('c'), { present: false });
  t.equal(node.store.isAvailable(), true);
  t.ok(means.counters.operations >= 2 && means.counters.batches >= 1, 'its work is counted');
  t.equal(batches.length, means.counters.batches, 'each batch is told once');
  t.ok(batches.every(([durationMs]) => (durationMs as number) > 0));
  t.equal(
    batches.reduce((sum, [, operations]) => sum + (operations as number), 0),
    means.counters.operations,
  );
});

t.test('with a Redis url the Redis store is made, and nothing is connected yet', async (t) => {
  const store = await makeStore(compileConfig({ redis: { url: 'redis://127.0.0.1:1' } }), newMeans());
  t.equal(store.kind, 'redis');
});

t.test('the limits of the configuration are those of the store', async (t) => {
  const config = compileConfig({
    limits: { maxQueuedMessages: 7, queueFullPolicy: 'reject', maxInflightMessages: 5 },
    cluster: { markLife: '2h' },
  });
  t.match(limitsOf(config), {
    maxQueuedMessages: 7,
    queueFullPolicy: 'reject',
    windowMax: 5,
    markLifeMs: 7_200_000,
    maxRetainedMessages: config.limits.maxRetainedMessages,
    maxInboxBytes: config.limits.maxInboxBytes,
  });
});
