// The stock stack: aedes with the persistence and emitter its documentation names. One process in memory, or nodes that
// share one Redis.

import { projectFile } from '../../test/helpers/command-line.ts';
import { freePort } from '../../test/helpers/owner.ts';
import { startRedis } from '../../test/helpers/redis-server.ts';
import { siblingProgram } from '../processes.ts';
import { obstacleOf, type Peer, packageVersion, startServer, versionOf } from './peer.ts';

const LACKS = {
  tls: 'the stock stack is played without TLS',
  groups: 'aedes has no shared subscriptions',
};

export const stock: Peer = {
  name: 'stock',
  obstacle: (workload) => obstacleOf(workload, LACKS, workload.isDurable ? 'redis-server' : undefined),
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
      pids.push(await startServer(owner, command, port, { stdio: ['ignore', 'ignore', 'inherit'] }));
      ports.push(port);
    }
    const aedes = packageVersion(projectFile('node_modules/aedes/package.json'));
    return {
      ports,
      pids,
      version: redis ? `aedes ${aedes}, Redis ${versionOf('redis-server', '--version')}` : `aedes ${aedes}`,
      setting: redis
        ? `${nodes === 1 ? 'one node' : `${nodes} nodes`}, aedes-persistence-redis and mqemitter-redis on one Redis, appendfsync ${fsync}`
        : 'one process, in memory',
      ack: redis
        ? 'Redis has answered the writes for sessions that the node found away'
        : 'the message is in the memory of the process',
    };
  },
};
