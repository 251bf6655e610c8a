// The trie against the reference rule of mqtt/topic.ts, over small alphabets so that filters meet; and its forgetting.

import fc from 'fast-check';
import t from 'tap';
import { topicMatches } from '../../src/mqtt/topic.ts';
import { TopicTrie } from '../../src/routing/topic-trie.ts';

const level = fc.constantFrom('', 'a', 'b', '$x', '__proto__', 'a-level-of-twenty-characters', 'é🙂');
const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 5 }), fc.boolean())
  .map(([levels, isOpen]) => (isOpen ? [...levels, '#'] : levels).join('/'));
const filterOrHash = fc.oneof({ weight: 9, arbitrary: filter }, { weight: 1, arbitrary: fc.constant('#') });
const usable = (text: string) => text.length > 0;

function matched(trie: TopicTrie<number>, topic: string): number[] {
  const values: number[] = [];
  trie.match(topic, (value) => values.push(value));
  return values.sort((one, other) => one - other);
}

t.test('matches as the reference says, also after filters were removed', async () => {
  const step = fc.record({ filter: filterOrHash.filter(usable), value: fc.nat(12), isRemoval: fc.boolean() });
  const property = fc.property(
    fc.array(step, { maxLength: 40 }),
    fc.array(topic.filter(usable), { minLength: 1, maxLength: 12 }),
    (steps, topics) => {
      const trie = new TopicTrie<number>();
      const model = new Map<string, Set<number>>();
      for (const { filter, value, isRemoval } of steps) {
        const values = model.get(filter) ?? new Set<number>();
        model.set(filter, values);
        if (isRemoval) {
          trie.remove(filter, value);
          values.delete(value);
        } else {
          trie.add(filter, value);
          values.add(value);
        }
      }
      const held = [...model].filter(([, values]) => values.size > 0);
      if (trie.filterCount !== held.length)
        throw new Error(`${trie.filterCount} filters, not ${held.length}`);
      for (const topic of topics) {
        const expected = held.flatMap(([filter, values]) => (topicMatches(filter, topic) ? [...values] : []));
        expected.sort((one, other) => one - other);
        if (matched(trie, topic).join() !== expected.join()) {
          throw new Error(`'${topic}': ${matched(trie, topic)} instead of ${expected}`);
        }
      }
    },
  );
  fc.assert(property, { numRuns: 3000, verbose: 1 });
});

t.test('the cases of the standard', async (t) => {
  const cases: [filter: string, topic: string, isMatch: boolean][] = [
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/#', 'sport', true],
    ['#', 'a//b', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+', '/finance', false],
    ['#', '$SYS/x', false],
    ['+/monitor/Clients', '$SYS/monitor/Clients', false],
    ['$SYS/#', '$SYS/monitor', true],
    ['$SYS/#', '$SYS', true],
    ['$SYS/monitor/+', '$SYS/monitor/Clients', true],
    ['a/[b]/+', 'a/[b]/c', true],
    ['a/*/+', 'a/b/c', false],
  ];
  for (const [filter, topic, isMatch] of cases) {
    const trie = new TopicTrie<number>();
    trie.add(filter, 7);
    t.same(matched(trie, topic), isMatch ? [7] : [], `${filter} ${topic}`);
  }
});

t.test('many values under one filter, as numbers or objects', async (t) => {
  const trie = new TopicTrie<object>();
  const values = Array.from({ length: 1000 }, (_, index) => ({ index }));
  for (const filter of ['a/b', 'a/+']) {
    for (const value of values) trie.add(filter, value);
    for (const value of values) trie.add(filter, value);
  }
  let count = 0;
  trie.match('a/b', () => count++);
  t.equal(count, 2000, 'each value once per filter');
  for (const value of values.slice(1)) {
    trie.remove('a/b', value);
    trie.remove('a/+', value);
  }
  const left: object[] = [];
  trie.match('a/b', (value) => left.push(value));
  t.same(left, [values[0], values[0]]);
  t.ok(left.every((value) => value === values[0]));
  trie.remove('a/b', values[0]!);
  trie.remove('a/+', values[0]!);
  trie.remove('a/+', values[0]!);
  trie.remove('x/y/+', values[0]!);
  t.equal(trie.filterCount, 0);
});

t.test('a filter as deep as MQTT allows neither recurses nor lingers', async (t) => {
  const trie = new TopicTrie<number>();
  const deep = 'a/'.repeat(30_000);
  trie.add(`${deep}+`, 1);
  trie.add(`${deep}+/x`, 2);
  t.same(matched(trie, `${deep}q`), [1]);
  t.same(matched(trie, `${deep}q/x`), [2]);
  trie.remove(`${deep}+`, 1);
  trie.remove(`${deep}+/x`, 2);
  t.equal(trie.filterCount, 0);
});

t.test('100,000 wildcard filters: a match costs what matches', async (t) => {
  const trie = new TopicTrie<number>();
  for (let device = 0; device < 33_334; device++) {
    trie.add(`fleet/${device % 100}/device-${device}/+/set`, device);
    trie.add(`fleet/+/device-${device}/#`, device);
    trie.add(`+/${device % 100}/device-${device}/state/+`, device);
  }
  t.equal(trie.wildcardCount, 100_002);
  const started = performance.now();
  let found = 0;
  for (let round = 0; round < 10_000; round++) {
    trie.match(`fleet/${round % 100}/device-${round}/state/set`, () => found++);
  }
  const perMatchUs = (performance.now() - started) / 10;
  t.equal(found, 30_000);
  t.ok(perMatchUs < 50, `${perMatchUs.toFixed(2)} us per match`);
});
