// One node as what runs in this process: in the one that was started, or in a worker of it. Makes it from the
// configuration, says what it has opened, ends it.

import { setFlagsFromString } from 'node:v8';
import type { CompiledConfig, CompiledListener } from '../config/compile.ts';
import { stopPointOf } from '../config/env.ts';
import type { NodeMeans, RunningNode } from '../node.ts';
import { armStopPoint } from '../util/stop-point.ts';
import { ExitCode, type Terminal } from './command.ts';
import type { Program } from './program.ts';

export class NodeProgram implements Program {
  readonly #configOf: () => Promise<CompiledConfig>;
  readonly #terminal: Terminal;
  readonly #means: NodeMeans;
  #node: RunningNode | null = null;

  constructor(configOf: () => Promise<CompiledConfig>, terminal: Terminal, means: NodeMeans = {}) {
    this.#configOf = configOf;
    this.#terminal = terminal;
    this.#means = means;
  }

  async start(): Promise<string> {
    // Functions compiled before the first client needs them: else it waits tens of milliseconds for its CONNACK, and a
    // device that lost its node meets the first one of the next.
    setFlagsFromString('--no-lazy');
    setFlagsFromString('--no-flush-bytecode');
    const { startNode } = await import('../node.ts');
    const config = await this.#configOf();
    const node = await startNode(config, this.#means);
    this.#node = node;
    const stopAt = stopPointOf(this.#terminal.environment);
    if (stopAt !== undefined) armStopPoint(stopAt);
    return readyLine(config, node.ports);
  }

  reload(): void {
    this.#node?.reload();
  }

  async stop(): Promise<ExitCode> {
    await this.#node?.stop();
    return ExitCode.OK;
  }

  kill(): void {
    // Nothing of a node outlives its process.
  }
}

const SCHEMES = { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' } as const;

/**
 * `swarmq is ready: node-1 tcp=mqtt://0.0.0.0:1883 ws=ws://0.0.0.0:8083/mqtt admin=http://127.0.0.1:18083`: each
 * listener that is open by its name, with the port that it has.
 */
export function readyLine(config: CompiledConfig, ports: RunningNode['ports']): string {
  const words = config.listeners.flatMap((listener) => {
    const port = ports.listeners[listener.name];
    return port ? [`${listener.name}=${addressOf(listener, port)}`] : [];
  });
  if (config.admin && ports.admin !== null) {
    words.push(`admin=http://${bracketed(config.admin.host)}:${ports.admin}`);
  }
  return ['swarmq is ready:', config.node.name, ...words].join(' ');
}

function addressOf(listener: CompiledListener, port: number): string {
  const path = listener.type === 'ws' || listener.type === 'wss' ? listener.path : '';
  return `${SCHEMES[listener.type]}://${bracketed(listener.host)}:${port}${path}`;
}

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
