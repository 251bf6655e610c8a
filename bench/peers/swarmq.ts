// swarmq itself, started as an operator would. Without a need for durability one node runs on the embedded store in
// memory; with it all nodes share one Redis with an append-only file.

import { projectFile } from '../../test/helpers/command-line.ts';
import { startRedis } from '../../test/helpers/redis-server.ts';
import { startNode } from '../../test/helpers/swarmq-node.ts';
import { type Certificate, obstacleOf, type Peer, packageVersion, versionOf } from './peer.ts';

const MEMORY = 'data:\n  memory: true\n';
// Queues are as long as a workload makes them, as with mosquitto's max_queued_messages 0.
const LIMITS = 'limits:\n  maxQueuedMessages: 1000000\n  maxQueuedBytes: 1GB\n';

function tlsListener({ certFile, keyFile }: Certificate): string {
  return `listeners:\n  tcp:\n    type: tls\n    host: 127.0.0.1\n    tls:\n      cert: ${certFile}\n      key: ${keyFile}\n`;
}

export const swarmq: Peer = {
  name: 'swarmq',
  obstacle: (workload) => obstacleOf(workload, {}, workload.isDurable ? 'redis-server' : undefined),
  async start(owner, { nodes, workers, isDurable, fsync, certificate, launcher }) {
    const several = workers > 1 ? `workers: ${workers}\n` : '';
    const config = LIMITS + several + (certificate ? tlsListener(certificate) : '');
    const common = { launcher, logLevel: 'error' };
    const version = packageVersion(projectFile('package.json'));
    if (!isDurable && nodes === 1 && workers === 1) {
      const node = await startNode(owner, { ...common, config: MEMORY + config });
      return {
        ports: [node.port],
        pids: [node.pid],
        version,
        setting: 'one node, embedded store in memory',
        ack: 'the message is in the memory of the process',
      };
    }
    const redis = await startRedis(owner, { appendonly: true, appendfsync: fsync, launcher });
    const running = [];
    for (let index = 0; index < nodes; index++) {
      running.push(
        await startNode(owner, { ...common, config, redis: redis.url, name: `node-${index + 1}` }),
      );
    }
    return {
      ports: running.map(({ port }) => port),
      pids: [redis.pid, ...running.map(({ pid }) => pid)],
      version: `${version}, Redis ${versionOf('redis-server', '--version')}`,
      setting: `${nodes === 1 ? 'one node' : `${nodes} nodes`}${workers > 1 ? ` of ${workers} workers` : ''} on one Redis, appendfsync ${fsync}`,
      ack:
        fsync === 'always'
          ? 'Redis has written the message for every session and has synced its file to disk'
          : 'Redis has written the message for every session; its file is synced to disk within a second',
    };
  },
};
