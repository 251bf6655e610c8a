// The contract of a store: marks, by which a queue knows the repetition of a QoS 2 message or a will.

import type { Test } from 'tap';
import { markKey } from '../../src/store/records.ts';
import { seededRandom } from '../../src/util/random.ts';
import { makeNode, ODD_NAMES, type OpenWorld } from './store-world.ts';

export async function markCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a repetition is known by its mark', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const put = (mid: number, key = markKey('p', 0)) =>
      a.enqueue('c', session.life, `${key} ${mid}`, { mark: { key, mid } });
    t.equal((await put(10)).status, 'queued');
    t.equal((await put(10)).status, 'duplicate');
    t.equal((await put(9)).status, 'duplicate');
    t.equal((await put(10, markKey('p', 1))).status, 'queued', 'another slot');
    t.equal((await put(10, markKey('q', 0))).status, 'queued', 'another publisher');
    t.equal((await put(11)).status, 'queued');
    await a.ack(
      'c',
      a.owner(session),
      session.head + 4,
      [0, 1, 2, 3].map((at) => session.head + at),
    );
    t.equal((await put(11)).status, 'duplicate', 'a mark outlives its entry');
    t.equal((await a.claim('c')).tail, session.tail + 4);
    const clean = await a.claim('c', { cleanStart: true });
    const again = await a.enqueue('c', clean.life, 'x', { mark: { key: markKey('p', 0), mid: 11 } });
    t.equal(again.status, 'queued', 'and goes with the session');
  });

  await t.test('marks of odd names do not meet', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    for (const status of ['queued', 'duplicate'] as const) {
      for (const name of ODD_NAMES) {
        const mark = { key: markKey(name, 0), mid: 10 };
        t.equal((await a.enqueue('c', session.life, 'x', { mark })).status, status, name.slice(0, 20));
      }
    }
  });

  await t.test('a mark lives on with its use', async (t) => {
    // Real time on Redis: a second is left for a busy machine.
    const world = await open(t, { markLifeMs: 3000 });
    const a = await makeNode(world);
    const session = await a.claim('c');
    const put = (publisher: string, mid: number) =>
      a.enqueue('c', session.life, 'x', { mark: { key: markKey(publisher, 0), mid } });
    await put('p', 10);
    await put('q', 10);
    await world.pass(1700);
    await put('p', 11);
    await world.pass(1700);
    for (let at = 0; at < 5; at++) await a.store.sweep(100);
    t.equal((await put('p', 11)).status, 'duplicate');
    t.equal((await put('q', 10)).status, 'queued');
  });

  await t.test('marks are freed when their life is over', async (t) => {
    const world = await open(t, { markLifeMs: 1000 });
    const a = await makeNode(world);
    const session = await a.claim('c');
    const mark = { key: markKey('p', 0), mid: 10 };
    await a.enqueue('c', session.life, 'x', { mark });
    await a.retain('t', 'x', { mark });
    t.equal((await a.store.sweep(100)).marks, 0);
    await world.pass(1500);
    let freed = 0;
    for (let at = 0; at < 20 && freed < 2; at++) freed += (await a.store.sweep(100)).marks;
    t.equal(freed, 2);
    t.equal((await a.enqueue('c', session.life, 'y', { mark })).status, 'queued');
  });

  await t.test('many at the same time, of many slots, are judged one by one', async (t) => {
    const seed = Number(process.env.SWARMQ_SEED ?? Date.now() % 1_000_000);
    t.comment(`SWARMQ_SEED=${seed}`);
    const random = seededRandom(seed);
    const a = await makeNode(await open(t, { maxQueuedMessages: 200 }));
    const session = await a.claim('c');
    const highest = new Map<string, number>();
    const statuses: string[] = [];
    let mid = 1000;
    for (let turn = 0; turn < 60; turn++) {
      const isOfGroup = turn % 7 === 6;
      const calls = [];
      let slot = random.below(70);
      const publisher = random.below(5) > 0 ? 'p' : `q${random.below(3)}`;
      for (let index = random.below(12); index >= 0; index--) {
        if (random.below(5) === 0) slot = random.below(70);
        const old = random.below(4) === 0;
        const mark = { key: markKey(publisher, slot++ % 70), mid: old ? mid - random.below(40) : ++mid };
        const name = `${isOfGroup} ${mark.key}`;
        const notedTopic = random.below(10) === 0 ? 'noted' : null;
        const isNew = mark.mid > (highest.get(name) ?? 0);
        if (isNew) highest.set(name, mark.mid);
        statuses.push(isNew ? 'queued' : 'duplicate');
        calls.push(a.enqueue('c', session.life, 'x', { mark, notedTopic, isOfGroup }));
      }
      const answers = await Promise.all(calls);
      t.same(
        answers.map(({ status }) => status),
        statuses.splice(0),
      );
    }
  });
}
