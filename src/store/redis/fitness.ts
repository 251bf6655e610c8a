// Whether a Redis server fits: what is checked when the first connection stands, each problem told by one clear sentence.
// A server that cannot be reached is not judged; that is waited for.

import type { CompiledDurability, CompiledRedis } from '../../config/compile.ts';
import type { ServerFacts } from './client.ts';

const OLDEST = [6, 2] as const;
/** WAITAOF came with it. */
const OLDEST_FOR_FSYNC = [7, 2] as const;

function isOlder(version: string, than: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major < than[0] || (major === than[0] && minor < than[1]);
}

/** The sentence that says why the server does not fit, or null when it does. */
export function findMisfit(
  facts: ServerFacts,
  redis: CompiledRedis,
  durability: CompiledDurability,
): string | null {
  if (isOlder(facts.version, OLDEST)) {
    return `Redis ${facts.version} is too old, 6.2 or later is needed`;
  }
  if (durability.level === 'fsync' && isOlder(facts.version, OLDEST_FOR_FSYNC)) {
    return `durability fsync needs WAITAOF of Redis 7.2 or later, this is ${facts.version}`;
  }
  if (durability.level === 'fsync' && !facts.hasAppendOnlyFile) {
    return 'durability fsync needs the append-only file of Redis: set appendonly to yes';
  }
  if (facts.evictionPolicy !== '' && facts.evictionPolicy !== 'noeviction') {
    return `maxmemory-policy is ${facts.evictionPolicy}: Redis would throw away messages, set it to noeviction`;
  }
  if (facts.isCluster && redis.mode !== 'cluster') {
    return 'the server is part of a Redis Cluster, give its address as redis+cluster://';
  }
  if (!facts.isCluster && redis.mode === 'cluster') {
    return 'the server is not part of a Redis Cluster, give its address as redis://';
  }
  return null;
}
