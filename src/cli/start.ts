// `swarmq start`: one node in this process, from its configuration until a signal ends it. Standard output carries
// exactly one line, when the node is ready, so that a script can wait for it; logs go to standard error.

import { setFlagsFromString } from 'node:v8';
import type { CompiledConfig, CompiledListener } from '../config/compile.ts';
import { stopPointOf } from '../config/env.ts';
import { CONFIG_FLAGS } from '../config/flags.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigError } from '../config/problem.ts';
import { SwarmqError } from '../util/errors.ts';
import { armStopPoint } from '../util/stop-point.ts';
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

/** How long a signal waits for a start that is still under way; a node is safe to end at any time. */
const STOP_DURING_START_MS = 2000;

/** Signals within this time of each other are one. */
const SAME_SIGNAL_MS = 1000;

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
    return runNode(config, values['stop-at-input-end'] === true, terminal);
  },
};

async function runNode(
  config: CompiledConfig,
  stopsAtInputEnd: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  let end = (_code: ExitCode) => {};
  const ended = new Promise<ExitCode>((resolve) => {
    end = resolve;
  });
  let isStarted = false;
  let isStopping = false;
  let stopRequested = () => {};
  const stopWanted = new Promise<void>((resolve) => {
    stopRequested = resolve;
  });
  let askedMs = 0;
  const stop = () => {
    const nowMs = terminal.clock.monotonicMs();
    // A second signal is somebody who does not want to wait; but one Ctrl-C may reach us twice, by the terminal and by
    // a parent that passes it on.
    if (isStopping) return nowMs - askedMs > SAME_SIGNAL_MS ? end(ExitCode.FAILED) : undefined;
    askedMs = nowMs;
    isStopping = true;
    stopRequested();
    if (!isStarted) terminal.clock.after(STOP_DURING_START_MS, () => !isStarted && end(ExitCode.OK));
  };
  terminal.onStopSignal(stop);
  // A start that is still under way reads the files anyway, and must not die of the signal.
  let reload = () => {};
  terminal.onReloadSignal(() => reload());
  if (stopsAtInputEnd) terminal.onInputEnd(() => !isStopping && stop());

  const run = async (): Promise<ExitCode> => {
    // Functions compiled before the first client needs them: else it waits tens of milliseconds for its CONNACK, and a
    // device that lost its node meets the first one of the next.
    setFlagsFromString('--no-lazy');
    setFlagsFromString('--no-flush-bytecode');
    const { startNode } = await import('../node.ts');
    const node = await startNode(config);
    isStarted = true;
    const stopAt = stopPointOf(terminal.environment);
    if (stopAt !== undefined) armStopPoint(stopAt);
    reload = () => node.reload();
    if (!isStopping) terminal.print(readyLine(config, node.ports));
    await stopWanted;
    await node.stop();
    return ExitCode.OK;
  };
  return Promise.race([run().catch((error: unknown) => complainOfFailure(error, terminal)), ended]);
}

function complainOfFailure(error: unknown, terminal: Terminal): ExitCode {
  const isKnown = error instanceof SwarmqError;
  terminal.complain(
    `swarmq: ${isKnown ? `${error.message} (${error.code})` : ((error as Error).stack ?? error)}`,
  );
  return ExitCode.FAILED;
}

const SCHEMES = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' } as const;

/**
 * `swarmq is ready: node-1 tcp=mqtt://0.0.0.0:1883 ws=ws://0.0.0.0:8083/mqtt admin=http://127.0.0.1:18083`: each
 * listener by its name, with the port that it has.
 */
export function readyLine(
  config: CompiledConfig,
  ports: { listeners: Record<string, number>; admin: number | null },
): string {
  const words = config.listeners.map(
    (listener) => `${listener.name}=${addressOf(listener, ports.listeners[listener.name] ?? listener.port)}`,
  );
  if (config.admin && ports.admin !== null) {
    words.push(`admin=http://${bracketed(config.admin.host)}:${ports.admin}`);
  }
  return `swarmq is ready: ${config.node.name} ${words.join(' ')}`;
}

function addressOf(listener: CompiledListener, port: number): string {
  const path = listener.type === 'ws' || listener.type === 'wss' ? listener.path : '';
  return `${SCHEMES[listener.type]}://${bracketed(listener.host)}:${port}${path}`;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
