// mosquitto from PATH, in memory: no queue limit, the usual in-flight window of its own raised to ours, TCP_NODELAY on.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endChild, freePort, spawnOwned, temporaryFolder } from '../../test/helpers/owner.ts';
import { listening, type Peer } from './peer.ts';

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
  async start(owner, { launcher }) {
    const port = await freePort();
    const file = join(temporaryFolder(owner, 'mosquitto'), 'mosquitto.conf');
    writeFileSync(file, [`listener ${port} 127.0.0.1`, ...LINES, ''].join('\n'));
    const command = [...launcher, 'mosquitto', '-c', file];
    const child = spawnOwned(command[0]!, command.slice(1), { stdio: 'ignore' });
    owner.teardown(() => endChild(child, 'SIGKILL'));
    await listening(port);
    return {
      ports: [port],
      pids: [child.pid!],
      setting: 'one process, in memory, max_inflight_messages 1000',
    };
  },
};
