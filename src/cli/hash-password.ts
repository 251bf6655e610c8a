// `swarmq hash-password`: the salted keys of a password, for auth.users of the configuration. The password comes by
// standard input, so that it stands in no list of processes and in no shell's history, and is not printed.

import { randomBytes } from 'node:crypto';
import { makeKeys } from '../auth/scram-keys.ts';
import { SwarmqError } from '../util/errors.ts';
import { type Command, ExitCode, parseCommandLine } from './command.ts';

const SALT_BYTES = 16;
const DEFAULT_ITERATIONS = '4096';
const ITERATIONS_MIN = 1000;
const ITERATIONS_MAX = 1_000_000;

export const hashPasswordCommand: Command = {
  name: 'hash-password',
  summary: 'print the keys of a password, for auth.users',
  help: `Usage: swarmq hash-password [--iterations N] < FILE

Reads a password from standard input (its first line) and prints the line for auth.users.<name>.keys:
SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey. The password cannot be had from it but by trying.

  --iterations N  how much trying costs, and each SCRAM login of a client; by default ${DEFAULT_ITERATIONS}

Exit codes: 0 ok, 2 wrong command line or no password.`,

  async run(args, terminal) {
    const { values } = parseCommandLine(args, { iterations: { type: 'string' } }, 0);
    const iterations = Number(values.iterations ?? DEFAULT_ITERATIONS);
    if (!Number.isInteger(iterations) || iterations < ITERATIONS_MIN || iterations > ITERATIONS_MAX) {
      throw new SwarmqError('SWARMQ_ERR_USAGE', `--iterations is ${ITERATIONS_MIN} to ${ITERATIONS_MAX}`);
    }
    const [password] = (await terminal.readInput()).split(/\r?\n/);
    if (!password) throw new SwarmqError('SWARMQ_ERR_USAGE', 'no password on standard input');
    terminal.print(await makeKeys(password, randomBytes(SALT_BYTES), iterations));
    return ExitCode.OK;
  },
};
