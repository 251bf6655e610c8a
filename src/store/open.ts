// Chooses the store: Redis when the configuration names one, else the embedded store, in a directory or in memory. The
// Redis part is loaded only when it is needed, so that a single node starts without it.

import type { CompiledConfig } from '../config/compile.ts';
import type { Clock } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { LevelJournal } from './embedded/journal.ts';
import { MemoryWorld } from './embedded/memory-world.ts';
import type { StoreLimits } from './limits.ts';
import type { StoreCounters, StoreLog } from './redis/options.ts';
import type { Store } from './store.ts';

/** The part of the configuration that a store depends on. */
export type StoreConfig = Pick<CompiledConfig, 'redis' | 'data' | 'durability' | 'limits' | 'cluster'>;

/** What a store shares with the rest of the node. */
export interface StoreMeans {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: StoreLog;
  readonly counters: StoreCounters;
}

/** The store that `config` names, not opened yet: `Store.open` connects it and tells what does not fit. */
export async function makeStore(config: StoreConfig, means: StoreMeans): Promise<Store> {
  const limits = limitsOf(config);
  if (config.redis !== null) {
    const { RedisStore } = await import('./redis/redis-store.ts');
    return new RedisStore({ redis: config.redis, durability: config.durability, limits, ...means });
  }
  const journal = new LevelJournal(config.data.memory ? null : config.data.dir);
  return new MemoryWorld({ limits, journal, clock: means.clock, counters: means.counters }).connect();
}

/** The limits that the store keeps by itself. */
export function limitsOf(config: Pick<CompiledConfig, 'limits' | 'cluster'>): StoreLimits {
  const { limits, cluster } = config;
  return {
    maxQueuedMessages: limits.maxQueuedMessages,
    maxQueuedBytes: limits.maxQueuedBytes,
    queueFullPolicy: limits.queueFullPolicy,
    windowMax: limits.maxInflightMessages,
    maxRetainedMessages: limits.maxRetainedMessages,
    maxRetainedBytes: limits.maxRetainedBytes,
    maxInboxBytes: limits.maxInboxBytes,
    markLifeMs: cluster.markLifeMs,
  };
}
