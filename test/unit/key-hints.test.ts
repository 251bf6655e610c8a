// Keys of shared groups on several nodes: whoever publishes, and wherever it goes on, a key keeps its member while that is
// connected, by what nodes tell each other. The nodes here are tables of groups with their hints; what they send arrives
// at once, late, or never.

import t from 'tap';
import { KeyHints } from '../../src/cluster/key-hints.ts';
import type { GroupStrategy } from '../../src/config/schema.ts';
import type { NewsPiece } from '../../src/routing/key-pass.ts';
import type { SharedGroups } from '../../src/routing/shared-groups.ts';
import { seededRandom } from '../../src/util/random.ts';
import { sub } from '../helpers/cluster-members.ts';
import { groupsOf } from '../helpers/groups.ts';
import { HandClock } from '../helpers/hand-clock.ts';

const FILTER = '$share/g/a/+';
/** Anything may come between any two steps. */
const TINY: NewsPiece = { steps: 1, keys: 1 };

interface Node {
  readonly name: string;
  readonly groups: SharedGroups;
  readonly hints: KeyHints;
  readonly inbox: (() => void)[];
}

class Cluster {
  readonly clock = new HandClock();
  readonly nodes = new Map<string, Node>();
  readonly members = new Map<string, string>();
  /** Nodes that the others have not heard of yet. */
  readonly unheard = new Set<string>();
  /** What is sent stays in the inboxes until it is read. */
  isLate = false;
  isLost = false;
  keysTold = 0;
  items = 0;
  longestItem = 0;
  readonly #strategy: GroupStrategy;
  readonly #piece: NewsPiece | undefined;

  constructor(names: readonly string[], strategy: GroupStrategy = 'hash-by-topic', piece?: NewsPiece) {
    this.#strategy = strategy;
    this.#piece = piece;
    for (const name of names) this.start(name);
  }

  /** A node that knows who is a member and where, and nothing of keys. */
  start(name: string): Node {
    const groups = groupsOf(name, this.#strategy, undefined, { onKeyNews: (group) => hints.note(group) });
    const hints = new KeyHints({
      clock: this.clock,
      ...(this.#piece && { piece: this.#piece }),
      others: () => [...this.nodes.keys()].filter((one) => one !== name && !this.unheard.has(one)),
      peers: {
        keys: (to, filter, clientId, rank, keys) => {
          this.items++;
          this.keysTold += keys.length;
          this.longestItem = Math.max(this.longestItem, keys.length);
          this.#post(to, ({ groups }) => groups.hearKeys(filter, clientId, rank, [...keys]));
        },
        askKeys: (to) => this.#post(to, (other) => other.hints.asked(name, other.groups)),
      },
    });
    const node: Node = { name, groups, hints, inbox: [] };
    for (const [member, home] of this.members) {
      groups.set(member, 1, true, [sub(FILTER)]);
      if (home !== '') groups.setPresent(member, home, true);
    }
    this.nodes.set(name, node);
    return node;
  }

  #post(to: string, run: (node: Node) => void): void {
    const node = this.nodes.get(to);
    if (node === undefined || this.isLost) return;
    node.inbox.push(() => run(node));
    if (!this.isLate) this.deliver();
  }

  deliver(): void {
    for (const { inbox } of this.nodes.values()) for (const run of inbox.splice(0)) run();
  }

  /** Also timers that were armed by what was delivered. */
  settle(): void {
    for (let round = 0; round < 4; round++) {
      this.clock.pass(100);
      this.deliver();
    }
  }

  join(member: string): void {
    this.members.set(member, '');
    for (const { groups } of this.nodes.values()) groups.set(member, 1, true, [sub(FILTER)]);
  }

  come(member: string, home: string): void {
    this.members.set(member, home);
    for (const { groups } of this.nodes.values()) groups.setPresent(member, home, true);
  }

  go(member: string): void {
    const home = this.members.get(member)!;
    this.members.set(member, '');
    for (const { groups } of this.nodes.values()) groups.setPresent(member, home, false);
  }

  leave(member: string): void {
    if (this.members.get(member) !== '') this.go(member);
    this.members.delete(member);
    for (const { groups } of this.nodes.values()) groups.set(member, 1, true, []);
  }

  joinAndCome(member: string, home: string): void {
    this.join(member);
    this.come(member, home);
  }

  choose(node: string, key: string): string | undefined {
    const { groups } = this.nodes.get(node)!;
    const group = groups.get(FILTER);
    return group && (groups.choose(group, 'p', `a/${key}`, false)?.clientId ?? undefined);
  }

  homes(node: string, count: number, from = 0): (string | undefined)[] {
    return Array.from({ length: count }, (_none, index) => this.choose(node, `${from + index}`));
  }
}

t.test('a publisher that goes on elsewhere meets the same member', async (t) => {
  for (const strategy of ['hash-by-topic', 'sticky'] as const) {
    await t.test(`${strategy}: members have joined meanwhile`, async (t) => {
      const cluster = new Cluster(['n1', 'n2', 'n3'], strategy);
      for (const name of ['m0', 'm1']) cluster.joinAndCome(name, 'n1');
      const before = cluster.homes('n1', 40);
      for (const name of ['m2', 'm3', 'm4', 'm5']) cluster.joinAndCome(name, 'n2');
      cluster.settle();
      t.same(cluster.homes('n2', 40), before);
      t.same(cluster.homes('n1', 40), before);
      t.same(cluster.homes('n3', 40), before);
      if (strategy === 'sticky') return;
      t.ok(new Set(cluster.homes('n3', 40, 100)).size > 4, 'new ones go to all');
      cluster.start('n4').hints.ask();
      cluster.settle();
      t.same(cluster.homes('n4', 40), before, 'a node that started later has asked');
      cluster.leave('m0');
      cluster.settle();
      const after = cluster.homes('n3', 40);
      t.ok(before.every((home, index) => home === after[index] || home === 'm0'));
      t.same(cluster.homes('n1', 40), after);
    });
  }

  await t.test('the member of before was away, and is back', async (t) => {
    const cluster = new Cluster(['n1', 'n2']);
    for (const name of ['m0', 'm1', 'm2']) cluster.joinAndCome(name, 'n1');
    cluster.homes('n2', 60);
    cluster.go('m0');
    const between = cluster.homes('n1', 60);
    cluster.come('m0', 'n2');
    cluster.settle();
    t.same(cluster.homes('n2', 60), between);
    t.same(cluster.homes('n1', 60), between);
  });
});

t.test('a node that asks before the others have heard of it is told', async (t) => {
  const cluster = new Cluster(['n1', 'n2']);
  cluster.joinAndCome('m', 'n1');
  cluster.homes('n1', 40);
  for (const member of ['x', 'y']) cluster.joinAndCome(member, 'n2');
  cluster.settle();
  cluster.unheard.add('n3');
  cluster.start('n3').hints.ask();
  cluster.settle();
  t.same(new Set(cluster.homes('n3', 40)), new Set(['m']));
});

t.test('a node that asks is told in pieces', async (t) => {
  const cluster = new Cluster(['n1', 'n2'], 'hash-by-topic', { steps: 1000, keys: 20 });
  cluster.joinAndCome('m', 'n1');
  cluster.homes('n1', 300);
  for (let index = 0; index < 6; index++) cluster.joinAndCome(`x${index}`, 'n2');
  cluster.settle();
  const before = cluster.keysTold;
  for (const name of ['n3', 'n4']) cluster.start(name).hints.ask();
  let most = 0;
  for (let turn = 0; turn < 100; turn++) {
    const told = cluster.keysTold;
    cluster.clock.step();
    most = Math.max(most, cluster.keysTold - told);
  }
  t.ok(cluster.keysTold - before > 600, `${cluster.keysTold - before} keys to both, from both that have any`);
  t.ok(most <= 20, `${most} in one turn`);
  for (const name of ['n3', 'n4']) t.same(new Set(cluster.homes(name, 300)), new Set(['m']));
});

t.test('a key that moved while all were away is not told as one that its member kept', async (t) => {
  const cluster = new Cluster(['n1', 'n2', 'n3']);
  cluster.joinAndCome('m', 'n1');
  cluster.homes('n3', 40);
  cluster.joinAndCome('x', 'n2');
  cluster.settle();
  cluster.go('x');
  cluster.leave('m');
  cluster.join('z');
  t.same(new Set(cluster.homes('n3', 40)), new Set(['x', 'z']), 'into the queues of both');
  cluster.come('z', 'n1');
  cluster.settle();
  t.same(new Set(cluster.homes('n2', 40)), new Set(['z']));
  for (let index = 0; index < 4; index++) cluster.joinAndCome(`y${index}`, 'n2');
  cluster.settle();
  t.same(new Set(cluster.homes('n3', 40)), new Set(['z']));
});

t.test('what is told is bounded, and costs nothing where nothing changes', async (t) => {
  const cluster = new Cluster(['n1', 'n2', 'n3']);
  for (let index = 0; index < 4; index++) cluster.joinAndCome(`m${index}`, 'n1');
  cluster.homes('n1', 5000);
  cluster.settle();
  t.equal(cluster.items, 0, 'known keys and new ones are not spoken of');
  cluster.joinAndCome('x', 'n2');
  cluster.settle();
  const told = cluster.keysTold;
  t.ok(told > 1600 && told < 2400, `a fifth of them, to two nodes: ${told}`);
  t.ok(cluster.longestItem <= 500 && cluster.items <= 40, `${cluster.items} items`);
  for (let round = 0; round < 5; round++) {
    cluster.go('x');
    cluster.come('x', 'n2');
    cluster.settle();
  }
  t.equal(cluster.keysTold, told, 'each is told once');
  cluster.homes('n1', 5000);
  cluster.settle();
  t.equal(cluster.keysTold, told);
});

t.test('members that come together cost one pass', async (t) => {
  const cluster = new Cluster(['n1', 'n2']);
  cluster.joinAndCome('m', 'n1');
  cluster.homes('n1', 300);
  for (let index = 0; index < 20; index++) cluster.joinAndCome(`x${index}`, 'n2');
  cluster.clock.pass(0);
  t.equal(cluster.items, 1);
  cluster.joinAndCome('y', 'n2');
  cluster.clock.pass(99);
  t.equal(cluster.items, 1, 'the next one waits');
  cluster.settle();
  t.same(new Set(cluster.homes('n2', 300)), new Set(['m']));
});

type Act = (cluster: Cluster, draw: (below: number) => number) => void;
const MEMBERS = 6;
const KEYS = 12;
const change: Act = (cluster, draw) => {
  const member = `m${draw(MEMBERS)}`;
  const home = cluster.members.get(member);
  const chance = draw(4);
  if (home === undefined) cluster.join(member);
  else if (home === '') cluster.come(member, `n${1 + draw(3)}`);
  else if (chance < 2) cluster.go(member);
  else if (chance === 2) cluster.leave(member);
};

t.test('by chance: a key keeps its member, wherever it is published, while that is connected', async (t) => {
  const seed = Number(process.env.SWARMQ_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`SWARMQ_SEED=${seed}`);
  let kept = 0;
  for (let run = 0; run < 60; run++) {
    const random = seededRandom(seed + run);
    const cluster = new Cluster(['n1', 'n2', 'n3'], 'hash-by-topic', run % 2 === 0 ? TINY : undefined);
    cluster.joinAndCome('m0', 'n1');
    /** The member of each key that was connected from its last message on. */
    const homes = new Map<string, string>();
    for (let step = 0; step < 200; step++) {
      if (random.below(3) === 0) {
        change(cluster, (below) => random.below(below));
        cluster.settle();
        for (const [key, home] of homes) if (!cluster.members.get(home)) homes.delete(key);
        continue;
      }
      const key = `k${random.below(KEYS)}`;
      const node = `n${1 + random.below(3)}`;
      const home = cluster.choose(node, key);
      const before = homes.get(key);
      if (before !== undefined && before !== home) {
        t.fail(`seed ${seed + run}, step ${step}: ${key} at ${node} went from ${before} to ${home}`);
        return;
      }
      if (before !== undefined) kept++;
      if (home !== undefined && cluster.members.get(home)) homes.set(key, home);
    }
  }
  t.ok(kept > 2000, `${kept} messages had a member to find again`);
});

t.test('by chance: nodes that hear late, or not, agree when all is told', async (t) => {
  const seed = Number(process.env.SWARMQ_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.comment(`SWARMQ_SEED=${seed}`);
  for (let run = 0; run < 60; run++) {
    const random = seededRandom(seed + run);
    const cluster = new Cluster(['n1', 'n2', 'n3'], 'hash-by-topic', run % 2 === 0 ? TINY : undefined);
    cluster.joinAndCome('m0', 'n1');
    for (let step = 0; step < 100; step++) {
      cluster.isLate = random.below(2) === 0;
      cluster.isLost = random.below(4) === 0;
      if (random.below(3) === 0) change(cluster, (below) => random.below(below));
      else cluster.choose(`n${1 + random.below(3)}`, `k${random.below(KEYS)}`);
      // Between pieces keys move, members come and go.
      for (let piece = random.below(5); piece > 0; piece--) cluster.clock.step();
      if (random.below(4) === 0) cluster.settle();
    }
    cluster.isLost = false;
    if (![...cluster.members.values()].some((home) => home !== '')) continue;
    for (const node of ['n1', 'n2', 'n3'])
      for (let key = 0; key < KEYS; key++) cluster.choose(node, `k${key}`);
    cluster.settle();
    for (const { hints } of cluster.nodes.values()) hints.ask();
    cluster.settle();
    for (let key = 0; key < KEYS; key++) {
      const homes = new Set(['n1', 'n2', 'n3'].map((node) => cluster.choose(node, `k${key}`)));
      t.equal(homes.size, 1, `seed ${seed + run}: k${key} has ${[...homes]}`);
    }
  }
});
