// swarmq itself, started as an operator would. Without a need for durability one node runs on the embedded store in
// memory; with it all nodes share one Redis with an append-only file.

import { startRedis } from '../../test/helpers/redis-server.ts';
import { startNode } from '../../test/helpers/swarmq-node.ts';
import type { Peer } from './peer.ts';

export const swarmq: Peer = {
  name: 'swarmq',
  async start(owner, { nodes, isDurable, fsync, launcher }) {
    const common = { launcher, logLevel: 'error' };
    if (!isDurable && nodes === 1) {
      const node = await startNode(owner, { ...common, config: 'data:\n  memory: true\n' });
      return { ports: [node.port], pids: [node.pid], setting: 'one node, embedded store in memory' };
    }
    const redis = await startRedis(owner, { appendonly: true, appendfsync: fsync, launcher });
    const running = [];
    for (let index = 0; index < nodes; index++) {
      running.push(await startNode(owner, { ...common, redis: redis.url, name: `node-${index + 1}` }));
    }
    return {
      ports: running.map(({ port }) => port),
      pids: [redis.pid, ...running.map(({ pid }) => pid)],
      setting: `${nodes} node(s) on one Redis, appendfsync ${fsync}`,
    };
  },
};
