// The Redis store beside the embedded one, which is the plain reference: the same random life of a session on both, its
// messages queued by two nodes, acknowledged in and out of order, dropped, pulled, moved to other owners and ended.
// What both answer and count must be the same. SWARMQ_SEED repeats a life, SWARMQ_RUNS asks for more of them.

import t from 'tap';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import { Receptions } from '../../src/store/receptions.ts';
import type { ClaimedSession } from '../../src/store/store.ts';
import { systemClock } from '../../src/util/clock.ts';
import { type Random, seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { noteJump, redisWorld } from './redis-world.ts';
import { takeAll } from './store-contract-groups.ts';
import {
  type ContractNode,
  type ContractWorld,
  DEFAULT_LIMITS,
  type Enqueue,
  type EnqueueOptions,
  makeNode,
  type OpenWorld,
} from './store-world.ts';

const STEPS = 150;
const WINDOW = 24;
const PUBREL_BYTES = 2;

const openMemory: OpenWorld = async (t, given): Promise<ContractWorld> => {
  const limits = { ...DEFAULT_LIMITS, ...given };
  const world = new MemoryWorld({ clock: systemClock, limits, journal: new MemoryImage() });
  return {
    async connect(events) {
      const store = world.connect();
      t.teardown(() => store.close());
      await store.open(events);
      return store;
    },
    async pass() {},
    async restart() {},
  };
};

/** One message that is to be queued, on either side. */
interface Sent {
  readonly text: string;
  readonly options: EnqueueOptions;
  /** Packet id of one that the client publishes before, or that ends then where it is under way; 0 for none. */
  readonly between: number;
}

/** A session and two nodes on one store. */
class Side {
  readonly nodes: ContractNode[];
  #owner = 0;
  session!: ClaimedSession;
  #receptions = new Receptions([]);
  /** What the store said to have put into inboxes. */
  readonly told: string[] = [];

  constructor(nodes: ContractNode[]) {
    this.nodes = nodes;
  }

  get node(): ContractNode {
    return this.nodes[this.#owner] as ContractNode;
  }

  async claim(node: number, cleanStart: boolean): Promise<unknown> {
    this.#owner = node;
    this.session = await this.node.claim('c', { cleanStart });
    const { present, head, tail, sent, discarded, endedLife, inbound } = this.session;
    this.#receptions = new Receptions(inbound);
    const ids = inbound.map(({ packetId, slot }) => `${packetId} in ${slot}`).sort();
    return { present, head, tail, sent, discarded, ended: endedLife > 0, ids };
  }

  async enqueue(from: number, messages: readonly Sent[]): Promise<unknown> {
    const node = this.nodes[from] as ContractNode;
    const by = node.incarnation;
    const between: Promise<{ status: string }>[] = [];
    const answers = await Promise.all(
      messages.map(({ text, options, between: packetId }) => {
        if (packetId > 0) between.push(this.#receive(packetId));
        return node.enqueue('c', this.session.life, text, { ...options, by });
      }),
    );
    for (const { status } of await Promise.all(between)) {
      if (status !== 'ok') throw new Error(`a reception is ${status}`);
    }
    const { life } = this.session;
    for (const [index, { isPushed, seq }] of answers.entries()) {
      if (isPushed) this.told.push(`c ${life} ${seq} ${messages[index]!.text}`);
    }
    return answers.map(({ status, seq, dropped }: Enqueue) => ({ status, seq, dropped }));
  }

  async #receive(packetId: number): Promise<{ status: string }> {
    const receptions = this.#receptions;
    const reception = receptions.get(packetId);
    if (reception?.state === 'over') return { status: 'ok' };
    const words = ['c', this.node.owner(this.session), receptions, packetId] as const;
    return reception ? this.node.forgetInbound(...words) : this.node.recordInbound(...words);
  }

  /** Seq and entry of what lies there; a store may go on behind a hole. */
  async pull(from: number, count: number): Promise<{ tail: number; entries: [number, string][] }> {
    const { first, tail, entries } = await this.node.pull('c', this.node.owner(this.session), from, count);
    return {
      tail,
      entries: entries
        .map((entry, index): [number, string] => [first + index, entry?.toString('latin1') ?? ''])
        .filter(([seq, entry]) => seq < from + count && entry !== ''),
    };
  }

  async ack(
    head: number,
    done: number[],
    released: number[],
    bytes: number,
    fields: number[] | null = null,
    releasedFields: number[] | null = null,
  ): Promise<unknown> {
    const owner = this.node.owner(this.session);
    const { status, tail } = await this.node.ack(
      ...(['c', owner, head, done, released, bytes, fields, releasedFields] as const),
    );
    return { status, tail };
  }

  async totals(): Promise<unknown> {
    const { queuedMessages, queuedBytes } = await this.node.store.totals();
    return { queuedMessages, queuedBytes };
  }

  /** What came with the inboxes. */
  get heard(): string[] {
    return this.nodes.flatMap(({ pushed }) => pushed);
  }
}

class Life {
  readonly #random: Random;
  readonly #sides: [Side, Side];
  readonly #hasGroup: boolean;
  /** Most messages are of QoS 2. */
  readonly #isQos2: boolean;
  readonly #server: RedisServer;
  #head = 1;
  #mid = 1000;
  #texts = 0;

  constructor(random: Random, sides: [Side, Side], server: RedisServer) {
    this.#server = server;
    this.#random = random;
    this.#sides = sides;
    this.#hasGroup = random.below(3) === 0;
    this.#isQos2 = random.below(3) === 0;
  }

  /** Runs on both sides; answers what they agree on. */
  async #both<T>(what: string, run: (side: Side) => Promise<T>): Promise<T> {
    const [wanted, found] = await Promise.all(this.#sides.map(run));
    const [one, other] = [String(JSON.stringify(wanted)), String(JSON.stringify(found))];
    if (one !== other) {
      let at = 0;
      while (one[at] === other[at]) at++;
      const around = (text: string) => text.slice(Math.max(at - 200, 0), at + 300);
      throw new Error(`${what}, from ${at}: embedded ${around(one)}, redis ${around(other)}`);
    }
    return wanted as T;
  }

  #messages(): Sent[] {
    const random = this.#random;
    const qos = random.below(8) < (this.#isQos2 ? 7 : 2) ? 2 : 1;
    const isMarked = random.below(3) === 0;
    const isLarge = random.below(6) === 0;
    const isOfGroup = this.#hasGroup && random.below(4) === 0;
    const isBetween = random.below(4) === 0;
    let slot = random.below(40);
    return Array.from({ length: 1 + random.below(random.below(3) === 0 ? 80 : 8) }, () => {
      const text = `${++this.#texts}${'x'.repeat(random.below(isLarge ? 1800 : 40))}`;
      const mid = random.below(12) === 0 ? this.#mid - random.below(30) : ++this.#mid;
      const mark = isMarked ? { key: `${slot++ % 40}:p`, mid } : null;
      const between = isBetween && random.below(3) === 0 ? 1 + random.below(40) : 0;
      return { text, options: { qos: random.below(20) === 0 ? 2 : qos, mark, isOfGroup }, between };
    });
  }

  /** Redis loses what was acknowledged last; the owner, who knows it, tells it again. */
  async #lose(): Promise<void> {
    const redis = this.#server;
    const keys = ((await redis.command('KEYS', '*{b*')) as string[]).filter((key) => !key.startsWith('kept'));
    for (const key of keys) await redis.command('COPY', key, `kept${key}`, 'REPLACE');
    const from = this.#head;
    for (let acks = 1 + this.#random.below(3); acks > 0; acks--) await this.#acknowledge();
    const sides = this.#sides;
    const { entries } = await sides[0].pull(from, 4 * WINDOW);
    for (const key of keys) {
      await redis.command('COPY', `kept${key}`, key, 'REPLACE');
      await redis.command('UNLINK', `kept${key}`);
    }
    await noteJump(redis);
    const before = await sides[1].pull(from, 4 * WINDOW);
    const there = new Map(entries);
    // As an owner does that knows nothing of what lies below its head.
    const head = this.#head;
    const done = before.entries.filter(([seq]) => seq >= head && !there.has(seq)).map(([seq]) => seq);
    // Those that are markers there still are not told: where entries stand alone the bytes of all go by the first.
    const lost = new Map(before.entries);
    const released = entries
      .filter(([seq, entry]) => entry.length === PUBREL_BYTES && lost.get(seq)?.length !== PUBREL_BYTES)
      .map(([seq]) => seq);
    let bytes = 0;
    for (const [seq, entry] of before.entries) {
      if (done.includes(seq)) bytes += entry.length;
      else if (released.includes(seq)) bytes += entry.length - PUBREL_BYTES;
    }
    await sides[1].ack(head, done, released, bytes);
  }

  async #acknowledge(): Promise<void> {
    const random = this.#random;
    const { tail, entries } = await this.#both('window', (side) => side.pull(this.#head, WINDOW));
    const done: number[] = [];
    const released: number[] = [];
    let [bytes, freed] = [0, 0];
    const isUnreleased = (entry: string) => entry.length > PUBREL_BYTES && (entry.charCodeAt(1) & 3) === 2;
    const release = (seq: number, entry: string) => {
      released.push(seq);
      freed += entry.length - PUBREL_BYTES;
    };
    const finish = (seq: number, entry: string) => {
      done.push(seq);
      bytes += entry.length;
    };
    const choice = random.below(6);
    if (choice < 3) {
      // As a client does that acknowledges what it gets in the order of its coming.
      const [most, mostReleased] = [random.below(WINDOW + 1), random.below(WINDOW + 1)];
      let at = 0;
      while (at < Math.min(entries.length, most) && !isUnreleased(entries[at]![1])) finish(...entries[at++]!);
      while (at < entries.length && !isUnreleased(entries[at]![1])) at++;
      const end = at + mostReleased;
      while (at < Math.min(entries.length, end) && isUnreleased(entries[at]![1])) release(...entries[at++]!);
    } else {
      const most = random.below(WINDOW + 1);
      for (const [index, [seq, entry]] of entries.entries()) {
        const isTaken = choice < 5 ? index < most : random.below(3) === 0;
        if (!isTaken) continue;
        if (isUnreleased(entry) && random.below(3) > 0) release(seq, entry);
        else finish(seq, entry);
      }
    }
    bytes += freed;
    const open = entries.find(([seq]) => !done.includes(seq));
    const head = open?.[0] ?? Math.min(this.#head + WINDOW, tail + 1);
    const fields = await this.#fields(this.#head, head);
    const first = released[0] ?? 0;
    const isRow = released.length > 0 && released.every((seq, index) => seq === first + index);
    const releasedFields = isRow ? await this.#fields(first, first + released.length) : null;
    releasedFields?.splice(1, 0, freed);
    this.#head = head;
    const ack = (side: Side) => side.ack(head, done, released, bytes, fields, releasedFields);
    await this.#both('ack', ack);
    if (random.below(6) === 0) await this.#both('ack again', ack);
  }

  /** How the queue lies in Redis from `from` to `head`: as the owner tells it, or not quite. */
  async #fields(from: number, head: number): Promise<number[] | null> {
    const random = this.#random;
    const fields: number[] = [];
    for (const { key, seq, count } of await fieldsOf(this.#server)) {
      if (seq + count <= from || seq >= head) continue;
      if (fields.length === 0) fields.push(seq);
      fields.push(count, (await this.#server.command('HSTRLEN', key, seq)) as number);
    }
    const choice = random.below(8);
    if (choice === 0 || fields.length === 0) return null;
    // The first seq, or a size.
    const place = 2 * random.below((fields.length + 1) / 2);
    if (choice === 1) fields[place]! += random.below(2) === 0 ? -1 : 1;
    if (choice === 2) fields.length -= 2 * random.below((fields.length + 1) / 2);
    return fields;
  }

  get head(): number {
    return this.#head;
  }

  async begin(): Promise<void> {
    await this.#both('claim', (side) => side.claim(0, true));
  }

  async step(): Promise<void> {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 45) {
      const [from, messages] = [random.below(2), this.#messages()];
      await this.#both('enqueue', (side) => side.enqueue(from, messages));
    } else if (choice < 80) {
      await this.#acknowledge();
    } else if (choice < 90) {
      const [from, count] = [this.#head + random.below(80), 1 + random.below(60)];
      await this.#both('pull', (side) => side.pull(from, count));
    } else if (choice < 93) {
      await this.#lose();
    } else if (choice < 98) {
      const node = random.below(2);
      await this.#both('claim', (side) => side.claim(node, false));
    } else {
      await this.#both('end', (side) => side.claim(0, true));
      await this.#both('orphans', (side) => takeAll(side.node, 'c', 1 + random.below(2) * 40));
      this.#head = 1;
    }
    await this.#both('totals', (side) => side.totals());
  }

  async end(): Promise<void> {
    await this.#both('rest', (side) => side.pull(this.#head, 100_000));
    for (const side of this.#sides) {
      await eventually('the inboxes are read', () => side.heard.length >= side.told.length);
      if (side.heard.sort().join() !== side.told.sort().join()) throw new Error('told is not what was heard');
    }
  }
}

interface Field {
  readonly key: string;
  readonly seq: number;
  /** Messages. */
  readonly count: number;
}

/** What the queue in Redis is made of, in order. */
async function fieldsOf(server: RedisServer): Promise<Field[]> {
  const [key] = (await server.command('KEYS', '*:q:c')) as string[];
  if (key === undefined) return [];
  const pairs = (await server.command('HGETALL', key)) as string[];
  const fields: Field[] = [];
  for (let at = 0; at < pairs.length; at += 2) {
    const value = pairs[at + 1]!;
    const isRun = value.charCodeAt(0) === 3;
    fields.push({ key, seq: Number(pairs[at]), count: isRun ? value.charCodeAt(2) : 1 });
  }
  return fields.sort((one, other) => one.seq - other.seq);
}

/** Fields of the queue in Redis all of whose messages are done: nobody would ever remove them. */
async function leftBelow(server: RedisServer, head: number): Promise<Field[]> {
  const fields = await fieldsOf(server);
  return fields.filter(({ seq, count }) => seq + count <= head);
}

t.test('both stores lead the same life', async (t) => {
  const seed = Number(process.env.SWARMQ_SEED ?? Date.now() % 1_000_000);
  const runs = Number(process.env.SWARMQ_RUNS ?? 12);
  const server = await startRedis(t);
  for (let run = seed; run < seed + runs; run++) {
    await t.test(`SWARMQ_SEED=${run}`, async (t) => {
      const random = seededRandom(run);
      await server.command('FLUSHALL');
      const limits: Partial<StoreLimits> = {
        windowMax: WINDOW,
        maxQueuedMessages: random.below(2) === 0 ? 100_000 : 30 + random.below(100),
        maxQueuedBytes: random.below(3) === 0 ? 20_000 : 256_000_000,
        queueFullPolicy: random.below(4) === 0 ? 'reject' : 'drop-oldest',
      };
      const worlds = [await openMemory(t, limits), await redisWorld(t, server.url, limits, [server])];
      const sides: Side[] = [];
      for (const world of worlds) sides.push(new Side([await makeNode(world), await makeNode(world)]));
      const life = new Life(random, sides as [Side, Side], server);
      await life.begin();
      for (let step = 0; step < STEPS; step++) {
        await life.step();
        const left = await leftBelow(server, life.head);
        if (left.length > 0)
          throw new Error(`below ${life.head} are ${left.map(({ seq }) => seq).join(', ')}`);
      }
      await life.end();
      t.pass('the same');
    });
  }
});
