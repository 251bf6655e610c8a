// Contract cases of retained messages (last write wins, fences, limits, wildcard reads) and of shared payloads.

import fc from 'fast-check';
import type { Test } from 'tap';
import { topicMatches } from '../../src/mqtt/topic.ts';
import {
  FinishPayload,
  makeNode,
  ODD_NAMES,
  type OpenWorld,
  Retain,
  retainedRecord,
  run,
  StorePayload,
} from './store-world.ts';

export async function retainedCases(t: Test, open: OpenWorld): Promise<void> {
  await writeCases(t, open);
  await fenceCases(t, open);
  await limitCases(t, open);
  await readCases(t, open);
  await anyFilterCases(t, open);
  await pageCases(t, open);
  await payloadCases(t, open);
}

async function writeCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('the last write of a topic stands, an empty one clears', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    for (const topic of ODD_NAMES) await a.retain(topic, 'first');
    for (const topic of ODD_NAMES) t.equal((await b.retain(topic, 'last')).status, 'ok');
    for (const topic of ODD_NAMES) {
      const page = await b.store.readRetained(topic, '', 10, 0);
      t.same(page, { records: [{ topic, record: retainedRecord('last') }], cursor: null });
    }
    t.equal((await a.store.totals()).retainedMessages, ODD_NAMES.length);
    for (const topic of ODD_NAMES) t.equal((await a.retain(topic, null)).status, 'ok');
    for (const topic of ODD_NAMES) t.equal((await a.retain(topic, null)).status, 'ok', 'twice');
    t.same((await b.readRetained('#')).topics, []);
    t.match(await a.store.totals(), { retainedMessages: 0, retainedBytes: 0 });
  });

  await t.test('a burst on one topic ends on the last', async (t) => {
    const a = await makeNode(await open(t, {}));
    const writes = Array.from({ length: 300 }, (_, at) => run(a.store, new Retain('t', `v${at}`)));
    await Promise.all(writes);
    t.same((await a.store.readRetained('t', '', 1, 0)).records, [
      { topic: 't', record: retainedRecord('v299') },
    ]);
  });

  await t.test('an older write of the same writer changes nothing', async (t) => {
    const a = await makeNode(await open(t, {}));
    const put = (text: string | null, clientId: string, epoch: number, number: number) =>
      a.retain('t', text, { writer: { clientId, epoch, number } });
    t.equal((await put('5.3', 'p', 5, 3)).status, 'ok');
    t.equal((await put('5.2', 'p', 5, 2)).status, 'older');
    t.equal((await put('4.9', 'p', 4, 9)).status, 'older');
    t.equal((await put('5.3', 'p', 5, 3)).status, 'ok', 'the same again');
    t.equal((await put('6.1', 'p', 6, 1)).status, 'ok', 'a later connection');
    t.equal((await put('q', 'q', 1, 1)).status, 'ok', 'another writer');
    t.equal((await put('6.2', 'p', 6, 2)).status, 'ok');
    t.equal((await put(null, 'p', 6, 4)).status, 'ok');
    t.equal((await put('6.3', 'p', 6, 3)).status, 'older', 'also after the topic was cleared');
    t.same((await a.readRetained('t')).topics, []);
  });

  await t.test('a repetition under a mark counts as done', async (t) => {
    const a = await makeNode(await open(t, {}));
    const mark = { key: '0:p', mid: 7 };
    t.equal((await a.retain('t', 'first', { mark })).status, 'ok');
    await a.retain('t', 'second');
    t.equal((await a.retain('t', 'first', { mark })).status, 'older');
    t.same((await a.store.readRetained('t', '', 1, 0)).records[0]?.record, retainedRecord('second'));
    t.equal((await a.retain('u', 'first', { mark })).status, 'ok', 'marks are of a topic');
    t.equal((await a.retain('t', null, { mark: { key: '0:p', mid: 8 } })).status, 'ok');
    t.equal((await a.retain('t', 'first', { mark })).status, 'older', 'also after the topic was cleared');
  });
}

async function fenceCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a write matched before a reading of its topic is refused', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    t.equal((await a.retain('t/1', 'x', { version: 100 })).status, 'ok');
    await b.readRetained('t/#', 10, 200);
    t.match(await a.retain('t/1', 'y', { version: 199 }), { status: 'stale', fence: 200 });
    t.match(await a.retain('t/2', 'y', { version: 199 }), { status: 'stale', fence: 200 }, 'a new topic too');
    t.equal((await a.retain('t/1', 'y', { version: 200 })).status, 'ok');
    await b.readRetained('t/1', 10, 150);
    t.equal((await a.retain('t/1', 'z', { version: 180 })).status, 'stale', 'a fence never goes back');
    await b.readRetained('t/9', 10, 300);
    t.match(await a.retain('t/9', 'z', { version: 250 }), { status: 'stale', fence: 300 }, 'read as absent');
    t.same((await a.store.readRetained('t/1', '', 1, 0)).records[0]?.record, retainedRecord('y'));
  });

  await t.test(
    'what is older by its writer or its mark is so also where it was matched too early',
    async (t) => {
      const a = await makeNode(await open(t, {}));
      const writer = (epoch: number) => ({ clientId: 'p', epoch, number: 1 });
      const mark = { key: '0:p', mid: 7 };
      t.equal((await a.retain('t', 'newer', { version: 100, writer: writer(6) })).status, 'ok');
      t.equal((await a.retain('u', 'x', { version: 100, mark })).status, 'ok');
      await a.readRetained('#', 10, 200);
      t.equal((await a.retain('t', 'older', { version: 100, writer: writer(5) })).status, 'older');
      t.equal((await a.retain('u', 'x', { version: 100, mark })).status, 'older');
      t.equal((await a.retain('t', 'next', { version: 100, writer: writer(7) })).status, 'stale');
    },
  );

  await t.test(
    'a refused write that is made again keeps its place before later ones of its topic',
    async (t) => {
      const world = await open(t, {});
      const a = await makeNode(world);
      await a.readRetained('t/#', 10, 200);
      const refused = new Retain('t', 'older', { version: 100 });
      refused.complete = () => {
        if (refused.status === 'stale') {
          refused.version = 200;
          refused.again = true;
        } else refused.settle();
      };
      const first = run(a.store, refused);
      await Promise.all([
        first,
        a.retain('t', 'newer', { version: 250 }),
        a.retain('t', 'newest', { version: 300 }),
      ]);
      t.same((await a.store.readRetained('t', '', 1, 0)).records[0]?.record, retainedRecord('newest'));
    },
  );
}

async function limitCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a new topic beyond the count is refused, known ones are not', async (t) => {
    const a = await makeNode(await open(t, { maxRetainedMessages: 3 }));
    for (const topic of ['a', 'b', 'c']) t.equal((await a.retain(topic, 'x')).status, 'ok');
    t.equal((await a.retain('d', 'x')).status, 'full');
    t.equal((await a.retain('a', 'y')).status, 'ok');
    t.equal((await a.retain('d', null)).status, 'ok', 'clearing what is not there');
    t.equal((await a.retain('b', null)).status, 'ok');
    t.equal((await a.retain('d', 'x')).status, 'ok');
    t.same((await a.readRetained('#')).topics.sort(), ['a', 'c', 'd']);
  });

  await t.test('bytes are limited', async (t) => {
    const a = await makeNode(await open(t, { maxRetainedBytes: 10_000 }));
    t.equal((await a.retain('a', 'x'.repeat(6000))).status, 'ok');
    t.equal((await a.retain('b', 'x'.repeat(6000))).status, 'full');
    t.equal((await a.retain('a', 'x'.repeat(12_000))).status, 'full', 'a known one may not grow beyond');
    t.equal((await a.retain('a', 'x'.repeat(100))).status, 'ok');
    t.equal((await a.retain('b', 'x'.repeat(6000))).status, 'ok');
    const { retainedBytes } = await a.store.totals();
    t.ok(retainedBytes > 6100 && retainedBytes < 7000, `${retainedBytes} bytes`);
  });

  await t.test('an expired one counts as absent and is swept', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const now = a.store.nowMs();
    await a.retain('short', 'x', { expiresAt: now + 1000 });
    await a.retain('renewed', 'x', { expiresAt: now + 1000 });
    await a.retain('long', 'x', { expiresAt: now + 3_600_000 });
    await a.retain('renewed', 'y', { expiresAt: 0 });
    t.equal((await a.store.sweep(100)).retained, 0);
    t.equal((await a.readRetained('#')).topics.length, 3);
    await world.pass(1500);
    t.same((await a.readRetained('#')).topics.sort(), ['long', 'renewed']);
    t.same((await a.readRetained('short')).topics, []);
    t.equal((await a.store.sweep(100)).retained, 1);
    t.equal((await a.store.totals()).retainedMessages, 2);
  });
}

const TOPICS = [
  'a',
  'a/b',
  'a/b/c',
  'a/b/c/d',
  'a//c',
  'a/',
  '/',
  '/a',
  '//',
  'a!/b',
  'a/b!',
  'a/\u0001/c',
  'a /c',
  'b/x/c',
  'b/y/c',
  'b/y/d',
  'bb/y/c',
  '$SYS/broker',
  '$SYS',
  '$other/b/c',
  'ü/b/c',
  '🙂/b/c',
  '\uffff/b',
  'A/b/c',
];

async function readCases(t: Test, open: OpenWorld): Promise<void> {
  const filters = [
    '#',
    '+',
    '+/#',
    'a/#',
    'a/+/c',
    '+/b/#',
    '+/+/c',
    '+/b',
    '/+',
    '+/',
    '$SYS/#',
    '$SYS',
    '+/+',
  ];
  filters.push(
    'a/b/#',
    'a/b/c/#',
    'a',
    'nothing',
    'a/+/nothing',
    '+/+/+/+',
    '$SYS/+',
    '/#',
    'b/+/+',
    '//',
    'ü/#',
  );

  await t.test('a filter reads what it matches', async (t) => {
    const a = await makeNode(await open(t, {}));
    for (const topic of TOPICS) await a.retain(topic, topic);
    for (const filter of filters) {
      for (const limit of [1, 3, 100]) {
        const { topics } = await a.readRetained(filter, limit);
        const wanted = TOPICS.filter((topic) => topicMatches(filter, topic));
        t.same(topics.sort(), wanted.sort(), `${filter} by ${limit}`);
      }
    }
  });
}

async function anyFilterCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('any filter over any topics', async (t) => {
    const level = fc.constantFrom('', 'a', 'b', 'aa', 'ab', 'a!', '\u0001', 'ü', '$a', '\uffff');
    const topic = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'));
    const wild = fc.oneof(level, fc.constant('+'));
    const filter = fc
      .tuple(fc.array(wild, { minLength: 1, maxLength: 4 }), fc.boolean())
      .map(([levels, isOpen]) => [...levels, ...(isOpen ? ['#'] : [])].join('/'));
    const isName = (name: string) => name.length > 0;
    const a = await makeNode(await open(t, {}));
    const property = fc.asyncProperty(
      fc.array(topic.filter(isName), { maxLength: 30 }),
      fc.array(filter.filter(isName), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 5 }),
      async (topics, some, limit) => {
        const names = [...new Set(topics)];
        await Promise.all(names.map((name) => a.retain(name, name)));
        try {
          for (const one of some) {
            const found = (await a.readRetained(one, limit)).topics.sort();
            const wanted = names.filter((name) => topicMatches(one, name)).sort();
            if (found.join('|') !== wanted.join('|')) {
              throw new Error(`${one}: ${found.join(' ')} in place of ${wanted.join(' ')}`);
            }
          }
        } finally {
          await Promise.all(names.map((name) => a.retain(name, null)));
        }
      },
    );
    await fc.assert(property, { numRuns: 60 });
    t.pass('as the reference says');
  });
}

async function pageCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a reading goes on over changes, and its cost follows the matches', async (t) => {
    const a = await makeNode(await open(t, {}));
    const count = 20_000;
    for (let at = 0; at < count; at += 1000) {
      const some = Array.from({ length: 1000 }, (_, more) => at + more);
      await Promise.all(some.map((one) => a.retain(`big/${one % 100}/${one}/x`, 'x')));
    }
    await a.retain('small/1/2/x', 'x');
    await a.retain('small/2/2/y', 'x');
    t.same((await a.readRetained('small/+/2/x')).topics, ['small/1/2/x']);
    t.equal((await a.readRetained('big/7/#')).topics.length, 200);
    // One match, and more names to look at than one call may.
    t.same((await a.readRetained('big/+/1234/x')).topics, ['big/34/1234/x']);
    t.equal((await a.readRetained('big/+/+/x', 700)).topics.length, count);
    const began = performance.now();
    for (let at = 0; at < 20; at++) await a.readRetained('small/#');
    const small = performance.now() - began;
    t.ok(small < 2000, `20 readings of two messages among ${count} took ${small.toFixed(0)} ms`);
    const seen = new Set<string>();
    let cursor: string | null = '';
    let pages = 0;
    while (cursor !== null) {
      const page = await a.store.readRetained('big/#', cursor, 1000, 0);
      for (const { topic } of page.records) seen.add(topic);
      cursor = page.cursor;
      if (++pages === 3) await Promise.all([...seen].slice(0, 500).map((topic) => a.retain(topic, null)));
      if (pages === 4) await a.retain('big/0/0/x', 'again');
      if (pages > 5000) break;
    }
    t.equal(seen.size, count, 'everything that stood there all the time was read');
  });
}

async function payloadCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a shared payload lives until all its receivers are done', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const later = a.store.nowMs() + 3_600_000;
    const body = Buffer.from('shared \u0000 body');
    await run(a.store, new StorePayload('one', body, 3, later));
    await run(a.store, new StorePayload('{two}', Buffer.alloc(100_000, 1), 1, later));
    t.same(await b.store.readPayloads(['one', 'none', '{two}']), [body, null, Buffer.alloc(100_000, 1)]);
    await run(b.store, new FinishPayload('one', [0]));
    await run(b.store, new FinishPayload('one', [0, 2]));
    await run(b.store, new FinishPayload('one', [2]));
    await run(a.store, new StorePayload('one', body, 3, later));
    t.same(await a.store.readPayloads(['one']), [body], 'a receiver counts once');
    await run(b.store, new FinishPayload('one', [1]));
    await run(b.store, new FinishPayload('{two}', [0]));
    t.same(await a.store.readPayloads(['one', '{two}']), [null, null]);
    await run(b.store, new FinishPayload('one', [1]));
    t.same(await a.store.readPayloads([]), []);
  });

  await t.test('or until its time is over', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const now = a.store.nowMs();
    await run(a.store, new StorePayload('short', Buffer.from('s'), 5000, now + 1000));
    await run(a.store, new StorePayload('long', Buffer.from('l'), 5000, now + 3_600_000));
    await world.pass(1500);
    let freed = 0;
    for (let at = 0; at < 20 && freed < 1; at++) freed += (await a.store.sweep(100)).payloads;
    t.same(await a.store.readPayloads(['short', 'long']), [null, Buffer.from('l')]);
    await run(a.store, new FinishPayload('short', [4999]));
  });

  await t.test('payloads and retained limits are there after a restart', async (t) => {
    const world = await open(t, { maxRetainedMessages: 2 });
    let a = await makeNode(world);
    const later = a.store.nowMs() + 3_600_000;
    await run(a.store, new StorePayload('one', Buffer.from('body'), 2, later));
    await run(a.store, new FinishPayload('one', [1]));
    await a.retain('t', 'x', { writer: { clientId: 'p', epoch: 5, number: 5 } });
    await a.retain('u', 'x');
    await world.restart();
    a = await makeNode(world);
    t.same(await a.store.readPayloads(['one']), [Buffer.from('body')]);
    await run(a.store, new FinishPayload('one', [0]));
    t.same(await a.store.readPayloads(['one']), [null]);
    const older = { clientId: 'p', epoch: 5, number: 4 };
    t.equal((await a.retain('t', 'old', { writer: older })).status, 'older');
    t.equal((await a.retain('v', 'x')).status, 'full');
  });
}
