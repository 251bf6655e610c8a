// What the fuzzer works on: a node with the embedded store and two nodes on a Redis, with limits that keep what it leaves
// behind small, and bystanders on each.

import type { Owner } from '../helpers/owner.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { startNode, startNodes } from '../helpers/swarmq-node.ts';
import type { FuzzOptions } from './fuzz.ts';

const CONFIG = `limits:
  maxPacketSize: 64KB
  maxSessionExpiry: 5s
  maxQueuedMessages: 200
  maxRetainedMessages: 500
  maxQueueTime: 30s
sys:
  interval: 5s
`;

export async function startFuzzWorld(owner: Owner): Promise<Pick<FuzzOptions, 'nodes' | 'bystanders'>> {
  const options = { config: CONFIG, logLevel: 'warn', readyWithinMs: 120_000 };
  const redis = await startRedis(owner);
  const [embedded, [a, b]] = await Promise.all([
    startNode(owner, { ...options, name: 'embedded' }),
    startNodes(owner, 2, { ...options, redis: redis.url }),
  ]);
  return {
    nodes: [embedded, a!, b!],
    bystanders: [
      [embedded, embedded],
      [a!, b!],
    ],
  };
}
