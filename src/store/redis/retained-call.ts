// One call of retain-messages.lua: retained writes of topics of one shard. The limits of the cluster are kept by shares:
// a shard is told what the others leave it, as this node knows their sizes from replies and from a look every few
// seconds; so with many nodes writing at once they may be passed by a little.

import type { StoreLimits } from '../limits.ts';
import type { Operation, RetainOperation } from '../operations.ts';
import type { Call, Settled } from './call.ts';
import { type Keyspace, RETAINED_SHARDS } from './keyspace.ts';
import type { ReceiverList } from './receiver-list.ts';
import { asList, asNumber, type CommandWriter, type Reply } from './resp.ts';
import { defineScript } from './script.ts';

const RETAIN_MESSAGES = defineScript(
  'retain-messages',
  ['values', 'index', 'state', 'deadlines', 'marks'],
  ['maxMessages', 'maxBytes', 'markLifeMs'],
);

export const TOPICS_OF_CALL = 64;
const WRITES_OF_TOPIC = 16;
const NO_BYTES = Buffer.alloc(0);
const STATUS = ['ok', 'older', 'stale', 'full'] as const;
const MEMORY_FULL = 6;
const BEHIND_STALE = 7;

/** Sizes of the retained shards as this node knows them. */
export class RetainedSizes {
  readonly messages: number[] = new Array<number>(RETAINED_SHARDS).fill(0);
  readonly bytes: number[] = new Array<number>(RETAINED_SHARDS).fill(0);

  set(shard: number, messages: number, bytes: number): void {
    this.messages[shard] = messages;
    this.bytes[shard] = bytes;
  }

  /** What all shards but this one hold. */
  others(shard: number): { messages: number; bytes: number } {
    const total = this.total();
    return { messages: total.messages - this.messages[shard]!, bytes: total.bytes - this.bytes[shard]! };
  }

  total(): { messages: number; bytes: number } {
    const sum = (values: readonly number[]) => values.reduce((left, right) => left + right, 0);
    return { messages: sum(this.messages), bytes: sum(this.bytes) };
  }
}

export class RetainedCall implements Call {
  readonly lists: ReceiverList[] = [];
  readonly slot: number;
  readonly shard: number;
  readonly #taken: number[] = [];
  readonly #keyspace: Keyspace;
  readonly #limits: StoreLimits;
  readonly #sizes: RetainedSizes;
  bytes = 0;

  constructor(slot: number, shard: number, keyspace: Keyspace, limits: StoreLimits, sizes: RetainedSizes) {
    this.slot = slot;
    this.shard = shard;
    this.#keyspace = keyspace;
    this.#limits = limits;
    this.#sizes = sizes;
  }

  get isFull(): boolean {
    return this.lists.length === TOPICS_OF_CALL;
  }

  add(list: ReceiverList): void {
    const count = Math.min(list.operations.length, WRITES_OF_TOPIC);
    list.seal(count);
    this.lists.push(list);
    this.#taken.push(count);
    for (let index = 0; index < count; index++) {
      this.bytes += (list.operations[index] as RetainOperation).record?.length ?? 0;
    }
  }

  write(writer: CommandWriter): void {
    const keys = this.#keyspace.retained(this.shard);
    const others = this.#sizes.others(this.shard);
    const room = (most: number, taken: number) =>
      String(Math.min(Math.max(most - taken, 0), Number.MAX_SAFE_INTEGER));
    RETAIN_MESSAGES.open(writer, 5);
    for (const name of RETAIN_MESSAGES.keys) writer.ascii(keys[name]);
    writer.ascii(room(this.#limits.maxRetainedMessages, others.messages));
    writer.ascii(room(this.#limits.maxRetainedBytes, others.bytes));
    writer.number(this.#limits.markLifeMs);
    for (const [index, list] of this.lists.entries()) {
      for (let at = 0; at < this.#taken[index]!; at++) {
        const write = list.operations[at] as RetainOperation;
        writer.text(write.topic);
        writer.bytes(write.record ?? NO_BYTES);
        writer.number(write.expiresAt);
        writer.number(write.version);
        writer.text(write.writer?.clientId ?? '');
        writer.number(write.writer?.epoch ?? 0);
        writer.number(write.writer?.number ?? 0);
        writer.text(write.mark?.key ?? '');
        writer.number(write.mark?.mid ?? 0);
      }
    }
    writer.end();
  }

  settle(reply: Reply): readonly Settled[] {
    const values = asList(reply);
    this.#sizes.set(this.shard, asNumber(values[0]), asNumber(values[1]));
    let at = 2;
    return this.lists.map((list, index) => {
      const staying: Operation[] = [];
      let isMemoryFull = false;
      const count = this.#taken[index]!;
      for (let position = 0; position < count; position++) {
        const write = list.operations[position] as RetainOperation;
        const status = asNumber(values[at++]);
        write.fence = asNumber(values[at++]);
        if (status === MEMORY_FULL) isMemoryFull = true;
        if (status === MEMORY_FULL || status === BEHIND_STALE) staying.push(write);
        else write.status = STATUS[status] ?? 'ok';
      }
      return { list, count, staying, isMemoryFull };
    });
  }

  reject(): boolean {
    return false;
  }
}
