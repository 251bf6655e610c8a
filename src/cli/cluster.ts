// `swarmq cluster`: a whole cluster on this machine, for trying things out and breaking them. A private Redis (unless
// one is given) and N node processes; a node that dies is shown and started again on its port. Whatever ends this
// process ends the others too (see child.ts). Nodes let everybody in by default, so these listen on the loopback address
// only, whatever the configuration says.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Environment, variableOf } from '../config/env.ts';
import { loadConfig } from '../config/load.ts';
import { plain } from '../config/nearest.ts';
import { ConfigError } from '../config/problem.ts';
import { SwarmqError } from '../util/errors.ts';
import { Child } from '../workers/child.ts';
import {
  type Command,
  complainOfConfig,
  ExitCode,
  flagLines,
  parseCommandLine,
  type Terminal,
} from './command.ts';
import { findFreePort, findRedisServer, redisCommand } from './private-redis.ts';

const NODES_MAX = 64;
/** From a node's MQTT port to its admin port: from 1883 to 18083. */
const ADMIN_DISTANCE = 16_200;
const PORT_MAX = 65_535;
const LOOPBACK = '127.0.0.1';

const FLAGS = [
  { name: 'nodes', value: 'N', doc: `number of nodes (3; at most ${NODES_MAX})` },
  {
    name: 'base-port',
    value: 'N',
    doc: 'MQTT port of the first node (1883); 0 picks free ports for everything',
  },
  { name: 'redis', value: 'URL', doc: 'Redis to use instead of a private one' },
  { name: 'no-restart', doc: 'leave a node that died dead' },
  { name: 'config', value: 'FILE', doc: 'configuration file for all nodes' },
  { name: 'log-level', value: 'L', doc: 'log level of the nodes' },
];

export const clusterCommand: Command = {
  name: 'cluster',
  summary: 'run a local cluster with a Redis of its own',
  help: `Usage: swarmq cluster [flags]

Runs several nodes on this machine until Ctrl-C: MQTT on 1883, 1884, 1885, admin HTTP on ports that are
${ADMIN_DISTANCE} higher (lower, where there are none), all on ${LOOPBACK} only. Other listeners of the configuration need port 0, since every node opens them.
Starts redis-server or valkey-server from PATH unless a Redis is given.

${flagLines(FLAGS)}

Exit codes: 0 stopped, 1 failed, 2 wrong command line, 3 bad configuration.`,

  async run(args, terminal) {
    const plan = readPlan(args);
    try {
      const flags = [
        { flag: '--redis', path: ['redis', 'url'], value: plan.redis },
        { flag: '--log-level', path: ['log', 'level'], value: plan.logLevel },
        { flag: '--nodes', path: ['workers'], value: '1' },
      ].flatMap(({ value, ...flag }) => (value === undefined ? [] : [{ ...flag, value }]));
      const sources = { file: plan.config, environment: terminal.environment, flags };
      const { redis, listeners } = loadConfig(sources).config;
      const names = listeners.map((listener) => listener.name);
      const environment = loopbackEnvironment(terminal.environment, names);
      return await runCluster({ ...plan, environment, needsRedis: redis === null }, terminal);
    } catch (error) {
      if (error instanceof ConfigError) return complainOfConfig(error, terminal);
      throw error;
    }
  },
};

/** `environment` with all hosts that a node listens on set to the loopback address; tcp is there by --port in any case. */
function loopbackEnvironment(environment: Environment, listeners: readonly string[]): Environment {
  const keys = ['tcp', ...listeners].map((name) => `listeners.${name}.host`);
  const variables = new Map(['admin.host', ...keys].map(variableOf).map((name) => [plain(name), name]));
  // Another spelling of the same option would be an error beside ours.
  const others = Object.entries(environment).filter(([name]) => !variables.has(plain(name)));
  const own = [...variables.values()].map((name) => [name, LOOPBACK]);
  return Object.fromEntries([...others, ...own]);
}

interface CommandPlan {
  readonly nodes: number;
  readonly basePort: number;
  readonly redis: string | undefined;
  readonly config: string | undefined;
  readonly logLevel: string | undefined;
  readonly restarts: boolean;
}

interface Plan extends CommandPlan {
  /** What the nodes get. */
  readonly environment: Environment;
  readonly needsRedis: boolean;
}

function readPlan(args: readonly string[]): CommandPlan {
  const { values } = parseCommandLine(
    args,
    {
      nodes: { type: 'string' },
      'base-port': { type: 'string' },
      redis: { type: 'string' },
      'no-restart': { type: 'boolean' },
      config: { type: 'string' },
      'log-level': { type: 'string' },
    },
    0,
  );
  const nodes = wholeNumber('nodes', values.nodes ?? '3', 1, NODES_MAX);
  return {
    nodes,
    basePort: wholeNumber('base-port', values['base-port'] ?? '1883', 0, PORT_MAX + 1 - nodes),
    redis: values.redis as string | undefined,
    config: values.config as string | undefined,
    logLevel: values['log-level'] as string | undefined,
    restarts: values['no-restart'] !== true,
  };
}

function wholeNumber(flag: string, text: unknown, min: number, max: number): number {
  const value = /^\d+$/.test(String(text)) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new SwarmqError(
    'SWARMQ_ERR_USAGE',
    `--${flag} must be a number from ${min} to ${max}, not '${text}'`,
  );
}

/** A node of the cluster and the ports it has; 0 until it has told them. */
interface ClusterNode {
  readonly name: string;
  readonly child: Child;
  readonly ports: { mqtt: number; admin: number };
}

async function runCluster(plan: Plan, terminal: Terminal): Promise<ExitCode> {
  const stopped = new Promise<'stopped'>((resolve) => terminal.onStopSignal(() => resolve('stopped')));
  const folder = mkdtempSync(join(tmpdir(), 'swarmq-cluster-'));
  const children: Child[] = [];
  try {
    const started = startAll(plan, folder, children, terminal);
    const outcome = await Promise.race([started.then(() => 'started' as const), stopped]);
    if (outcome === 'started') await stopped;
    // Nodes before Redis, so that each can release its sessions.
    terminal.print('stopping');
    return ExitCode.OK;
  } finally {
    const [redis, ...nodes] = plan.needsRedis ? children : [undefined, ...children];
    await Promise.all(nodes.map((child) => child?.stop()));
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startAll(plan: Plan, folder: string, children: Child[], terminal: Terminal): Promise<void> {
  let redisUrl = plan.redis;
  if (plan.needsRedis) redisUrl = await startRedis(plan, folder, children, terminal);
  const nodes = Array.from({ length: plan.nodes }, (_, index) =>
    makeNode(index, { ...plan, redis: redisUrl }, folder, terminal),
  );
  children.push(...nodes.map((node) => node.child));
  await Promise.all(nodes.map((node) => startChild(node.child, join(folder, `${node.name}.log`))));
  for (const node of nodes) terminal.print(describeNode(node));
  const publisher = nodes[1] ?? nodes[0];
  terminal.print('');
  terminal.print('Subscribe on node 1, publish on node 2:');
  terminal.print(`  mosquitto_sub -h 127.0.0.1 -p ${nodes[0]?.ports.mqtt} -c -i demo -q 1 -t 'demo/#' -v`);
  terminal.print(`  mosquitto_pub -h 127.0.0.1 -p ${publisher?.ports.mqtt} -q 1 -t demo/hello -m 'hello'`);
  terminal.print('');
  terminal.print(`Logs are in ${folder}. Ctrl-C stops the cluster.`);
}

/**
 * Starts a child; its failure becomes one clear error with the last lines of its log. Where it tells people its reason, it is
 * that: the lines of a node's log are written by another thread, which may be behind it or far ahead.
 */
async function startChild(child: Child, logFile: string): Promise<void> {
  try {
    await child.start();
  } catch (error) {
    const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n');
    const forPeople = lines.filter((line) => !line.startsWith('{'));
    const tail = (forPeople.length > 0 ? forPeople : lines).slice(-5).join('\n  ');
    throw new SwarmqError('SWARMQ_ERR_CLUSTER_START', `${(error as Error).message}\n  ${tail}`);
  }
}

async function startRedis(
  plan: Plan,
  folder: string,
  children: Child[],
  terminal: Terminal,
): Promise<string> {
  const server = findRedisServer(terminal.environment);
  if (!server) {
    throw new SwarmqError(
      'SWARMQ_ERR_CLUSTER_START',
      'neither redis-server nor valkey-server is on PATH; install one, or give --redis URL',
    );
  }
  const port = await findFreePort();
  const dataFolder = join(folder, 'redis');
  const logFile = join(folder, 'redis.log');
  mkdirSync(dataFolder);
  let pid = '';
  const child = new Child({
    name: 'redis',
    command: () => redisCommand(server, port, dataFolder),
    logFile,
    onLine(line) {
      pid = /^pid (\d+)$/.exec(line)?.[1] ?? pid;
      return line.includes('Ready to accept connections');
    },
    onDeath: (how, restartMs) => terminal.print(deathLine('redis', how, restartMs)),
    onReturn: () => terminal.print(`redis is back, pid ${pid}`),
    restarts: plan.restarts,
    clock: terminal.clock,
  });
  children.push(child);
  await startChild(child, logFile);
  terminal.print(`redis: 127.0.0.1:${port}, pid ${pid} (${server}, append-only file on)`);
  return `redis://127.0.0.1:${port}`;
}

function makeNode(index: number, plan: Plan, folder: string, terminal: Terminal): ClusterNode {
  const name = `node-${index + 1}`;
  const isFree = plan.basePort === 0;
  const isHigh = plan.basePort + plan.nodes - 1 + ADMIN_DISTANCE > PORT_MAX;
  const mqtt = plan.basePort + index;
  const admin = mqtt + (isHigh ? -ADMIN_DISTANCE : ADMIN_DISTANCE);
  const ports = isFree ? { mqtt: 0, admin: 0 } : { mqtt, admin };
  const child: Child = new Child({
    name,
    command: () => nodeCommand(terminal.self, name, ports, plan),
    environment: plan.environment,
    logFile: join(folder, `${name}.log`),
    onLine(line) {
      if (!line.startsWith('swarmq is ready: ')) return false;
      // A node that comes back takes the ports it had, so that clients find it.
      ports.mqtt = Number(/ tcp=\S*:(\d+)/.exec(line)?.[1]);
      ports.admin = Number(/ admin=\S*:(\d+)/.exec(line)?.[1]);
      return true;
    },
    onDeath: (how, restartMs) => terminal.print(deathLine(name, how, restartMs)),
    onReturn: () => terminal.print(`${describeNode({ name, child, ports })} (back)`),
    restarts: plan.restarts,
    clock: terminal.clock,
  });
  return { name, child, ports };
}

function nodeCommand(
  self: readonly string[],
  name: string,
  ports: ClusterNode['ports'],
  plan: Plan,
): string[] {
  const command = [...self, 'start', '--node', name, '--workers', '1', '--stop-at-input-end'];
  command.push('--port', String(ports.mqtt), '--ws-port', 'off', '--admin-port', String(ports.admin));
  if (plan.redis !== undefined) command.push('--redis', plan.redis);
  if (plan.config !== undefined) command.push('--config', plan.config);
  if (plan.logLevel !== undefined) command.push('--log-level', plan.logLevel);
  return command;
}

function describeNode({ name, child, ports }: ClusterNode): string {
  return `${name}: mqtt 127.0.0.1:${ports.mqtt}, admin http://127.0.0.1:${ports.admin}, pid ${child.pid}`;
}

function deathLine(name: string, how: string, restartMs: number | undefined): string {
  const next = restartMs === undefined ? 'it stays down' : `starting it again in ${restartMs / 1000} s`;
  return `${name} died (${how}); ${next}`;
}
