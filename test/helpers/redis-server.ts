// Real redis-server processes on loopback: one, one with replicas and Sentinels, or a Cluster of three masters. A server
// can be killed and started again on the same port and folder, stopped and continued. It knows nothing of swarmq's keys.

import type { ChildProcess } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { endChild, freePort, hasEnded, type Owner, spawnOwned, temporaryFolder } from './owner.ts';

export interface RedisOptions {
  /** Append-only file on; default false (nothing survives a kill). */
  appendonly?: boolean;
  /** Default everysec. */
  appendfsync?: 'always' | 'everysec' | 'no';
  /** For example '50mb'. */
  maxmemory?: string;
  /** Start as replica of this server. */
  replicaOf?: RedisServer;
  /** More options, as on the command line: { 'cluster-enabled': 'yes' }. */
  config?: Record<string, string>;
  /** Put before the command, for example ['taskset', '-c', '1']. */
  launcher?: string[];
  /** A Sentinel instead of a data server: only the settings of `config` beside port and folder. */
  isSentinel?: boolean;
}

export type ClientKind = 'normal' | 'pubsub' | 'replica' | 'master';

/** One redis-server process. Made by `startRedis`. */
export class RedisServer {
  readonly port: number;
  readonly folder: string;
  readonly #options: RedisOptions;
  #child: ChildProcess | undefined;
  #control: Redis | undefined;

  constructor(port: number, folder: string, options: RedisOptions) {
    this.port = port;
    this.folder = folder;
    this.#options = options;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /** Starts the process, also again after a kill; resolves when it answers (an append-only file is loaded then). */
  async start(): Promise<void> {
    // Kept as a file because Redis and Sentinel rewrite a server's role into it; a restart comes up in that role.
    const file = join(this.folder, 'redis.conf');
    if (this.#child === undefined) {
      const lines = Object.entries(this.#settings()).map(
        ([name, value]) => `${name} ${value === '' ? '""' : value}`,
      );
      writeFileSync(file, `${lines.join('\n')}\n`);
    }
    const mode = this.#options.isSentinel ? ['--sentinel'] : [];
    const command = [...(this.#options.launcher ?? []), 'redis-server', file, ...mode];
    const child = spawnOwned(command[0]!, command.slice(1), { stdio: 'ignore' });
    this.#child = child;
    await eventually(
      `redis-server on ${this.port} answers`,
      async () => {
        if (hasEnded(child)) return 'ended';
        return (await this.command('PING')) === 'PONG';
      },
      30_000,
    );
    if (hasEnded(child)) throw new Error(`redis-server ended at once: ${this.log().slice(-500)}`);
  }

  #settings(): Record<string, string> {
    const { appendonly, appendfsync, maxmemory, replicaOf, config, isSentinel } = this.#options;
    const place = { port: String(this.port), bind: '127.0.0.1', dir: this.folder, logfile: 'redis.log' };
    if (isSentinel) return { ...place, ...config };
    return {
      ...place,
      save: '',
      appendonly: appendonly ? 'yes' : 'no',
      appendfsync: appendfsync ?? 'everysec',
      'repl-diskless-sync-delay': '0',
      ...(maxmemory ? { maxmemory } : {}),
      ...(replicaOf ? { replicaof: `127.0.0.1 ${replicaOf.port}` } : {}),
      ...config,
    };
  }

  log(): string {
    try {
      return readFileSync(join(this.folder, 'redis.log'), 'utf8');
    } catch {
      return '';
    }
  }

  /** Runs one command on the helper's own connection. */
  async command(...words: (string | number)[]): Promise<unknown> {
    const control = this.#openControl();
    if (control.status === 'wait') await control.connect();
    const [name, ...rest] = words;
    return control.call(String(name), ...rest.map(String));
  }

  #openControl(): Redis {
    if (this.#control && this.#control.status !== 'end') return this.#control;
    const control = new Redis({
      port: this.port,
      host: '127.0.0.1',
      lazyConnect: true,
      retryStrategy: () => null,
      maxRetriesPerRequest: 0,
      enableReadyCheck: false,
      connectionName: 'test-control',
    });
    control.on('error', () => {});
    this.#control = control;
    return control;
  }

  /** Fields of INFO as a map of strings. */
  async info(section = 'all'): Promise<Map<string, string>> {
    const text = String(await this.command('INFO', section));
    const pairs = text.split('\r\n').flatMap((line) => {
      const colon = line.indexOf(':');
      return colon > 0 ? [[line.slice(0, colon), line.slice(colon + 1)] as const] : [];
    });
    return new Map(pairs);
  }

  /** Cuts every connection of that kind but the helper's own; returns how many. */
  async clientKill(kind: ClientKind): Promise<number> {
    return Number(await this.command('CLIENT', 'KILL', 'TYPE', kind, 'SKIPME', 'yes'));
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#control?.disconnect();
    if (this.#child) await endChild(this.#child, 'SIGKILL');
  }

  /** Kills and starts again on the same port and folder. */
  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** SIGSTOP: connections stay open and nothing answers. */
  pause(): void {
    this.#child?.kill('SIGSTOP');
  }

  /** SIGCONT. */
  resume(): void {
    this.#child?.kill('SIGCONT');
  }
}

/** Starts a redis-server on a free port in a folder of its own; killed at teardown. */
export async function startRedis(owner: Owner, options: RedisOptions = {}): Promise<RedisServer> {
  const folder = temporaryFolder(owner, 'redis');
  for (let attempt = 0; ; attempt++) {
    const server = new RedisServer(await freePort(), folder, options);
    try {
      await server.start();
      owner.teardown(() => server.kill());
      return server;
    } catch (error) {
      await server.kill();
      if (attempt === 3) throw error;
    }
  }
}

export interface SentinelSet {
  servers: RedisServer[];
  sentinels: RedisServer[];
  masterName: string;
  /** redis+sentinel://h1:p,h2:p,h3:p/name */
  url: string;
  /** The server that the Sentinels call master now. */
  master(): Promise<RedisServer>;
}

export interface SentinelOptions {
  /** Default 1. */
  replicas?: number;
  /** A master that is silent that long is down; default 1000. */
  downAfterMs?: number;
  redis?: RedisOptions;
}

/** A master, its replicas and three Sentinels, ready for a failover. */
export async function startSentinelSet(owner: Owner, options: SentinelOptions = {}): Promise<SentinelSet> {
  const masterName = 'main';
  const first = await startRedis(owner, options.redis);
  const servers = [first];
  for (let index = 0; index < (options.replicas ?? 1); index++) {
    servers.push(await startRedis(owner, { ...options.redis, replicaOf: first }));
  }
  await eventually('replicas are in step', async () => {
    const info = await first.info('replication');
    const online = [...info.values()].filter((value) => value.includes('state=online')).length;
    return online === servers.length - 1;
  });
  const sentinels: RedisServer[] = [];
  for (let index = 0; index < 3; index++) {
    sentinels.push(await startSentinel(owner, masterName, first.port, options.downAfterMs ?? 1000));
  }
  await eventually('Sentinels know each other and the replicas', async () => {
    for (const sentinel of sentinels) {
      const line = (await sentinel.info('sentinel')).get('master0') ?? '';
      if (!line.includes(`slaves=${servers.length - 1},sentinels=3`)) return false;
    }
    return true;
  });
  return {
    servers,
    sentinels,
    masterName,
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${masterName}`,
    async master() {
      for (const sentinel of sentinels.filter((candidate) => candidate.isRunning)) {
        const answer = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName);
        const found = servers.find(({ port }) => port === Number((answer as string[])[1]));
        if (found) return found;
      }
      throw new Error('no Sentinel names a master');
    },
  };
}

async function startSentinel(
  owner: Owner,
  name: string,
  masterPort: number,
  downAfterMs: number,
): Promise<RedisServer> {
  return startRedis(owner, {
    isSentinel: true,
    config: {
      'sentinel monitor': `${name} 127.0.0.1 ${masterPort} 2`,
      'sentinel down-after-milliseconds': `${name} ${downAfterMs}`,
      'sentinel failover-timeout': `${name} 10000`,
    },
  });
}

export interface RedisCluster {
  masters: RedisServer[];
  /** redis+cluster://h1:p,h2:p,h3:p */
  url: string;
}

/** Three masters that share the 16,384 slots; a slot whose master is away does not take the others with it. */
export async function startRedisCluster(owner: Owner, options: RedisOptions = {}): Promise<RedisCluster> {
  const masters: RedisServer[] = [];
  const busPorts: number[] = [];
  for (let index = 0; index < 3; index++) {
    const busPort = await freePort();
    busPorts.push(busPort);
    const config = {
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-port': String(busPort),
      'cluster-node-timeout': '2000',
      'cluster-require-full-coverage': 'no',
      ...options.config,
    };
    masters.push(await startRedis(owner, { ...options, config }));
  }
  const bounds = [0, 5461, 10_923, 16_384];
  for (const [index, master] of masters.entries()) {
    await master.command('CLUSTER', 'ADDSLOTSRANGE', bounds[index]!, bounds[index + 1]! - 1);
    await master.command('CONFIG', 'SET', 'cluster-announce-ip', '127.0.0.1');
    if (index > 0) await master.command('CLUSTER', 'MEET', '127.0.0.1', masters[0]!.port, busPorts[0]!);
  }
  await eventually('the Cluster agrees', async () => {
    for (const master of masters) {
      const text = String(await master.command('CLUSTER', 'INFO'));
      const isWhole = text.includes('cluster_slots_ok:16384') && text.includes('cluster_known_nodes:3');
      if (!isWhole || !text.includes('cluster_state:ok')) return false;
    }
    return true;
  });
  return { masters, url: `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join(',')}` };
}
