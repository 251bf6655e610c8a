// The generator's own limit: a process that reads only the first topic of each connection and then passes whole chunks on
// to the subscriber of that topic. QoS 0 and one subscriber per topic only; it parses nothing else.

import { endChild, freePort, spawnOwned } from '../../test/helpers/owner.ts';
import { siblingProgram } from '../processes.ts';
import { listening, type Peer } from './peer.ts';

export const echo: Peer = {
  name: 'echo',
  async start(owner, { launcher }) {
    const port = await freePort();
    const command = [
      ...launcher,
      process.execPath,
      ...process.execArgv,
      siblingProgram('peers/echo-server'),
      String(port),
    ];
    const child = spawnOwned(command[0]!, command.slice(1), { stdio: 'inherit' });
    owner.teardown(() => endChild(child, 'SIGKILL'));
    await listening(port);
    return { ports: [port], pids: [child.pid!], setting: 'passes chunks on, no broker (QoS 0 pairs only)' };
  },
};
