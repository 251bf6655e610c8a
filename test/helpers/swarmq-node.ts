// One swarmq node as a process of its own, started by its command line as an operator would and known only by its ports,
// its log and its signals. The same port and folder serve after a restart.

import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cleanEnvironment, swarmqCommand } from './command-line.ts';
import { eventually } from './eventually.ts';
import { endChild, ended, freePort, hasEnded, type Owner, spawnOwned, temporaryFolder } from './owner.ts';

export interface NodeOptions {
  /** Without it the node uses the embedded store in its folder. */
  redis?: string;
  name?: string;
  /** Content of a configuration file. */
  config?: string;
  args?: string[];
  env?: Record<string, string>;
  logLevel?: string;
  /** Put before the command, for example ['taskset', '-c', '1']. */
  launcher?: string[];
  /** Another program with the same command line than the one under test. */
  program?: string[];
  readyWithinMs?: number;
}

/** Made by `startNode`. */
export class SwarmqNode {
  readonly name: string;
  readonly port: number;
  readonly folder: string;
  /** 0 when the node has said nothing of an admin listener. */
  adminPort = 0;
  /** The line on stdout that said "ready". */
  readyLine = '';
  /** Milliseconds from spawn to that line. */
  readyMs = 0;
  readonly #options: NodeOptions;
  #child: ChildProcess | undefined;
  #log = '';

  constructor(port: number, folder: string, options: NodeOptions) {
    this.port = port;
    this.folder = folder;
    this.name = options.name ?? `node-${port}`;
    this.#options = options;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /** All that the node wrote to stderr since its first start, at most the last megabyte. */
  get log(): string {
    return this.#log;
  }

  /** Starts the process, also again after an end, `extra` in its environment; resolves at its line on stdout. */
  async start(extra: Record<string, string> = {}): Promise<void> {
    const { redis, config, args, env, logLevel, launcher, program, readyWithinMs } = this.#options;
    const command = [
      ...(launcher ?? []),
      ...(program ?? nodeCommand()),
      'start',
      '--node',
      this.name,
      '--port',
      String(this.port),
    ];
    command.push('--ws-port', 'off', '--admin-port', '0', '--data', join(this.folder, 'data'));
    command.push('--log-level', logLevel ?? 'info');
    if (redis) command.push('--redis', redis);
    if (config) {
      const file = join(this.folder, 'swarmq.yaml');
      writeFileSync(file, config);
      command.push('--config', file);
    }
    command.push(...(args ?? []));
    const started = performance.now();
    const child = spawnOwned(command[0]!, command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: cleanEnvironment({ ...env, ...extra }),
    });
    this.#child = child;
    this.readyLine = '';
    let output = '';
    child.stdout!.on('data', (chunk: Buffer) => {
      if (this.readyLine) return;
      output += chunk;
      const line = output
        .split('\n')
        .slice(0, -1)
        .find((candidate) => /ready|listen|mqtt/i.test(candidate));
      if (line === undefined) return;
      this.readyLine = line;
      this.readyMs = performance.now() - started;
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk).slice(-1_000_000);
    });
    await eventually(
      `node ${this.name} is ready`,
      () => this.readyLine !== '' || hasEnded(child),
      readyWithinMs ?? 30_000,
    );
    if (this.readyLine === '') {
      throw new Error(
        `node ${this.name} ended with ${child.exitCode ?? child.signalCode}: ${output}${this.#log.slice(-2000)}`,
      );
    }
    this.adminPort = portOf(this.readyLine, 'admin') ?? 0;
  }

  /** SIGKILL; resolves when the process is gone. */
  async sigkill(): Promise<void> {
    if (this.#child) await endChild(this.#child, 'SIGKILL');
  }

  /** SIGTERM: a clean end; resolves with the exit code. */
  async stop(): Promise<number | null> {
    if (this.#child) await endChild(this.#child, 'SIGTERM', 15_000);
    return this.#child?.exitCode ?? null;
  }

  sigstop(): void {
    this.#child?.kill('SIGSTOP');
  }

  sigcont(): void {
    this.#child?.kill('SIGCONT');
  }

  /** Resolves when the process has ended by whatever cause. */
  async ended(): Promise<void> {
    if (this.#child) await ended(this.#child);
  }

  /** Resident memory in bytes. */
  residentBytes(): number {
    const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'));
    return Number(line?.[1] ?? 0) * 1024;
  }

  /** Body of an admin page, for example '/metrics'. */
  async admin(path: string): Promise<{ status: number; body: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.adminPort}${path}`);
    return { status: answer.status, body: await answer.text() };
  }

  /** Sum of all samples of one Prometheus metric, or undefined where there is none; `labels` is a part of the label text. */
  async metric(name: string, labels = ''): Promise<number | undefined> {
    return metricIn((await this.admin('/metrics')).body, name, labels);
  }
}

/** The same of a page of metrics. */
export function metricIn(page: string, name: string, labels = ''): number | undefined {
  let sum: number | undefined;
  for (const line of page.split('\n')) {
    const match = /^([a-zA-Z_:][\w:]*)(\{[^}]*\})? (\S+)/.exec(line);
    if (match && match[1] === name && (match[2] ?? '').includes(labels)) sum = (sum ?? 0) + Number(match[3]);
  }
  return sum;
}

/** The program under test; SWARMQ_PROGRAM names another one with the same command line, as an installed release. */
function nodeCommand(): string[] {
  return process.env.SWARMQ_PROGRAM?.split(' ') ?? swarmqCommand();
}

/** The port that `line` gives for `listener`, in JSON or in words ("mqtt 127.0.0.1:1883"). */
export function portOf(line: string, listener: string): number | undefined {
  const match = new RegExp(`${listener}[^\\d]*(?:\\d+\\.\\d+\\.\\d+\\.\\d+:)?(\\d+)`, 'i').exec(line);
  return match ? Number(match[1]) : undefined;
}

/** Starts a node on a free port with a folder of its own; killed at teardown. */
export async function startNode(owner: Owner, options: NodeOptions = {}): Promise<SwarmqNode> {
  const node = new SwarmqNode(await freePort(), temporaryFolder(owner, 'node'), options);
  owner.teardown(() => node.sigkill());
  await node.start();
  return node;
}

/** `count` nodes on one Redis, started side by side and named a, b, c ... */
export async function startNodes(owner: Owner, count: number, options: NodeOptions): Promise<SwarmqNode[]> {
  const names = [...'abcdefghij'].slice(0, count);
  return Promise.all(names.map((name) => startNode(owner, { ...options, name })));
}
