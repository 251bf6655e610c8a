// What the Redis store is built from: the compiled address, the durability, the limits, and the means it shares with
// the rest of the node. Everything that tests want to own (time, chance) comes in here; defaults live in config/.

import type { CompiledDurability, CompiledRedis } from '../../config/compile.ts';
import type { Clock } from '../../util/clock.ts';
import type { Random } from '../../util/random.ts';
import type { StoreLimits } from '../limits.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

/** One log line: a constant sentence and its variables as fields. */
export type StoreLog = (level: LogLevel, message: string, fields?: Record<string, unknown>) => void;

/** Numbers for the metrics; the store only counts, observability/ reads. Times are ms. */
export interface StoreCounters {
  batches: number;
  /** Script calls of the lanes. */
  calls: number;
  /** Operations answered. */
  operations: number;
  /** Calls repeated after a cut connection or a passing refusal. */
  repetitions: number;
  /** WAIT or WAITAOF that counted too few and was asked again. */
  shortWaits: number;
  /** Connections to Redis that ended without our asking. */
  disconnects: number;
  /** Called once for each batch that was answered: from its writing to its last answer, and what it completed. */
  readonly onBatch: (durationMs: number, operations: number) => void;
}

export const newStoreCounters = (onBatch: StoreCounters['onBatch'] = () => {}): StoreCounters => ({
  batches: 0,
  calls: 0,
  operations: 0,
  repetitions: 0,
  shortWaits: 0,
  disconnects: 0,
  onBatch,
});

export interface RedisStoreOptions {
  readonly redis: CompiledRedis;
  readonly durability: CompiledDurability;
  readonly limits: StoreLimits;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: StoreLog;
  readonly counters: StoreCounters;
}
