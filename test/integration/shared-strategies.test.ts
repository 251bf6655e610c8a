// Every strategy of shared subscriptions, set for all groups and for one of them, as clients of two nodes on Redis meet it: a
// member joins while messages come, then the publishers go on at the other node. Nodes run in this process, on real ports.

import t, { type Test } from 'tap';
import { compileConfig } from '../../src/config/compile.ts';
import { GROUP_STRATEGIES, type GroupStrategy, type RawConfig } from '../../src/config/schema.ts';
import { type RunningNode, startNode } from '../../src/node.ts';
import { best, hashOf } from '../../src/routing/key-scores.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { metricIn } from '../helpers/swarmq-node.ts';

t.setTimeout(60_000);

const PUBLISHERS = 6;
const TOPICS = 6;
/** Messages of one phase: each publisher has each topic once. */
const PHASE = PUBLISHERS * TOPICS;

interface Got {
  readonly member: string;
  readonly number: number;
  readonly topic: string;
  readonly publisher: string;
}

/** Two nodes of one cluster. */
async function startPair(
  t: Test,
  redis: RedisServer,
  prefix: string,
  shared: RawConfig['sharedSubscriptions'],
) {
  const nodes: RunningNode[] = [];
  for (const name of ['a', 'b']) {
    const node = await startNode(
      compileConfig({
        node: { name },
        redis: { url: redis.url, prefix },
        listeners: { tcp: { type: 'tcp', port: 0, host: '127.0.0.1' } },
        admin: { host: '127.0.0.1', port: 0 },
        log: { level: 'silent' },
        sharedSubscriptions: shared,
      }),
    );
    t.teardown(() => node.stop());
    nodes.push(node);
  }
  return nodes as [RunningNode, RunningNode];
}

/** Keys of groups whose member the node knows. */
async function keysAt({ ports }: RunningNode): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${ports.admin}/metrics`);
  return metricIn(await answer.text(), 'swarmq_shared_group_keys') ?? 0;
}

/** What the members of one group got, in four phases: two members, a third one joins, three, from the other node. */
class Story {
  readonly got: Got[] = [];
  readonly members: MqttClient[] = [];
  readonly #t: Test;
  readonly #group: string;
  readonly #strategy: GroupStrategy;
  readonly #ports: readonly number[];
  #publishers: MqttClient[] = [];
  #published = 0;

  constructor(t: Test, group: string, strategy: GroupStrategy, nodes: readonly RunningNode[]) {
    this.#t = t;
    this.#group = group;
    this.#strategy = strategy;
    this.#ports = nodes.map(({ ports }) => ports.listeners.tcp!);
  }

  async playAtOne(): Promise<void> {
    const [a, b] = this.#ports as [number, number];
    await this.#join(0, a);
    await this.#join(1, b);
    const clientIds = Array.from({ length: PUBLISHERS }, (_none, index) => `${this.#group}-p${index}`);
    this.#publishers = clientIds.map((clientId) => new MqttClient(this.#t, { clientId, clean: false }));
    await Promise.all(this.#publishers.map((one) => one.connect(a)));
    await this.#phase();
    await Promise.all([this.#phase(), this.#join(2, a)]);
    await this.#phase();
  }

  /** Keys that the other node must hear of: those that it would give to the one who joined. */
  get toldKeys(): number {
    const members = this.members.map((_member, index) => {
      const clientId = `${this.#group}-m${index}`;
      return { clientId, hash: hashOf(clientId), node: '', stay: 0 };
    });
    return this.#keys().filter((key) => best(members, key) === members[2]).length;
  }

  #keys(): string[] {
    if (this.#strategy === 'sticky') return [`$share/${this.#group}/${this.#group}/+`];
    if (this.#strategy === 'hash-by-topic') return [...new Set(this.got.map(({ topic }) => topic))];
    if (this.#strategy !== 'hash-by-publisher') return [];
    return this.#publishers.map((_publisher, index) => `${this.#group}-p${index}`);
  }

  async playAtOther(): Promise<void> {
    const [, b] = this.#ports as [number, number];
    for (const publisher of this.#publishers) await publisher.disconnect();
    await Promise.all(this.#publishers.map((one) => one.connect(b)));
    await this.#phase();
  }

  async #join(index: number, port: number): Promise<void> {
    // The first member of that group takes messages and never acknowledges one.
    const isStuck = this.#strategy === 'least-in-flight' && index === 0;
    const clientId = `${this.#group}-m${index}`;
    const member = new MqttClient(this.#t, { clientId, acks: isStuck ? 'never' : 'auto' });
    member.onReceived = ({ topic, payload }) => {
      const [publisher, number] = payload.toString().split(' ') as [string, string];
      this.got.push({ member: `m${index}`, number: Number(number), topic, publisher });
    };
    this.members.push(member);
    await member.connect(port);
    await member.subscribe(`$share/${this.#group}/${this.#group}/+`, 1);
  }

  /** Publishers at the same time, each one message behind the other; returns when all of them came. */
  async #phase(): Promise<void> {
    const first = this.#published;
    this.#published += PHASE;
    const publish = async (publisher: MqttClient, index: number) => {
      for (let topic = 0; topic < TOPICS; topic++) {
        const number = first + topic * PUBLISHERS + index;
        await publisher.publish(`${this.#group}/t${topic}`, `p${index} ${number}`, { qos: 1 });
      }
    };
    await Promise.all(this.#publishers.map(publish));
    await eventually(`${this.#published} messages`, () => this.got.length >= first + PHASE);
  }

  /** Messages of one phase by member, or all of the story. */
  shares(phase: number): number[] {
    return this.members.map(
      (_member, index) =>
        this.got.filter(
          ({ member, number }) => member === `m${index}` && Math.floor(number / PHASE) === phase,
        ).length,
    );
  }

  /** Keys of which more than one member has had messages. */
  moved(keyOf: (got: Got) => string): string[] {
    const homes = new Map<string, Set<string>>();
    for (const one of this.got) {
      homes.set(keyOf(one), (homes.get(keyOf(one)) ?? new Set()).add(one.member));
    }
    return [...homes].filter(([, members]) => members.size > 1).map(([key]) => key);
  }
}

/** What a strategy promises of a story. */
const promises: Record<GroupStrategy, (t: Test, story: Story) => void> = {
  'round-robin': (t, story) => {
    t.same(story.shares(0), [PHASE / 2, PHASE / 2, 0]);
    t.same(story.shares(2), [PHASE / 3, PHASE / 3, PHASE / 3]);
    t.same(story.shares(3), [PHASE / 3, PHASE / 3, PHASE / 3]);
  },
  random: (t, story) => {
    for (const phase of [2, 3]) t.ok(Math.min(...story.shares(phase)) > 1, 'nobody is left out');
    t.same(story.shares(0)[2], 0);
  },
  sticky: (t, story) =>
    t.same(
      story.moved(() => 'all'),
      [],
    ),
  'hash-by-publisher': (t, story) =>
    t.same(
      story.moved(({ publisher }) => publisher),
      [],
    ),
  'hash-by-topic': (t, story) =>
    t.same(
      story.moved(({ topic }) => topic),
      [],
    ),
  'least-in-flight': (t, story) => {
    // As many as the others have under way at a time, and no more however long it goes on.
    for (const phase of [2, 3]) t.ok(story.shares(phase)[0]! <= PHASE / 4, 'few for who is stuck');
    for (const member of [1, 2]) t.ok(story.shares(2)[member]! + story.shares(3)[member]! > 0);
  },
  'local-first': (t, story) => {
    t.same(story.shares(0), [PHASE, 0, 0]);
    t.same(story.shares(2), [PHASE / 2, 0, PHASE / 2]);
    t.same(story.shares(3), [0, PHASE, 0], 'at the other node');
  },
};

function judge(t: Test, strategy: GroupStrategy, story: Story): void {
  const numbers = story.got.map(({ number }) => number).sort((one, other) => one - other);
  t.same(
    numbers,
    Array.from({ length: 4 * PHASE }, (_none, index) => index),
    `${strategy}: each message once`,
  );
  t.comment(`${strategy}, shares ${[0, 1, 2, 3].map((phase) => story.shares(phase).join(' ')).join(', ')}`);
  promises[strategy](t, story);
}

t.test('strategies', async (t) => {
  const redis = await startRedis(t);
  for (const [index, strategy] of GROUP_STRATEGIES.entries()) {
    const own = GROUP_STRATEGIES[(index + 1) % GROUP_STRATEGIES.length]!;
    await t.test(`${strategy} for all groups, ${own} for one of them`, async (t) => {
      const nodes = await startPair(t, redis, strategy, { strategy, groups: { own: { strategy: own } } });
      const any = new Story(t, 'any', strategy, nodes);
      const one = new Story(t, 'own', own, nodes);
      await Promise.all([any.playAtOne(), one.playAtOne()]);
      // No message waits for what nodes tell each other of keys: whoever changes nodes before that may meet another member.
      const told = any.toldKeys + one.toldKeys;
      await eventually(`${told} keys at the other node`, async () => (await keysAt(nodes[1])) === told);
      await Promise.all([any.playAtOther(), one.playAtOther()]);
      judge(t, strategy, any);
      judge(t, own, one);
    });
  }
});
