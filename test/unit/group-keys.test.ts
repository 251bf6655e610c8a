// What a node tells of a group's keys when members join: all of it, once, and in pieces of bounded size, whatever happens
// between them. How much is done in a piece is counted by how often a member's hash is read: no score can be had without.

import t from 'tap';
import { KeyHints } from '../../src/cluster/key-hints.ts';
import { GroupKeys } from '../../src/routing/group-keys.ts';
import { best, hashOf, type KeyHolder } from '../../src/routing/key-scores.ts';
import type { SharedGroup } from '../../src/routing/shared-groups.ts';
import { HandClock } from '../helpers/hand-clock.ts';

let reads = 0;

class Member implements KeyHolder {
  readonly clientId: string;
  readonly #hash: number;
  node = 'n1';
  stay = 1;

  constructor(clientId: string, hash = hashOf(clientId)) {
    this.clientId = clientId;
    this.#hash = hash;
  }

  get hash(): number {
    reads++;
    return this.#hash;
  }

  go(): void {
    this.node = '';
    this.stay++;
  }
}

function members(prefix: string, count: number): Member[] {
  return Array.from({ length: count }, (_none, index) => new Member(`${prefix}${index}`));
}

function keysOf(holders: readonly Member[], count: number) {
  let news = 0;
  const keys = new GroupKeys<Member>({ max: 100_000, onForgotten: () => {}, onNews: () => news++ });
  const names = Array.from({ length: count }, (_none, index) => `k${index}`);
  const homes = new Map(names.map((name) => [name, keys.choose(name, holders)]));
  return { keys, names, homes, noted: () => news };
}

const TINY = { steps: 1, keys: 1 };

/** What is told in the pieces of one pass: `key rank member`. */
function tell(keys: GroupKeys<Member>, piece = TINY, between: (told: readonly string[]) => void = () => {}) {
  const told: string[] = [];
  do {
    for (const one of keys.takeNews(piece)) {
      for (const key of one.keys) told.push(`${key} ${one.rank} ${one.member.clientId}`);
    }
    between(told);
  } while (keys.hasMoreNews);
  return told.sort();
}

t.test('hundreds join: each piece is bounded, and all is told, once', async (t) => {
  const holders = members('h', 20);
  const { keys, names, homes } = keysOf(holders, 3000);
  const joined = members('j', 300);
  for (const one of joined) keys.came(one);
  const expected = names.filter((name) => best([...holders, ...joined], name) !== homes.get(name));
  const told: string[] = [];
  let pieces = 0;
  do {
    reads = 0;
    const news = keys.takeNews({ steps: 2000, keys: 100 });
    pieces++;
    // A key that is begun is ended; each has as many comparisons as members joined, and one score of its own.
    if (reads > 2 * (2000 + joined.length)) t.fail(`${reads} scores in piece ${pieces}`);
    const count = news.reduce((sum, one) => sum + one.keys.length, 0);
    if (count > 100) t.fail(`${count} keys in piece ${pieces}`);
    told.push(...news.flatMap((one) => one.keys));
    for (const one of news) for (const key of one.keys) t.equal(one.member, homes.get(key));
  } while (keys.hasMoreNews);
  t.ok(pieces > 10, `${pieces} pieces`);
  t.same(told.sort(), expected.sort());
  t.same(tell(keys), [], 'no more of it');
});

t.test(
  "a turn of the loop is bounded, and the holder's score is not computed for each who joined",
  async (t) => {
    const holder = new Member('a');
    const { keys } = keysOf([holder], 4000);
    // Scores like the holder's, and no better: each has to be looked at for each key.
    for (let index = 0; index < 300; index++) keys.came(new Member(`b${index}`, hashOf('a')));
    const clock = new HandClock();
    let sent = 0;
    const hints = new KeyHints({
      clock,
      others: () => ['n2', 'n3'],
      peers: {
        keys: (_to, _filter, _clientId, _rank, told) => {
          sent += told.length;
        },
        askKeys: () => {},
      },
    });
    const group = { filter: '$share/g/a', keys } as unknown as SharedGroup;
    const turns = () => {
      const costs: [number, number][] = [];
      for (;;) {
        reads = 0;
        sent = 0;
        if (!clock.step()) return costs;
        costs.push([reads, sent]);
      }
    };
    hints.note(group);
    const costs = turns();
    t.ok(costs.length > 10, `${costs.length} turns`);
    t.ok(Math.max(...costs.map(([reads]) => reads)) < 101_000);
    const all = costs.reduce((sum, [reads]) => sum + reads, 0);
    t.equal(all, 4000 * 301);
    keys.came(new Member('A', hashOf('a')));
    hints.note(group);
    const told = turns().map(([, sent]) => sent);
    t.equal(
      told.reduce((sum, one) => sum + one, 0),
      2 * 4000,
    );
    t.equal(Math.max(...told), 2 * 2000);
  },
);

t.test('between pieces', async (t) => {
  await t.test('a member goes that has keys: what is not told yet is not told any more', async (t) => {
    const holders = members('h', 2);
    const [stays, goes] = holders as [Member, Member];
    const { keys, names, homes } = keysOf(holders, 200);
    const [joins] = members('j', 1) as [Member];
    keys.came(joins);
    // All are compared in the first piece.
    let has = true;
    const told = tell(keys, { steps: 100_000, keys: 1 }, () => {
      if (has) goes.go();
      has = false;
    });
    t.ok(told.filter((line) => line.endsWith(' h1')).length <= 1 && told.length > 5);
    for (const name of names) {
      const home = keys.choose(name, [stays, joins]);
      if (homes.get(name) === stays) t.equal(home, stays);
      else t.equal(home, best([stays, joins], name), 'as every node would choose');
    }
    t.same(
      tell(keys).filter((line) => line.includes(' 1 ')),
      [],
      'and nobody needs to hear of those',
    );
  });

  await t.test('a member joins: the next pass tells what it would be given', async (t) => {
    const holders = members('h', 3);
    const { keys, names, homes, noted } = keysOf(holders, 300);
    const [first, second] = members('j', 2) as [Member, Member];
    keys.came(first);
    const before = noted();
    let pieces = 0;
    const told = tell(keys, { steps: 50, keys: 3 }, () => {
      if (++pieces === 2) keys.came(second);
    });
    t.equal(noted(), before + 1, 'it is said that there is more');
    const later = tell(keys, { steps: 50, keys: 3 });
    const expected = (joined: Member[]) =>
      names
        .filter((name) => best([...holders, ...joined], name) !== homes.get(name))
        .map((name) => `${name} 1 ${homes.get(name)?.clientId}`)
        .sort();
    t.same(told, expected([first]));
    t.same([...told, ...later].sort(), expected([first, second]), 'each once');
  });

  await t.test('keys move: each is told as it is then, once', async (t) => {
    const holders = members('h', 2);
    const [stays, goes] = holders as [Member, Member];
    const { keys, names, homes } = keysOf(holders, 100);
    const joined = members('j', 30);
    for (const one of joined) keys.came(one);
    const known = tell(keys)
      .map((line) => line.split(' '))
      .filter(([, , member]) => member === goes.clientId)
      .map(([key]) => key!);
    goes.go();
    for (const name of known) keys.choose(name, [stays]);
    t.ok(known.length > 5);
    const passes = [0, 0];
    const told = tell(keys, TINY, () => {
      if (++passes[0]! !== 3) return;
      // All of them once more, whether told or not.
      stays.go();
      for (const name of known) keys.choose(name, [joined[0]!]);
    });
    const later = tell(keys);
    t.same(told.filter((line) => line.endsWith(' h0')).length, 3, 'as they were');
    t.same(
      [...told, ...later].filter((line) => line.endsWith(' j0')).sort(),
      known.map((key) => `${key} 3 j0`).sort(),
    );
    t.equal(homes.size, names.length);
  });

  await t.test('keys are forgotten: they are not told', async (t) => {
    const holders = members('h', 1);
    const keys = new GroupKeys<Member>({ max: 8, onForgotten: () => {}, onNews: () => {} });
    for (let index = 0; index < 3; index++) keys.choose(`k${index}`, holders);
    for (const one of members('j', 50)) keys.came(one);
    keys.takeNews(TINY);
    for (let index = 0; index < 8; index++) keys.choose(`other${index}`, holders);
    t.same(tell(keys), []);
  });
});
