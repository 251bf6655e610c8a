// The ordered sets under the embedded store, against plain sorted arrays, and that a reading of topics is bounded.

import fc from 'fast-check';
import t from 'tap';
import { Deadlines } from '../../src/store/embedded/deadlines.ts';
import { SortedKeys } from '../../src/store/embedded/sorted-keys.ts';
import { Stamps } from '../../src/store/embedded/stamps.ts';
import { TopicIndex } from '../../src/store/embedded/topic-index.ts';

t.test('sorted keys are what a sorted array would be', async (t) => {
  const key = fc.string({ unit: fc.constantFrom('\u0000', 'a', 'b', '\uffff', 'ü'), maxLength: 4 });
  const step = fc.tuple(fc.constantFrom('add', 'delete', 'seek', 'after', 'page'), key);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const keys = new SortedKeys();
      const model = new Set<string>();
      for (const [kind, name] of steps) {
        const sorted = [...model].sort((x, y) => (x < y ? -1 : 1));
        if (kind === 'add') t.equal(keys.add(name), !model.has(name) && Boolean(model.add(name)));
        else if (kind === 'delete') t.equal(keys.delete(name), model.delete(name));
        else if (kind === 'seek')
          t.equal(
            keys.seek(name),
            sorted.find((one) => one >= name),
          );
        else if (kind === 'after')
          t.equal(
            keys.after(name),
            sorted.find((one) => one > name),
          );
        else if (name !== '') t.same(keys.page(name, 3), sorted.filter((one) => one > name).slice(0, 3));
        t.equal(keys.size, model.size);
      }
    }),
    { numRuns: 50 },
  );
});

t.test('sorted keys stay in order over many chunks', async (t) => {
  const keys = new SortedKeys();
  const count = 20_000;
  const nameOf = (at: number) => String(at).padStart(6, '0');
  for (let at = 0; at < count; at++) keys.add(nameOf((at * 7919) % count));
  t.equal(keys.size, count);
  let seen = 0;
  for (let key = keys.seek(''); key !== undefined; key = keys.after(key)) {
    if (key !== nameOf(seen)) t.fail(`${key} in place of ${nameOf(seen)}`);
    seen++;
  }
  t.equal(seen, count);
  for (let at = 0; at < count; at += 2) keys.delete(nameOf(at));
  t.equal(keys.seek(nameOf(5000)), nameOf(5001));
  t.equal(keys.size, count / 2);
  for (let at = 1; at < count; at += 2) keys.delete(nameOf(at));
  t.equal(keys.seek(''), undefined);
});

t.test('deadlines are told in their order, and stay until they are removed', async (t) => {
  const deadlines = new Deadlines();
  deadlines.add('late', 2000);
  deadlines.add('first', 5);
  deadlines.add('second', 999);
  t.same(deadlines.due(4, 10), []);
  t.same(deadlines.due(999, 10), ['first', 'second']);
  t.same(deadlines.due(5000, 2), ['first', 'second']);
  deadlines.remove('first', 5);
  t.same(deadlines.due(5000, 2), ['second', 'late']);
  t.equal(deadlines.size, 2);
});

t.test('stamps rise, whatever the clock does', async (t) => {
  const stamps = new Stamps();
  t.equal(stamps.next(1000), 1_000_000);
  t.equal(stamps.next(1000), 1_000_001);
  t.equal(stamps.next(1), 1_000_002);
  t.equal(stamps.next(1, 5_000_000), 5_000_001);
  stamps.load(7_000_000);
  t.equal(stamps.next(6000), 7_000_001);
});

t.test('a filter that matches little is read in bounded steps', async (t) => {
  const index = new TopicIndex();
  const count = 20_000;
  for (let at = 0; at < count; at++) index.add(`house/${at}/temperature`);
  index.add(`house/${count - 1}/alarm`);
  const all = () => true;
  let pages = 0;
  const found: string[] = [];
  for (let cursor: string | null = ''; cursor !== null; pages++) {
    const began = performance.now();
    const page = index.match('house/+/alarm', cursor, 10, all);
    t.ok(performance.now() - began < 1000);
    found.push(...page.topics);
    cursor = page.cursor;
  }
  t.same(found, [`house/${count - 1}/alarm`]);
  t.ok(pages > 5, `${pages} pages`);
  t.same(index.match('house/77/#', '', 10, all), { topics: ['house/77/temperature'], cursor: null });
});
