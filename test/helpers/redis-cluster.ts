// A Redis Cluster on loopback: three masters, with replicas if asked for, each reached by a proxy of its own if asked for.
// Slots can be moved, and the master that serves a shard found after a failover.

import { eventually } from './eventually.ts';
import { type NetProxy, startProxy } from './net-proxy.ts';
import { freePort, type Owner } from './owner.ts';
import { type RedisOptions, type RedisServer, startRedis } from './redis-server.ts';

const MASTERS = 3;

export interface RedisClusterOptions extends RedisOptions {
  /** Of each master; default 0. */
  replicas?: number;
  /** Everybody reaches each server by a proxy of its own; the bus between the servers has none. */
  isProxied?: boolean;
}

/** One range of slots: first, last, then host, port and id of the master, then the same of its replicas. */
type SlotRange = [number, number, ...[string, number, string][]];

/** Made by `startRedisCluster`. */
export class RedisCluster {
  /** The first masters. */
  readonly masters: RedisServer[];
  /** All servers, the first masters first. */
  readonly servers: RedisServer[];
  /** In the order of the servers; empty unless asked for. */
  readonly proxies: NetProxy[];

  constructor(servers: RedisServer[], proxies: NetProxy[]) {
    this.servers = servers;
    this.masters = servers.slice(0, MASTERS);
    this.proxies = proxies;
  }

  /** redis+cluster://h1:p,h2:p,h3:p */
  get url(): string {
    return `redis+cluster://${this.servers.map((server) => `127.0.0.1:${server.announcedPort}`).join(',')}`;
  }

  /** The shards as `server` knows them: the slots of each, its master and the replicas of that. */
  async shards(
    server: RedisServer,
  ): Promise<{ from: number; to: number; id: string; master: RedisServer; replicas: RedisServer[] }[]> {
    const ranges = (await server.command('CLUSTER', 'SLOTS')) as SlotRange[];
    return ranges.map(([from, to, ...servers]) => {
      const found = servers.map(
        ([, port]) => this.servers.find((candidate) => candidate.announcedPort === port)!,
      );
      return { from, to, id: servers[0]![2], master: found[0]!, replicas: found.slice(1) };
    });
  }

  /** Gives a slot, with its keys one after the other, to the next master. Clients meet MOVED and ASK meanwhile. */
  async moveSlot(slot: number): Promise<void> {
    const shards = await this.shards(this.servers.find(({ isRunning }) => isRunning)!);
    const masters = [...new Map(shards.map((shard) => [shard.master, shard.id]))];
    const source = shards.find(({ from, to }) => from <= slot && slot <= to)!;
    const index = masters.findIndex(([master]) => master === source.master);
    const [target, targetId] = masters[(index + 1) % masters.length]!;
    await target.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', source.id);
    await source.master.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', targetId);
    for (;;) {
      const keys = (await source.master.command('CLUSTER', 'GETKEYSINSLOT', slot, 10)) as string[];
      if (keys.length === 0) break;
      await source.master.command('MIGRATE', '127.0.0.1', target.port, '', 0, 5000, 'KEYS', ...keys);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const others = masters.map(([master]) => master);
    for (const master of [target, source.master, ...others]) {
      await master.command('CLUSTER', 'SETSLOT', slot, 'NODE', targetId);
    }
  }
}

/** Three masters that share the 16,384 slots; a slot whose master is away does not take the others with it. */
export async function startRedisCluster(
  owner: Owner,
  options: RedisClusterOptions = {},
): Promise<RedisCluster> {
  const servers: RedisServer[] = [];
  const proxies: NetProxy[] = [];
  const busPorts: number[] = [];
  for (let index = 0; index < MASTERS * (1 + (options.replicas ?? 0)); index++) {
    const proxy = options.isProxied ? await startProxy(owner, 0) : undefined;
    if (proxy) proxies.push(proxy);
    const busPort = await freePort();
    busPorts.push(busPort);
    const config = {
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-port': String(busPort),
      'cluster-node-timeout': '2000',
      'cluster-require-full-coverage': 'no',
      'cluster-announce-ip': '127.0.0.1',
      ...(proxy ? { 'cluster-announce-port': String(proxy.port) } : {}),
      ...(proxy ? { 'cluster-announce-bus-port': String(busPort) } : {}),
      ...options.config,
    };
    servers.push(await startRedis(owner, { ...options, proxy, config }));
  }
  const cluster = new RedisCluster(servers, proxies);
  const bounds = [0, 5461, 10_923, 16_384];
  for (const [index, server] of servers.entries()) {
    if (index < MASTERS) {
      await server.command('CLUSTER', 'ADDSLOTSRANGE', bounds[index]!, bounds[index + 1]! - 1);
    }
    if (index > 0) await server.command('CLUSTER', 'MEET', '127.0.0.1', servers[0]!.port, busPorts[0]!);
  }
  await agreement(servers);
  for (const [index, server] of servers.entries()) {
    if (index < MASTERS) continue;
    const id = String(await servers[index % MASTERS]!.command('CLUSTER', 'MYID'));
    await server.command('CLUSTER', 'REPLICATE', id);
  }
  await eventually('the replicas are in step', async () => {
    for (const server of servers.slice(MASTERS)) {
      if ((await server.info('replication')).get('master_link_status') !== 'up') return false;
    }
    const shards = await Promise.all(servers.map((server) => cluster.shards(server)));
    return shards.flat().every(({ replicas }) => replicas.length === (options.replicas ?? 0));
  });
  return cluster;
}

async function agreement(servers: RedisServer[]): Promise<void> {
  await eventually('the Cluster agrees', async () => {
    for (const server of servers) {
      const text = String(await server.command('CLUSTER', 'INFO'));
      const isWhole =
        text.includes('cluster_slots_ok:16384') && text.includes(`cluster_known_nodes:${servers.length}`);
      if (!isWhole || !text.includes('cluster_state:ok')) return false;
    }
    return true;
  });
}
