// `swarmq worker`: one node of a machine with several, run by `swarmq start` and by nobody else. Its configuration and
// its connections come by the channel to that process; when that goes, its standard input ends, and it ends itself.

import { setDefaultHighWaterMark } from 'node:stream';
import { HIGH_WATER_BYTES } from '../listener/byte-stream.ts';
import { SwarmqError } from '../util/errors.ts';
import { ParentLink } from '../workers/parent-link.ts';
import { type Command, parseCommandLine, type Terminal } from './command.ts';
import { NodeProgram } from './node-program.ts';
import { type Program, runProgram } from './program.ts';

export const workerCommand: Command = {
  name: 'worker',
  summary: 'run one worker of a node',
  help: `Usage: swarmq worker NAME

One of the processes of 'swarmq start --workers N', which starts it. It cannot be run by hand.`,

  async run(args, terminal) {
    parseCommandLine(args, {}, 1);
    return runProgram(workerProgram(terminal), true, terminal);
  },
};

function workerProgram(terminal: Terminal): Program {
  if (terminal.parent === null) {
    throw new SwarmqError('SWARMQ_ERR_USAGE', 'a worker is started by swarmq start --workers N only');
  }
  const link = new ParentLink(terminal.parent, terminal.clock, () => program.reload());
  // Sockets that come by the channel have the default; those that are accepted have it by an option of the listener.
  setDefaultHighWaterMark(false, HIGH_WATER_BYTES);
  const program = new NodeProgram(() => link.config, terminal, { front: link });
  return program;
}
