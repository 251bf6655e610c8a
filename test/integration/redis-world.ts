// Redis stores for tests: options for a server's address, a log that keeps what it was told, and the world of the
// contract suite on a real redis-server. Also nodes on such a store, and what lies in a session's queue.

import type { Test } from 'tap';
import type { CompiledDurability, CompiledRedis } from '../../src/config/compile.ts';
import { parseRedisUrl } from '../../src/config/redis-url.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import { newStoreCounters, type RedisStoreOptions, type StoreLog } from '../../src/store/redis/options.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import type { StoreEvents } from '../../src/store/store.ts';
import { type Clock, delay, systemClock } from '../../src/util/clock.ts';
import { systemRandom } from '../../src/util/random.ts';
import type { RedisServer } from '../helpers/redis-server.ts';
import { ContractNode, type ContractWorld, DEFAULT_LIMITS } from './store-world.ts';

export interface RedisOptionsOfTest {
  limits?: Partial<StoreLimits>;
  durability?: Partial<CompiledDurability>;
  redis?: Partial<CompiledRedis>;
  log?: StoreLog;
  clock?: Clock;
}

export function redisOptions(url: string, options: RedisOptionsOfTest = {}): RedisStoreOptions {
  const address = parseRedisUrl(url);
  if (typeof address === 'string') throw new Error(`${url} ${address}`);
  const { isTls, ...where } = address;
  return {
    redis: {
      ...where,
      prefix: 'test',
      sentinelUsername: undefined,
      sentinelPassword: undefined,
      connectTimeoutMs: 2000,
      tls: isTls
        ? { caFile: undefined, certFile: undefined, keyFile: undefined, rejectUnauthorized: true }
        : null,
      ...options.redis,
    },
    durability: { level: 'written', replicas: 0, timeoutMs: 1000, ...options.durability },
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    clock: options.clock ?? systemClock,
    random: systemRandom,
    log: options.log ?? (() => {}),
    counters: newStoreCounters(),
  };
}

export const silentEvents = (): StoreEvents => ({
  onInbox: () => {},
  onInboxGap: () => {},
  onLog: () => {},
  onAvailability: () => {},
  onHistory: () => {},
});

/** A store that is open, closed at teardown. */
export async function openRedisStore(
  t: Test,
  url: string,
  options: RedisOptionsOfTest = {},
  events: StoreEvents = silentEvents(),
): Promise<RedisStore> {
  const store = new RedisStore(redisOptions(url, options));
  t.teardown(() => store.close());
  await store.open(events);
  return store;
}

let worlds = 0;

/** A world with a key prefix of its own on the servers behind `url`; `restart` restarts them. */
export function redisWorld(
  t: Test,
  url: string,
  limits: Partial<StoreLimits>,
  servers: readonly RedisServer[],
): ContractWorld {
  const prefix = `w${++worlds}`;
  let stores: RedisStore[] = [];
  return {
    async connect(events) {
      const store = await openRedisStore(t, url, { limits, redis: { prefix } }, events);
      stores.push(store);
      return store;
    },
    pass: (ms) => delay(systemClock, ms),
    async restart() {
      for (const store of stores) await store.close();
      stores = [];
      for (const server of servers) await server.restart();
    },
  };
}

let nodes = 0;

/** A node of its own on the server behind `url`, registered. */
export async function makeRedisNode(
  t: Test,
  url: string,
  options: Pick<RedisOptionsOfTest, 'limits' | 'durability' | 'clock'> & { leaseMs?: number } = {},
): Promise<ContractNode> {
  const node = new ContractNode();
  node.store = await openRedisStore(t, url, options, node);
  node.incarnation = `f${++nodes}`;
  await node.store.register(node.incarnation, node.incarnation, options.leaseMs ?? 60_000);
  return node;
}

/** All texts in a session's queue, in its order. */
export async function drain(node: ContractNode, clientId: string): Promise<string[]> {
  const session = await node.claim(clientId);
  const texts: string[] = [];
  let next = session.head;
  while (next <= session.tail) {
    const pulled = await node.pull(clientId, node.owner(session), next, 1000);
    if (pulled.entries.length === 0) break;
    texts.push(...pulled.texts.filter((text) => text !== null));
    next = pulled.first + pulled.entries.length;
  }
  return texts;
}

/** First occurrences: what comes twice at QoS 1 came in the order of these. */
export const firsts = (texts: readonly string[]): string[] => [...new Set(texts)];

/** Where a test takes keys back to what they were: leaves in the records of c what the jump behind a lost tail leaves. */
export async function noteJump(server: RedisServer): Promise<void> {
  const records = (await server.command('KEYS', '*:s:c')) as string[];
  for (const key of records) await server.command('HSET', key, 'b', 0);
}
