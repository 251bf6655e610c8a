// The Redis store against the contract, on a real redis-server whose append-only file outlives a kill, so
// that a restart finds what was answered. (With everysec it may not: what comes while a sync runs waits in memory.)

import t from 'tap';
import { startRedis } from '../helpers/redis-server.ts';
import { makeRedisNode, redisWorld } from './redis-world.ts';
import { storeContract } from './store-contract.ts';

const server = await startRedis(t, { appendonly: true, appendfsync: 'always' });

storeContract('redis', async (t, limits) => redisWorld(t, server.url, limits, [server]), true);

t.test(
  'with WAIT behind the writes, an owner does not hear of a marked message before they are counted',
  async (t) => {
    const durability = { level: 'replicas', replicas: 0 } as const;
    const [a, b] = [
      await makeRedisNode(t, server.url, { durability }),
      await makeRedisNode(t, server.url, { durability }),
    ];
    const { life } = await a.claim('c');
    const by = b.incarnation;
    await b.enqueue('c', life, 'first', { by });
    t.ok((await b.enqueue('c', life, 'plain', { by })).isPushed);
    const mark = { key: '0:p', mid: 1 };
    t.match(await b.enqueue('c', life, 'marked', { by, mark }), { status: 'queued', isPushed: false });
  },
);
