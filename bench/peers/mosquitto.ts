// mosquitto from PATH, in memory: no queue limit, the usual in-flight window of its own raised to ours, TCP_NODELAY on.

import { writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { freePort, temporaryFolder } from '../../test/helpers/owner.ts';
import { obstacleOf, type Peer, programPath, startServer, versionOf } from './peer.ts';

const LINES = [
  'allow_anonymous true',
  'set_tcp_nodelay true',
  'max_queued_messages 0',
  'max_inflight_messages 1000',
  'persistence false',
  'log_type error',
];

export const mosquitto: Peer = {
  name: 'mosquitto',
  obstacle: (workload) => obstacleOf(workload, {}, 'mosquitto'),
  async start(owner, { certificate, launcher }) {
    const port = await freePort();
    const file = join(temporaryFolder(owner, 'mosquitto'), 'mosquitto.conf');
    const tls = certificate ? [`certfile ${certificate.certFile}`, `keyfile ${certificate.keyFile}`] : [];
    // Started by root it would become a user who cannot read the key.
    const user = `user ${userInfo().username}`;
    writeFileSync(file, [user, `listener ${port} 127.0.0.1`, ...tls, ...LINES, ''].join('\n'));
    const program = programPath('mosquitto')!;
    const pid = await startServer(owner, [...launcher, program, '-c', file], port);
    return {
      ports: [port],
      pids: [pid],
      version: versionOf(program, '-h'),
      setting: 'one process, in memory: set_tcp_nodelay, max_queued_messages 0, max_inflight_messages 1000',
      ack: 'the message is in the memory of the process',
    };
  },
};
