// Real redis-server processes on loopback: one, or one with replicas and Sentinels (redis-cluster.ts has a Cluster). A server
// can be killed and started again on the same port and folder, stopped and continued. It knows nothing of swarmq's keys.

import type { ChildProcess } from 'node:child_process';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { eventually } from './eventually.ts';
import { type NetProxy, startProxy } from './net-proxy.ts';
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
  /** A proxy that others reach it by; its target becomes this server. */
  proxy?: NetProxy;
  /** More options, as on the command line: { 'cluster-enabled': 'yes' }. */
  config?: Record<string, string>;
  /** Put before the command, for example ['taskset', '-c', '1']. */
  launcher?: string[];
  /** A Sentinel instead of a data server: only the settings of `config` beside port and folder. */
  isSentinel?: boolean;
}

export type ClientKind = 'normal' | 'pubsub' | 'replica' | 'master';

function asLines(settings: Record<string, string>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${value === '' ? '""' : value}\n`)
    .join('');
}

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
    return `redis://127.0.0.1:${this.announcedPort}`;
  }

  /** Where others reach it: the port of its proxy if it has one. */
  get announcedPort(): number {
    return this.#options.proxy?.port ?? this.port;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /**
   * Starts the process, also again after a kill; resolves when it answers (an append-only file is loaded then). It comes up in
   * the role that it had, unless `also` has settings that say another one.
   */
  async start(also: Record<string, string> = {}): Promise<void> {
    // Kept as a file because Redis and Sentinel rewrite a server's role into it; a restart comes up in that role.
    const file = join(this.folder, 'redis.conf');
    if (this.#child === undefined) {
      writeFileSync(file, asLines(this.#settings()));
    }
    // The last of several lines for one setting counts.
    appendFileSync(file, asLines(also));
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
    const { appendonly, appendfsync, maxmemory, replicaOf, proxy, config, isSentinel } = this.#options;
    const place = { port: String(this.port), bind: '127.0.0.1', dir: this.folder, logfile: 'redis.log' };
    if (isSentinel) return { ...place, ...config };
    return {
      ...place,
      save: '',
      appendonly: appendonly ? 'yes' : 'no',
      appendfsync: appendfsync ?? 'everysec',
      'repl-diskless-sync-delay': '0',
      ...(maxmemory ? { maxmemory } : {}),
      ...(replicaOf ? { replicaof: `127.0.0.1 ${replicaOf.announcedPort}` } : {}),
      ...(proxy ? { 'replica-announce-ip': '127.0.0.1', 'replica-announce-port': String(proxy.port) } : {}),
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

  /** What it says it is: 'master' or 'slave' ('sentinel'). */
  async role(): Promise<string> {
    return String(((await this.command('ROLE')) as unknown[])[0]);
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
      if (options.proxy) options.proxy.targetPort = server.port;
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
  /** In the order of the servers; empty unless asked for. */
  proxies: NetProxy[];
  sentinels: RedisServer[];
  masterName: string;
  /** redis+sentinel://h1:p,h2:p,h3:p/name */
  url: string;
  /** The server that this Sentinel calls master now. */
  namedBy(sentinel: RedisServer): Promise<RedisServer | undefined>;
  /** The server that the Sentinels call master now. */
  master(): Promise<RedisServer>;
  /**
   * Starts one that was killed as a replica that cannot be promoted before it is in step, as operators are told to: started
   * as the master it was, it has nothing of what came since, and Sentinel may promote it in the ten seconds that it leaves
   * it so.
   */
  rejoin(server: RedisServer): Promise<void>;
}

export interface SentinelOptions {
  /** Default 1. */
  replicas?: number;
  /** Everybody reaches each server by a proxy of its own. */
  isProxied?: boolean;
  /** A master that is silent that long is down; default 1000. */
  downAfterMs?: number;
  redis?: RedisOptions;
}

/** A master, its replicas and three Sentinels, ready for a failover. */
export async function startSentinelSet(owner: Owner, options: SentinelOptions = {}): Promise<SentinelSet> {
  const masterName = 'main';
  const servers: RedisServer[] = [];
  const proxies: NetProxy[] = [];
  for (let index = 0; index <= (options.replicas ?? 1); index++) {
    const proxy = options.isProxied ? await startProxy(owner, 0) : undefined;
    if (proxy) proxies.push(proxy);
    servers.push(await startRedis(owner, { ...options.redis, proxy, replicaOf: servers[0] }));
  }
  const first = servers[0]!;
  await eventually('replicas are in step', async () => {
    const info = await first.info('replication');
    const online = [...info.values()].filter((value) => value.includes('state=online')).length;
    return online === servers.length - 1;
  });
  const sentinels: RedisServer[] = [];
  for (let index = 0; index < 3; index++) {
    sentinels.push(await startSentinel(owner, masterName, first.announcedPort, options.downAfterMs ?? 1000));
  }
  await eventually('Sentinels know each other and the replicas', async () => {
    for (const sentinel of sentinels) {
      const line = (await sentinel.info('sentinel')).get('master0') ?? '';
      if (!line.includes(`slaves=${servers.length - 1},sentinels=3`)) return false;
    }
    return true;
  });
  const namedBy = async (sentinel: RedisServer) => {
    const answer = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', masterName);
    return servers.find((server) => server.announcedPort === Number((answer as string[])[1]));
  };
  const master = async () => {
    for (const sentinel of sentinels.filter((candidate) => candidate.isRunning)) {
      const found = await namedBy(sentinel);
      if (found) return found;
    }
    throw new Error('no Sentinel names a master');
  };
  return {
    servers,
    proxies,
    sentinels,
    masterName,
    url: `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${masterName}`,
    namedBy,
    master,
    async rejoin(server) {
      const { announcedPort } = await master();
      await server.start({ replicaof: `127.0.0.1 ${announcedPort}`, 'replica-priority': '0' });
      await eventually(
        'the replica is in step',
        async () => (await server.info('replication')).get('master_link_status') === 'up',
        30_000,
      );
      await server.command('CONFIG', 'SET', 'replica-priority', '100');
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
      // Three that vote for themselves in one instant elect nobody (1 failover of 70); the next try comes after twice this.
      'sentinel failover-timeout': `${name} 4000`,
    },
  });
}
