// Interleaving 14 of the design, its second half: a limit that drops the oldest and the expiry of messages under a QoS 2
// flow, over two wraps of the packet identifiers. The pumps stand on the in-memory store, whose answers come in any
// order between its nodes, and on a clock of the test; the session goes to another node every few thousand messages,
// after a release or a death. What the client holds says which identifiers are in use.

import t from 'tap';
import { buildBody } from '../../src/mqtt/message.ts';
import { ALL_IDS, PACKET_IDS, packetIdOf } from '../../src/mqtt/packet-id.ts';
import { Drop, NodeStats } from '../../src/observability/node-stats.ts';
import { Pump } from '../../src/session/pump.ts';
import { SharedPayloads } from '../../src/session/shared-payloads.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { MemoryWorld, type WorldScheduler } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import { EnqueueOperation, type Owner } from '../../src/store/operations.ts';
import { encodeEntryHeader } from '../../src/store/records.ts';
import type { ClaimedSession } from '../../src/store/store.ts';
import type { Clock } from '../../src/util/clock.ts';
import { seededRandom } from '../../src/util/random.ts';
import { FakeLink, type SentPacket } from '../helpers/fake-link.ts';

const TOTAL = 2 * PACKET_IDS + 2000;
const WINDOW = 32;
const ROOM = 80;
/** Messages between two claims. */
const STAY = 7000;
/** Rounds in which the client is slow, and then quick. */
const MOOD = 3000;
/** Messages that the store has not answered. */
const UNDER_WAY = 30;
const CLIENT = 'client';
const NEWEST = Number.MAX_SAFE_INTEGER;

const seed = Number(process.env.SWARMQ_SEED ?? 14);
const random = seededRandom(seed);

/** Messages between nodes and store: one line of them keeps its order, which line comes next is chance. */
class Lines implements WorldScheduler {
  readonly #lines: { name: string; tasks: (() => void)[] }[] = [];

  post(name: string, run: () => void): void {
    let line = this.#lines.find((one) => one.name === name);
    if (line === undefined) {
      line = { name, tasks: [] };
      this.#lines.push(line);
    }
    line.tasks.push(run);
  }

  /** Runs so many tasks; false where there was none. */
  run(count: number): boolean {
    const lines = this.#lines;
    for (let left = count; left > 0; left--) {
      const from = random.below(lines.length);
      let turn = 0;
      while (turn < lines.length && lines[(from + turn) % lines.length]!.tasks.length === 0) turn++;
      if (turn === lines.length) return left < count;
      lines[(from + turn) % lines.length]!.tasks.shift()!();
    }
    return true;
  }
}

interface Message {
  readonly index: number;
  readonly expiresAt: number;
}

class Enqueue extends EnqueueOperation {
  onDone = (): void => {};

  complete(): void {
    this.onDone();
  }
}

/** The subscriber: it takes a QoS 2 message once, by its packet identifier, over all connections. */
class Client {
  readonly breaches: string[] = [];
  readonly order: number[] = [];
  /** Packets to answer, in the order of their coming. */
  unanswered: SentPacket[] = [];
  readonly #world: Scene;
  /** Packet identifiers between PUBLISH and the PUBCOMP that the node has got, and whose they are. */
  readonly #inUse = new Map<number, number>();
  readonly #seen = new Set<number>();
  #highest = -1;

  constructor(world: Scene) {
    this.#world = world;
  }

  heard(packet: SentPacket): void {
    if (packet.type === 3) this.#publish(packet);
    this.unanswered.push(packet);
  }

  #publish({ packetId, payload, dup }: SentPacket): void {
    const index = Number(payload);
    const held = this.#inUse.get(packetId);
    if (held === index && dup) return;
    if (held !== undefined) this.breaches.push(`identifier ${packetId} of ${held} used for ${index}`);
    if (this.#seen.has(index)) this.breaches.push(`${index} came twice`);
    // What was over when its turn came, and was not committed so when the connection ended, comes behind others.
    const wasOver = dup && this.#world.isOver(index);
    if (index < this.#highest && !wasOver) this.breaches.push(`${index} behind ${this.#highest}`);
    this.#highest = Math.max(this.#highest, index);
    this.#seen.add(index);
    this.#inUse.set(packetId, index);
    this.order.push(index);
  }

  /** Answers one of the packets that came first. */
  answer(pump: Pump): void {
    if (this.unanswered.length === 0) return;
    const [packet] = this.unanswered.splice(random.below(Math.min(this.unanswered.length, 4)), 1);
    const { type, packetId } = packet!;
    if (type === 3) pump.handlePubrec(packetId, 0);
    else {
      this.#inUse.delete(packetId);
      pump.handlePubcomp(packetId);
    }
  }
}

/** A session's queue, its publisher, its client, and the node that has it. */
class Scene {
  readonly lines = new Lines();
  readonly stats = new NodeStats();
  readonly client = new Client(this);
  readonly messages: Message[] = [];
  nowMs = 1_700_000_000_000;
  dropped = 0;
  queued = 0;
  tail = 0;
  fenced = 0;
  pump!: Pump;
  readonly #world: MemoryWorld;
  readonly #stores: EmbeddedStore[];
  readonly #publisher: EmbeddedStore;
  #store: EmbeddedStore;
  #owner: Owner | null = null;
  #claims = 0;
  #life = 0;

  constructor() {
    const post = (run: () => void) => this.lines.post('soon', run);
    const timer = { cancel() {} };
    const clock: Clock = {
      wallMs: () => this.nowMs,
      monotonicMs: () => this.nowMs,
      turnMs: () => this.nowMs,
      after(_delayMs, run) {
        post(run);
        return timer;
      },
      every: () => timer,
      soon: post,
    };
    const limits: StoreLimits = {
      ...{ maxQueuedMessages: ROOM, maxQueuedBytes: 1e9, windowMax: WINDOW },
      queueFullPolicy: 'drop-oldest',
      ...{ maxRetainedMessages: 1, maxRetainedBytes: 1, maxInboxBytes: 1e9, markLifeMs: 1000 },
    };
    this.#world = new MemoryWorld({ clock, limits, journal: null, scheduler: this.lines });
    this.#publisher = this.#world.connect();
    this.#stores = [this.#world.connect(), this.#world.connect()];
    this.#store = this.#stores[0]!;
  }

  get waiting(): number {
    return this.#world.state.totals().queuedMessages;
  }

  isOver(index: number): boolean {
    const { expiresAt } = this.messages[index]!;
    return expiresAt !== 0 && this.nowMs >= expiresAt;
  }

  /** Another node claims the session; the one before has released it, or is dead. */
  async claim(isReleased: boolean): Promise<void> {
    if (this.#owner !== null) {
      const { sent } = this.pump;
      this.pump.stop();
      this.client.unanswered = [];
      const request = { clientId: CLIENT, owner: this.#owner, dropWill: true, expirySec: 3600, sent };
      if (isReleased) await this.#run(this.#store.release(request));
    }
    this.#claims++;
    this.#store = this.#stores[this.#claims % 2]!;
    const incarnation = `node${this.#claims}`;
    const claimed = (await this.#run(
      this.#store.claim({
        ...{ clientId: CLIENT, incarnation, cleanStart: false, expirySec: 3600 },
        ...{ will: null, leases: [], epochSeen: 0, waitedMs: () => 0 },
      }),
    )) as ClaimedSession;
    this.#life = claimed.life;
    this.#owner = { incarnation, epoch: claimed.epoch };
    this.pump = this.#pumpFor(claimed, this.#owner);
  }

  #pumpFor({ head, tail, sent }: ClaimedSession, owner: Owner): Pump {
    const claim = this.#claims;
    const fail = (error: unknown) => {
      throw error;
    };
    const pump = new Pump({
      ...{ store: this.#store, payloads: new SharedPayloads(this.#store, 1000), stats: this.stats },
      ...{ clientId: CLIENT, owner, head, tail, sent, mayWait: true },
      ...{ inflightMax: WINDOW, pullBytes: 1_000_000, ids: ALL_IDS, inflightBeside: () => 0 },
      onFenced: () => {
        if (claim === this.#claims) this.fenced++;
      },
      onRetained() {},
      isOldCopy: () => false,
      onUnreadable: fail,
      onDamaged: fail,
    });
    const link = new FakeLink(CLIENT);
    link.onSend = (packet) => {
      if (claim === this.#claims) this.client.heard(packet);
      link.sent.length = 0;
    };
    pump.start(link);
    return pump;
  }

  /** Lets the store work until a call of it is answered. */
  async #run<T>(call: Promise<T>): Promise<T> {
    let isDone = false;
    const over = () => {
      isDone = true;
    };
    void call.then(over, over);
    while (!isDone) {
      this.lines.run(1);
      await null;
    }
    return call;
  }

  /** Publishes the next one; most are announced to the node that has the session. */
  publish(): void {
    const index = this.messages.length;
    const expiresAt = random.below(4) === 0 ? this.nowMs + 1 + random.below(40) : 0;
    const flags = { retain: false, reference: false, copy: false, subscriptionIds: null };
    const header = encodeEntryHeader({ qos: 2, expiresAt, ownExpiry: expiresAt !== 0, ...flags });
    const body = buildBody('topic', Buffer.from(String(index)));
    this.messages.push({ index, expiresAt });
    const operation = new Enqueue(CLIENT, this.#life, NEWEST, header, body, null, null);
    operation.onDone = () => {
      if (operation.status !== 'queued') throw new Error(`${index}: ${operation.status}`);
      this.dropped += operation.dropped;
      this.queued++;
      this.tail = operation.seq;
      if (random.below(10) > 0) this.pump.push(operation.seq, header, body);
    };
    this.#publisher.submit(operation);
  }
}

t.test(
  'interleaving 14: limit and expiry under QoS 2, over two wraps of the packet identifier',
  async (t) => {
    t.comment(`seed ${seed}`);
    const world = new Scene();
    const { client, lines } = world;
    await world.claim(true);
    let moves = 0;
    const isOver = () => world.queued === TOTAL && world.waiting === 0;
    for (let round = 0; !isOver() && round < 60 * TOTAL && client.breaches.length < 10; round++) {
      const { length } = world.messages;
      if (length < TOTAL && length >= (moves + 1) * STAY) await world.claim(moves++ % 2 === 0);
      const isSlow = Math.floor(round / MOOD) % 2 === 0;
      const dice = random.below(10);
      if (dice < 3) {
        if (length < TOTAL && length < world.queued + UNDER_WAY) world.publish();
      } else if (dice < (isSlow ? 4 : 6)) {
        for (let some = random.below(5); some > 0; some--) client.answer(world.pump);
      } else if (dice === 6) world.nowMs += random.below(3);
      else if (!lines.run(random.below(12))) world.pump.learn(world.tail);
    }
    const expired = world.stats.messagesDropped[Drop.EXPIRED]!;
    const { dropped, fenced } = world;
    t.comment(
      `${client.order.length} delivered, ${dropped} dropped, ${expired} expired, ${moves} moves, ${world.tail} numbers`,
    );
    t.same(client.breaches, [], `no identifier in use twice, in order, once (seed ${seed})`);
    t.equal(world.waiting, 0, 'nothing waits');
    t.equal(client.order.length + dropped + expired, TOTAL, 'each was delivered, or counted as it went');
    t.ok(world.tail >= 2 * PACKET_IDS && packetIdOf(world.tail) < 10_000, 'over two wraps');
    t.ok(dropped > 1000 && expired > 1000 && client.order.length > TOTAL / 3, 'a good share of each');
    t.equal(fenced, 0, 'nobody who has the session is refused');
  },
);
