// What the laboratory breaks: nodes on one Redis, on a Sentinel set, on a Redis Cluster, or one node on its embedded store,
// each node behind a proxy for its clients, and Redis behind proxies as well: one for each node where all speak to one
// server, one for each server where Sentinel or the slot map names the servers.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WIDE_QUEUES } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { type NetProxy, startProxy } from '../helpers/net-proxy.ts';
import { type Owner, temporaryFolder } from '../helpers/owner.ts';
import { type RedisCluster, startRedisCluster } from '../helpers/redis-cluster.ts';
import {
  type RedisOptions,
  type RedisServer,
  type SentinelSet,
  startRedis,
  startSentinelSet,
} from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';
import { preloadEnvironment, shiftClock } from './preload.ts';

export const TOPOLOGY_KINDS = ['standalone', 'sentinel', 'cluster', 'embedded'] as const;
export type TopologyKind = (typeof TOPOLOGY_KINDS)[number];

/**
 * What an acknowledgement waits for. none: no append-only file at all; no, everysec and always: `appendfsync`; replicas: one
 * replica of each master confirms (WAIT), with everysec.
 */
export const DURABILITIES = ['none', 'no', 'everysec', 'always', 'replicas'] as const;
export type Durability = (typeof DURABILITIES)[number];

export interface TopologyOptions {
  kind: TopologyKind;
  durability: Durability;
  /** Words that start another program than the one under test. */
  program?: string[];
  /** False for a program that does not answer `/readyz`. */
  hasAdmin?: boolean;
}

/** One node, and the ways to it and from it. */
export class Member {
  readonly node: SwarmqNode;
  /** What clients connect to. */
  readonly clients: NetProxy;
  /** Between this node and Redis, where that is this node's alone. */
  readonly redis: NetProxy | undefined;
  readonly #shiftFile: string;

  constructor(node: SwarmqNode, clients: NetProxy, redis: NetProxy | undefined, shiftFile: string) {
    this.node = node;
    this.clients = clients;
    this.redis = redis;
    this.#shiftFile = shiftFile;
  }

  get name(): string {
    return this.node.name;
  }

  /** Sets the node's wall clock that far off, until its process ends. */
  shiftClock(shiftMs: number): void {
    shiftClock(this.node.pid, this.#shiftFile, shiftMs);
  }
}

/** Made by `startTopology`. */
export class Topology {
  readonly kind: TopologyKind;
  readonly durability: Durability;
  readonly members: Member[];
  /** All data servers. */
  readonly servers: RedisServer[];
  /** Proxies in front of Redis, of nodes or of servers. */
  readonly links: NetProxy[];
  readonly sentinel: SentinelSet | undefined;
  readonly cluster: RedisCluster | undefined;
  readonly #hasAdmin: boolean;

  constructor(options: TopologyOptions, redis: RedisSide, members: Member[]) {
    this.kind = options.kind;
    this.durability = options.durability;
    this.#hasAdmin = options.hasAdmin ?? true;
    this.members = members;
    this.servers = redis.servers;
    this.sentinel = redis.sentinel;
    this.cluster = redis.cluster;
    const own = members.flatMap((member) => member.redis ?? []);
    this.links = own.length > 0 ? own : ((redis.sentinel ?? redis.cluster)?.proxies ?? []);
  }

  /** Where clients may connect, dead nodes included. */
  get ports(): number[] {
    return this.members.map(({ clients }) => clients.port);
  }

  /** The data servers that are masters now. */
  async masters(): Promise<RedisServer[]> {
    if (this.sentinel) return [await this.sentinel.master()];
    if (!this.cluster) return this.servers.slice(0, 1);
    const asked = this.servers.find(({ isRunning }) => isRunning)!;
    return [...new Set((await this.cluster.shards(asked)).map(({ master }) => master))];
  }

  /** A master that is down or forgotten has a replica that takes its place. */
  get failsOver(): boolean {
    return this.sentinel !== undefined || this.servers.length > 3;
  }

  /** Every node runs and says that it is ready. Throws with the name of one that is not. */
  async whole(withinMs = 60_000): Promise<void> {
    for (const { node, name } of this.members) {
      if (!node.isRunning) throw new Error(`node ${name} is not running`);
      if (!this.#hasAdmin) continue;
      await eventually(
        `node ${name} is ready again`,
        async () => (await node.admin('/readyz')).status === 200,
        withinMs,
      );
    }
  }

  /** Puts what nodes and servers have logged into `folder`. */
  writeLogs(folder: string): void {
    mkdirSync(folder, { recursive: true });
    for (const { node, name } of this.members) writeFileSync(join(folder, `node-${name}.log`), node.log);
    for (const server of [...this.servers, ...(this.sentinel?.sentinels ?? [])]) {
      writeFileSync(join(folder, `redis-${server.port}.log`), server.log());
    }
  }
}

interface RedisSide {
  servers: RedisServer[];
  /** Undefined for the embedded store. */
  url?: string;
  sentinel?: SentinelSet;
  cluster?: RedisCluster;
}

/** Three nodes (one for the embedded store) that are ready. Names are a, b, c. */
export async function startTopology(owner: Owner, options: TopologyOptions): Promise<Topology> {
  const redis = await startRedisSide(owner, options);
  const names = options.kind === 'embedded' ? ['a'] : ['a', 'b', 'c'];
  const members = await Promise.all(names.map((name) => startMember(owner, name, options, redis)));
  return new Topology(options, redis, members);
}

async function startMember(
  owner: Owner,
  name: string,
  options: TopologyOptions,
  redis: RedisSide,
): Promise<Member> {
  const link = options.kind === 'standalone' ? await startProxy(owner, redis.servers[0]!.port) : undefined;
  const durability = options.durability === 'replicas' ? 'durability: replicas:1\n' : '';
  const shiftFile = join(temporaryFolder(owner, 'clock'), 'shift');
  const clients = await startProxy(owner, 0);
  const node = await startNode(owner, {
    name,
    redis: link ? `redis://127.0.0.1:${link.port}` : redis.url,
    config: `${WIDE_QUEUES}${durability}`,
    program: options.program,
    env: preloadEnvironment(shiftFile),
    // Machines on which many things run at once are slow.
    readyWithinMs: 120_000,
  });
  clients.targetPort = node.port;
  return new Member(node, clients, link, shiftFile);
}

async function startRedisSide(owner: Owner, { kind, durability }: TopologyOptions): Promise<RedisSide> {
  if (kind === 'embedded') return { servers: [] };
  const replicas = durability === 'replicas' ? 1 : 0;
  const redis: RedisOptions = {
    appendonly: durability !== 'none',
    appendfsync: durability === 'always' || durability === 'no' ? durability : 'everysec',
    // A cut link to a replica goes on where it was, as with any backlog of a sensible size.
    config: { 'repl-backlog-size': '64mb' },
  };
  if (kind === 'sentinel') {
    // As the operator is told to: a server that was cut off takes nothing, however often Sentinel turns back to it.
    const config = { ...redis.config, 'min-replicas-to-write': String(replicas) };
    const sentinel = await startSentinelSet(owner, { redis: { ...redis, config }, isProxied: true });
    return { servers: sentinel.servers, url: sentinel.url, sentinel };
  }
  if (kind === 'cluster') {
    const cluster = await startRedisCluster(owner, { ...redis, replicas, isProxied: true });
    return { servers: cluster.servers, url: cluster.url, cluster };
  }
  const master = await startRedis(owner, redis);
  const servers = [master];
  if (replicas > 0) servers.push(await startRedis(owner, { ...redis, replicaOf: master }));
  return { servers, url: master.url };
}
