// Reading retained messages by filter, in pages over the shards, and their sizes. Shards are walked by read-retained.lua in
// bounded steps: one call reads all that have one server, where that is known to stay so. In a Cluster each is asked for
// itself, several at a time once a page is not filled by the first ones, so that a filter that matches little costs few
// round trips.

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

/** Steps of one call: at most about 2 ms of Redis, where each of them is a name that does not match. */
const STEPS_OF_CALL = 200;
/** Messages of one call. */
const MESSAGES_OF_CALL = 150;
/** Before the record: deadline, epoch, number (doubles), then length and text of the writer's client id. */
const VALUE_HEAD = 26;

type Found = { topic: string; record: Buffer };

/** Shards from `from` to before `to`, read by one call. */
interface Span {
  readonly from: number;
  readonly to: number;
}

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
    const end = isExact ? only + 1 : RETAINED_SHARDS;
    let shard = cursor === '' ? Math.max(only, 0) : Number(cursor.slice(0, colon));
    let position = cursor === '' ? '' : cursor.slice(colon + 1);
    const records: Found[] = [];
    for (let width = 1; ; width *= 2) {
      // Where the first shard had next to nothing, the others are asked all at once.
      if (width > 1 && records.length * RETAINED_SHARDS < limit) width = RETAINED_SHARDS;
      const spans = this.#spansOf(shard, end).slice(0, width);
      const most = limit - records.length;
      const pages = await Promise.all(
        spans.map((span, index) => this.#readSpan(span, levels, index === 0 ? position : '', most, version)),
      );
      for (const [index, page] of pages.entries()) {
        const room = limit - records.length;
        if (page.records.length > room) {
          records.push(...page.records.slice(0, room));
          const { topic } = records.at(-1)!;
          return { records, cursor: `${shardOf(topic)}:(${topic.replaceAll('/', '\0')}` };
        }
        records.push(...page.records);
        const { to } = spans[index]!;
        if (page.shard < to) return { records, cursor: `${page.shard}:${page.position}` };
        if (records.length === limit && to < end) return { records, cursor: `${to}:` };
      }
      shard = spans.at(-1)!.to;
      position = '';
      if (shard >= end) return { records, cursor: null };
    }
  }

  /** The shards from one on, those together that one call may read. */
  #spansOf(first: number, end: number): Span[] {
    const spans: Span[] = [];
    for (let from = first; from < end; ) {
      const group = this.#side.groupOf(RETAINED_SLOTS[from]!);
      let to = from + 1;
      while (to < end && this.#side.groupOf(RETAINED_SLOTS[to]!) === group) to++;
      spans.push({ from, to });
      from = to;
    }
    return spans;
  }

  /** Reads shards until `limit` or their end; goes on at `position` of `shard`, or behind the span. */
  async #readSpan(
    { from, to }: Span,
    levels: readonly string[],
    firstPosition: string,
    limit: number,
    version: number,
  ): Promise<{ records: Found[]; shard: number; position: string }> {
    const records: Found[] = [];
    let shard = from;
    let position = firstPosition;
    do {
      const most = Math.min(limit - records.length, MESSAGES_OF_CALL);
      const args = { version, position, limit: most, steps: STEPS_OF_CALL };
      const more: string[] = [];
      for (let next = shard + 1; next < to; next++) {
        const { values, index, state } = this.#keyspace.retained(next);
        more.push(values, index, state);
      }
      const command = READ_RETAINED.encode(this.#keyspace.retained(shard), args, levels, more);
      const reply = asList(await this.#side.run(RETAINED_SLOTS[shard]!, () => command));
      shard += asNumber(reply[0]);
      position = asText(reply[1]);
      for (let index = 2; index < reply.length; index += 2) {
        records.push({ topic: asText(reply[index]), record: recordOf(reply[index + 1]) });
      }
    } while (shard < to && records.length < limit);
    return { records, shard, position };
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
