// The indexes by which sweeps find what is due: each is a sorted set of client ids for each bucket of sessions. Most are
// empty most of the time, and every node looks at them twice a second, so that those of a group of buckets are asked for
// together first. In a Cluster each bucket has a slot of its own, and asking would cost what reading does.

import { type Keyspace, SESSION_BUCKETS } from './keyspace.ts';
import { SESSION_SLOTS } from './receiver-slot.ts';
import { asNumber, encodeCommand, type Reply } from './resp.ts';
import type { SideCalls } from './side-calls.ts';

/** Buckets that one EXISTS asks for: eight commands for all. */
const GROUP = 32;

export class BucketIndex {
  readonly #side: SideCalls;
  readonly #keyOf: (bucket: number) => string;
  readonly #buckets = Array.from({ length: SESSION_BUCKETS }, (_none, bucket) => bucket);
  /** EXISTS for each group, made once. */
  #asks: Buffer[] | null = null;

  constructor(side: SideCalls, keyspace: Keyspace, name: 'due' | 'orphaned' | 'takenAt' | 'marked') {
    this.#side = side;
    this.#keyOf = (bucket) => keyspace[name](bucket);
  }

  /** Buckets, rising, among which all are whose index has something; in a Cluster all there are. */
  async occupied(): Promise<readonly number[]> {
    const buckets = this.#buckets;
    if (this.#side.groupOf(1) !== 0) return buckets;
    this.#asks ??= Array.from({ length: SESSION_BUCKETS / GROUP }, (_none, group) =>
      encodeCommand('EXISTS', ...buckets.slice(group * GROUP, (group + 1) * GROUP).map(this.#keyOf)),
    );
    const asks = this.#asks;
    const counts = await this.#side.runAll(0, () => asks);
    return buckets.filter((bucket) => asNumber(counts[Math.floor(bucket / GROUP)]) > 0);
  }

  /** One command for each bucket that may have something, in as few writes as the slots allow: bucket and reply. */
  async each(encode: (key: string) => Buffer): Promise<(readonly [number, Reply])[]> {
    const buckets = await this.occupied();
    if (buckets.length === 0) return [];
    const commands = buckets.map((bucket) => encode(this.#keyOf(bucket)));
    const replies =
      this.#side.groupOf(1) === 0
        ? await this.#side.runAll(0, () => commands)
        : await Promise.all(
            commands.map((command, index) =>
              this.#side.run(SESSION_SLOTS[buckets[index] as number]!, () => command),
            ),
          );
    return buckets.map((bucket, index) => [bucket, replies[index] as Reply]);
  }
}
