// A session that cannot be let go of, because one of its records is damaged: by the node that held it, or in the place of
// one that has died. It stays where it was until the record is set right, and then it ends as it was to end.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const CONFIG = 'cluster:\n  lease: 1500ms\n  renewEvery: 300ms\n  sweepEvery: 200ms\n';

let redis: RedisServer;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
});

/** Two nodes, and on the first a session that ends with its connection, whose queue has a key of another type. */
async function damaged(t: Test, prefix: string) {
  const config = `redis:\n  prefix: ${prefix}\n${CONFIG}`;
  const nodes = await startNodes(t, 2, { redis: redis.url, config });
  const client = new MqttClient(t, { clientId: 'ends', version: 5, clean: false, sessionExpirySeconds: 0 });
  await client.connect(nodes[0]!.port);
  await client.subscribe('a', 1);
  const record = `${prefix}*:s:ends`;
  const [key] = (await redis.command('KEYS', record)) as [string];
  const queue = key.replace(':s:', ':q:');
  await redis.command('SET', queue, 'no hash');
  return {
    ...{ nodes, client },
    mend: () => redis.command('DEL', queue),
    /** Its state is in the record. */
    isThere: async () => (await redis.command('HEXISTS', key, 's')) === 1,
  };
}

t.test('by the node that held it', async (t) => {
  const { nodes, client, mend, isThere } = await damaged(t, 'held');
  client.cut();
  const refusals = () => nodes[0]!.log.split('the store refused a call').length - 1;
  await eventually('it is refused, and refused again', () => refusals() >= 2, 20_000);
  t.ok(await isThere());
  await mend();
  await eventually('it has ended', async () => !(await isThere()), 20_000);
});

t.test('in the place of a node that has died', async (t) => {
  const { nodes, mend, isThere } = await damaged(t, 'dead');
  nodes[0]!.sigkill();
  const refusals = () => nodes[1]!.log.split('the store refused a call').length - 1;
  await eventually('it is refused', () => refusals() >= 1, 20_000);
  t.ok(await isThere());
  await mend();
  await eventually('it has ended', async () => !(await isThere()), 30_000);
});
