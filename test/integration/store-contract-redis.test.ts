// The Redis store against the contract, on a real redis-server whose append-only file outlives a kill, so
// that a restart finds what was answered. (With everysec it may not: what comes while a sync runs waits in memory.)

import t from 'tap';
import { startRedis } from '../helpers/redis-server.ts';
import { redisWorld } from './redis-world.ts';
import { storeContract } from './store-contract.ts';

const server = await startRedis(t, { appendonly: true, appendfsync: 'always' });

storeContract('redis', async (t, limits) => redisWorld(t, server.url, limits, [server]), true);
