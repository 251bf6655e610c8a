// Finds the command that a command line names, and the help and the version that every one of them has. What a command
// does is its own file's business; here its exit code only passes through.

import { VERSION } from '../observability/version.ts';
import { SwarmqError } from '../util/errors.ts';
import { checkConfigCommand } from './check-config.ts';
import { clusterCommand } from './cluster.ts';
import { type Command, ExitCode, type Terminal } from './command.ts';
import { hashPasswordCommand } from './hash-password.ts';
import { startCommand } from './start.ts';
import { workerCommand } from './worker.ts';

const COMMANDS: readonly Command[] = [startCommand, clusterCommand, checkConfigCommand, hashPasswordCommand];

/** Runs other processes of ours; not in the list. */
const INNER_COMMANDS: readonly Command[] = [workerCommand];

const HELP = `swarmq ${VERSION}: an MQTT broker cluster

Usage: swarmq COMMAND [flags]

${COMMANDS.map((command) => `  ${command.name.padEnd(14)}${command.summary}`).join('\n')}

  swarmq COMMAND --help    the flags of a command
  swarmq --version         the version

Exit codes: 0 ok, 1 failed, 2 wrong command line, 3 bad configuration.`;

/** Runs the command line (without the program's name) and returns the exit code of the process. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const [name, ...rest] = args;
  const command = [...COMMANDS, ...INNER_COMMANDS].find((candidate) => candidate.name === name);
  // What stands behind "--" is never a flag.
  const flags = args.slice(0, args.includes('--') ? args.indexOf('--') : args.length);
  if (flags.includes('--help') || flags.includes('-h') || name === 'help' || name === undefined) {
    const about = command ?? COMMANDS.find((candidate) => candidate.name === rest[0]);
    terminal.print(about?.help ?? HELP);
    return ExitCode.OK;
  }
  if (flags.includes('--version') || flags.includes('-V')) {
    terminal.print(VERSION);
    return ExitCode.OK;
  }
  try {
    if (command) return await command.run(rest, terminal);
    throw new SwarmqError('SWARMQ_ERR_USAGE', `unknown command '${name}'`);
  } catch (error) {
    if (!(error instanceof SwarmqError)) throw error;
    terminal.complain(`swarmq: ${error.message}`);
    if (error.code !== 'SWARMQ_ERR_USAGE') return ExitCode.FAILED;
    terminal.complain(`See 'swarmq ${command ? `${command.name} ` : ''}--help'.`);
    return ExitCode.USAGE;
  }
}
