// The Redis store against the contract, on a Redis Cluster of three masters. Their files hold what was answered.

import t from 'tap';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { redisWorld } from './redis-world.ts';
import { storeContract } from './store-contract.ts';

const cluster = await startRedisCluster(t, { appendonly: true, appendfsync: 'always' });

storeContract(
  'redis cluster',
  async (t, limits) => redisWorld(t, cluster.url, limits, cluster.masters),
  false,
);
