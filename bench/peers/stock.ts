// The stock stack: aedes with the persistence and emitter its documentation names. One process in memory, or nodes that
// share one Redis.

import { endChild, freePort, spawnOwned } from '../../test/helpers/owner.ts';
import { startRedis } from '../../test/helpers/redis-server.ts';
import { siblingProgram } from '../processes.ts';
import { listening, type Peer } from './peer.ts';

export const stock: Peer = {
  name: 'stock',
  async start(owner, { nodes, isDurable, fsync, launcher }) {
    const isShared = isDurable || nodes > 1;
    const redis = isShared
      ? await startRedis(owner, { appendonly: true, appendfsync: fsync, launcher })
      : undefined;
    const ports: number[] = [];
    const pids = redis ? [redis.pid] : [];
    for (let index = 0; index < nodes; index++) {
      const port = await freePort();
      const program = [
        process.execPath,
        ...process.execArgv,
        siblingProgram('peers/stock-broker'),
        String(port),
      ];
      const command = [...launcher, ...program, ...(redis ? [redis.url] : [])];
      const child = spawnOwned(command[0]!, command.slice(1), { stdio: ['ignore', 'ignore', 'inherit'] });
      owner.teardown(() => endChild(child, 'SIGKILL'));
      await listening(port);
      ports.push(port);
      pids.push(child.pid!);
    }
    const setting = redis ? `${nodes} node(s) on one Redis, appendfsync ${fsync}` : 'one process, in memory';
    return { ports, pids, setting: `aedes, ${setting}` };
  },
};
