// Reading retained messages by filter, in pages over the shards, and their sizes. A shard is walked by read-retained.lua
// in bounded steps; shards are asked several at a time once a page is not filled by the first ones, so that a filter that
// matches little costs few round trips.

import type { RetainedPage } from '../store.ts';
import { type Keyspace, RETAINED_SHARDS, shardOf } from './keyspace.ts';
import { RETAINED_SLOTS } from './receiver-slot.ts';
import { asList, asNumber, asText, encodeCommand, type Reply } from './resp.ts';
import type { RetainedSizes } from './retained-call.ts';
import { defineScript } from './script.ts';
import type { SideCalls } from './side-calls.ts';

const READ_RETAINED = defineScript(
  'read-retained',
  ['values', 'index', 'state'],
  ['version', 'position', 'limit', 'steps'],
);

/** Steps of one call: well under 2 ms of Redis. */
const STEPS_OF_CALL = 200;
/** Messages of one call. */
const MESSAGES_OF_CALL = 150;
/** Before the record: deadline, epoch, number (doubles), then length and text of the writer's client id. */
const VALUE_HEAD = 26;

type Found = { topic: string; record: Buffer };

export class Retained {
  readonly #side: SideCalls;
  readonly #keyspace: Keyspace;
  readonly #sizes: RetainedSizes;

  constructor(side: SideCalls, keyspace: Keyspace, sizes: RetainedSizes) {
    this.#side = side;
    this.#keyspace = keyspace;
    this.#sizes = sizes;
  }

  /** The cursor is "shard:position", a position as of read-retained.lua. */
  async read(filter: string, cursor: string, limit: number, version: number): Promise<RetainedPage> {
    const levels = filter.split('/');
    const isExact = !levels.some((level) => level === '+' || level === '#');
    const only = isExact ? shardOf(filter) : -1;
    const colon = cursor.indexOf(':');
    let shard = cursor === '' ? Math.max(only, 0) : Number(cursor.slice(0, colon));
    let position = cursor === '' ? '' : cursor.slice(colon + 1);
    const records: Found[] = [];
    for (let width = 1; ; width *= 2) {
      // Where the first shard had next to nothing, the others are asked all at once.
      if (width > 1 && records.length * RETAINED_SHARDS < limit) width = RETAINED_SHARDS;
      const shards = isExact ? 1 : Math.min(width, RETAINED_SHARDS - shard);
      const pages = await Promise.all(
        Array.from({ length: shards }, (_none, index) =>
          this.#readShard(
            shard + index,
            levels,
            index === 0 ? position : '',
            limit - records.length,
            version,
          ),
        ),
      );
      for (const [index, page] of pages.entries()) {
        const room = limit - records.length;
        if (page.records.length > room) {
          records.push(...page.records.slice(0, room));
          const last = records.at(-1)!.topic.replaceAll('/', '\0');
          return { records, cursor: `${shard + index}:(${last}` };
        }
        records.push(...page.records);
        if (page.position !== '') return { records, cursor: `${shard + index}:${page.position}` };
        if (records.length === limit && shard + index + 1 < RETAINED_SHARDS && !isExact) {
          return { records, cursor: `${shard + index + 1}:` };
        }
      }
      shard += shards;
      position = '';
      if (isExact || shard >= RETAINED_SHARDS) return { records, cursor: null };
    }
  }

  /** Reads one shard until `limit` or its end; a position other than '' means that there is more. */
  async #readShard(
    shard: number,
    levels: readonly string[],
    from: string,
    limit: number,
    version: number,
  ): Promise<{ records: Found[]; position: string }> {
    const records: Found[] = [];
    let position = from;
    do {
      const most = Math.min(limit - records.length, MESSAGES_OF_CALL);
      const args = { version, position, limit: most, steps: STEPS_OF_CALL };
      const command = READ_RETAINED.encode(this.#keyspace.retained(shard), args, levels);
      const reply = asList(await this.#side.run(RETAINED_SLOTS[shard]!, () => command));
      position = asText(reply[0]);
      for (let index = 1; index < reply.length; index += 2) {
        records.push({ topic: asText(reply[index]), record: recordOf(reply[index + 1]) });
      }
    } while (position !== '' && records.length < limit);
    return { records, position };
  }

  /** Asks all shards for their sizes, by which the limits are kept. */
  async refreshSizes(): Promise<{ messages: number; bytes: number }> {
    const replies = await Promise.all(
      Array.from({ length: RETAINED_SHARDS }, (_none, shard) => {
        const keys = this.#keyspace.retained(shard);
        return this.#side.runAll(RETAINED_SLOTS[shard]!, () => [
          encodeCommand('ZCARD', keys.index),
          encodeCommand('HGET', keys.state, 'b'),
        ]);
      }),
    );
    for (const [shard, [messages, bytes]] of replies.entries()) {
      this.#sizes.set(shard, asNumber(messages), asNumber(bytes));
    }
    return this.#sizes.total();
  }
}

function recordOf(reply: Reply | undefined): Buffer {
  const value = reply as Buffer;
  return value.subarray(VALUE_HEAD + value.readUInt16BE(VALUE_HEAD - 2));
}
