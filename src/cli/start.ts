// `swarmq start`: from its configuration one node in this process, or several behind its ports in processes of their
// own, until a signal ends it. Standard output carries one line, when all is ready; logs go to standard error.

import type { CompiledConfig } from '../config/compile.ts';
import { CONFIG_FLAGS } from '../config/flags.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigError } from '../config/problem.ts';
import {
  CONFIG_FLAG_OPTIONS,
  type Command,
  complainOfConfig,
  ExitCode,
  flagLines,
  flagValues,
  parseCommandLine,
  type Terminal,
} from './command.ts';
import { NodeProgram, readyLine } from './node-program.ts';
import { type Program, runProgram } from './program.ts';
import { workerCommand } from './worker.ts';

const FLAGS = [
  { name: 'config', value: 'FILE', doc: 'configuration file (YAML)' },
  ...CONFIG_FLAGS,
  { name: 'stop-at-input-end', doc: 'stop when standard input ends, as when a parent process died' },
];

export const startCommand: Command = {
  name: 'start',
  summary: 'run one node',
  help: `Usage: swarmq start [flags]

Runs one node until SIGTERM or SIGINT; SIGHUP reads the certificate files of its listeners again.
With --workers N these are N nodes, each a process, behind the same ports; this process supervises them.
Without --redis it keeps its data in ./data.
Prints one line with its ports on standard output when it is ready; logs go to standard error.

${flagLines(FLAGS)}

Each flag is an option of the configuration and an environment variable too: see docs/configuration.md.

Exit codes: 0 stopped, 1 failed, 2 wrong command line, 3 bad configuration.`,

  async run(args, terminal) {
    const options = { config: { type: 'string' }, 'stop-at-input-end': { type: 'boolean' } } as const;
    const { values } = parseCommandLine(args, { ...CONFIG_FLAG_OPTIONS, ...options }, 0);
    let config: CompiledConfig;
    try {
      config = loadConfig({
        file: values.config as string | undefined,
        environment: terminal.environment,
        flags: flagValues(values),
      }).config;
    } catch (error) {
      if (error instanceof ConfigError) return complainOfConfig(error, terminal);
      throw error;
    }
    const program =
      config.workers > 1
        ? await workersProgram(config, terminal)
        : new NodeProgram(async () => config, terminal);
    return runProgram(program, values['stop-at-input-end'] === true, terminal);
  },
};

/** A process that opens the ports, and one for each worker. */
async function workersProgram(config: CompiledConfig, terminal: Terminal): Promise<Program> {
  const { Supervisor } = await import('../workers/supervisor.ts');
  const supervisor = new Supervisor({
    config,
    command: (name) => [...terminal.self, workerCommand.name, name],
    clock: terminal.clock,
  });
  return {
    async start() {
      const { ports, workers } = await supervisor.start();
      const pids = workers.map(({ name, pid }) => `${name}:${pid}`);
      return `${readyLine(config, ports)} workers=${pids.join(',')}`;
    },
    reload: () => supervisor.reload(),
    stop: async () => ((await supervisor.stop()) ? ExitCode.OK : ExitCode.FAILED),
    kill: () => supervisor.kill(),
  };
}
