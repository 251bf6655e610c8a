// The generator's own limit: a process that reads only the first topic of each connection and then passes whole chunks on
// to the subscriber of that topic. QoS 0 and one subscriber per topic only; it parses nothing else.

import { freePort } from '../../test/helpers/owner.ts';
import { siblingProgram } from '../processes.ts';
import { obstacleOf, type Peer, startServer } from './peer.ts';

const REASON = 'echo knows pairs at QoS 0 only';
const LACKS = { acks: REASON, sessions: REASON, mqtt5: REASON, tls: REASON, wildcards: REASON };

export const echo: Peer = {
  name: 'echo',
  obstacle: (workload) => obstacleOf(workload, LACKS),
  async start(owner, { launcher }) {
    const port = await freePort();
    const command = [
      ...launcher,
      process.execPath,
      ...process.execArgv,
      siblingProgram('peers/echo-server'),
      String(port),
    ];
    const pid = await startServer(owner, command, port, { stdio: 'inherit' });
    return {
      ports: [port],
      pids: [pid],
      version: process.version,
      setting: 'passes chunks on and reads the first topic of a connection only: the limit of the generator',
      ack: 'none',
    };
  },
};
