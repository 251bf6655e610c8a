// Contract cases of shared subscriptions: what the enqueue of a group's message answers, the record of a choice, and what
// an ended session leaves to other members.

import type { Test } from 'tap';
import { Receptions } from '../../src/store/receptions.ts';
import {
  type ContractNode,
  HEADER,
  makeNode,
  ODD_NAMES,
  type OpenWorld,
  sortedRecords,
} from './store-world.ts';

const OF_GROUP = { isOfGroup: true };
const mark = (mid: number, key = '0:p') => ({ key, mid });

export async function groupCases(t: Test, open: OpenWorld): Promise<void> {
  await enqueueCases(t, open);
  await choiceCases(t, open);
  await orphanCases(t, open);
}

async function enqueueCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('the length of the queue is answered, from the head', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const answers = await Promise.all([
      a.enqueue('c', session.life, '1', OF_GROUP),
      a.enqueue('c', session.life, '2', OF_GROUP),
    ]);
    t.equal(Math.max(...answers.map(({ waiting }) => waiting)), 2);
    await a.ack('c', a.owner(session), session.head + 1, [session.head]);
    t.match(await a.enqueue('c', session.life, '3', { ...OF_GROUP, mark: mark(1) }), {
      ...{ status: 'queued', waiting: 2, owner: a.incarnation },
    });
  });

  await t.test('marks stand apart from those of the session', async (t) => {
    const a = await makeNode(await open(t, {}));
    const { life } = await a.claim('c');
    t.match(await a.enqueue('c', life, 'own', { mark: mark(5) }), { status: 'queued' });
    t.match(await a.enqueue('c', life, 'group', { ...OF_GROUP, mark: mark(5) }), { status: 'queued' });
    t.match(await a.enqueue('c', life, 'group', { ...OF_GROUP, mark: mark(5) }), { status: 'duplicate' });
    t.match(await a.enqueue('c', life, 'own', { mark: mark(5) }), { status: 'duplicate' });
  });

  await t.test('they outlive the session: whoever had a message is known, and nobody else', async (t) => {
    const a = await makeNode(await open(t, {}));
    const first = await a.claim('c');
    await a.enqueue('c', first.life, 'had', { ...OF_GROUP, mark: mark(5) });
    await a.claim('c', { cleanStart: true });
    const ask = (mid: number, key?: string, life = first.life) =>
      a.enqueue('c', life, 'x', { ...OF_GROUP, mark: mark(mid, key) });
    t.match(await ask(5), { status: 'duplicate', owner: '' });
    t.match(await ask(6), { status: 'gone' });
    t.match(await ask(5, '1:p'), { status: 'gone' });
    t.match(await ask(5, '0:p', 0), { status: 'duplicate' }, 'no life at all asks as well');
    t.match(await a.enqueue('c', first.life, 'x', OF_GROUP), { status: 'gone' });
    t.match(await a.enqueue('nobody', 1, 'x', { ...OF_GROUP, mark: mark(5) }), { status: 'gone' });
    const mixed = await Promise.all([ask(5), ask(7), ask(4)]);
    t.same(
      mixed.map(({ status }) => status),
      ['duplicate', 'gone', 'duplicate'],
    );
  });

  await t.test('a full queue drops or rejects them as others', async (t) => {
    for (const queueFullPolicy of ['drop-oldest', 'reject'] as const) {
      const a = await makeNode(await open(t, { maxQueuedMessages: 3, windowMax: 1, queueFullPolicy }));
      const { life } = await a.claim('c');
      const all = await Promise.all(
        ['1', '2', '3', '4', '5'].map((text, at) =>
          a.enqueue('c', life, text, { ...OF_GROUP, mark: mark(at + 1) }),
        ),
      );
      const dropped = all.reduce((sum, one) => sum + one.dropped, 0);
      const rejected = all.filter(({ status }) => status === 'rejected').length;
      t.same([dropped, rejected], queueFullPolicy === 'reject' ? [0, 2] : [2, 0]);
    }
  });
}

async function choiceCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a record keeps its choices until they are replaced', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('p');
    const owner = a.owner(session);
    const known = new Receptions([]);
    for (const [index, name] of ['', 'x y', ...ODD_NAMES.slice(0, 14)].entries()) {
      const choices = name === '' ? '' : JSON.stringify([['$share/g/x y', name]]);
      const { status, reception } = await a.recordInbound('p', owner, known, index + 1, choices);
      t.same([status, reception.slot], ['ok', index]);
      const { mid } = reception;
      t.equal((await a.recordInbound('p', owner, known, index + 1, 'new one')).status, 'ok');
      if (index % 2 === 0) await a.recordInbound('p', owner, known, index + 1, choices);
      t.equal(reception.mid, mid);
    }
    const { inbound } = await a.claim('p');
    t.same(sortedRecords(inbound), sortedRecords(known.kept()));
    const choicesOf = (id: number) => inbound.find(({ packetId }) => packetId === id)?.choices;
    t.equal(choicesOf(3), JSON.stringify([['$share/g/x y', '__proto__']]));
    t.equal(choicesOf(1), '');
    t.equal(choicesOf(2), 'new one');
  });
}

/** All that `clientId` left, page by page, removing it. */
export async function takeAll(node: ContractNode, clientId: string, limit = 100): Promise<string[]> {
  const texts: string[] = [];
  for (;;) {
    const page = await node.store.readOrphans(clientId, node.incarnation, 60_000, limit);
    if (page === null) return texts;
    if (page.entries.length > limit) throw new Error('more than asked for');
    for (const { entry, wasSent } of page.entries) {
      texts.push(`${entry.subarray(HEADER.length)}${wasSent ? ' sent' : ''}`);
    }
    await node.store.removeOrphans(
      clientId,
      page.life,
      page.entries.map(({ seq }) => seq),
    );
  }
}

async function orphanCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('each way to end a session leaves its queue', async (t) => {
    const world = await open(t, { windowMax: 2 });
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const fill = async (clientId: string, expirySec: number) => {
      const session = await a.claim(clientId, { expirySec });
      for (const text of ['1', '2', '3', '4']) await a.enqueue(clientId, session.life, text, OF_GROUP);
      await a.ack(clientId, a.owner(session), session.head + 1, [session.head]);
      return session;
    };
    const released = await fill('released', 0);
    const given = { owner: a.owner(released), dropWill: true, expirySec: 0, sent: released.head + 1 };
    t.match(await a.store.release({ clientId: 'released', ...given }), {
      endedLife: released.life,
      discarded: 0,
    });
    t.same(await takeAll(b, 'released'), ['2 sent', '3', '4'], 'what was sent is told');

    const taken = await fill('taken', 3600);
    t.match(await a.claim('taken', { cleanStart: true }), { endedLife: taken.life, discarded: 0 });
    t.same(await takeAll(b, 'taken', 1), ['2 sent', '3 sent', '4'], 'else the window may have been');

    const dead = await fill('dead', 0);
    t.match(await a.store.disown('dead', a.incarnation, 1), { endedLife: dead.life, discarded: 0 });
    t.same(await a.store.orphanedClients(10), ['dead']);
    t.same(await takeAll(b, 'dead'), ['2 sent', '3 sent', '4']);

    const expired = await fill('expired', 1);
    const left = { owner: a.owner(expired), dropWill: true, expirySec: 1, sent: expired.head };
    t.match(await a.store.release({ clientId: 'expired', ...left }), { endedLife: 0 });
    await world.pass(1100);
    t.match(await a.store.expire('expired'), { endedLife: expired.life, discarded: 0 });
    t.same(await takeAll(b, 'expired'), ['2', '3', '4']);
    t.same(await a.store.orphanedClients(10), []);
  });

  await t.test('a session without such messages takes its queue along', async (t) => {
    const a = await makeNode(await open(t, {}));
    const { life } = await a.claim('c');
    await a.enqueue('c', life, '1');
    t.match(await a.claim('c', { cleanStart: true }), { discarded: 1 });
    t.same(await a.store.orphanedClients(10), []);
    t.equal(await a.store.readOrphans('c', a.incarnation, 1000, 10), null);
    const second = await a.claim('c', { cleanStart: true });
    await a.enqueue('c', second.life, '1', OF_GROUP);
    await a.ack('c', a.owner(second), second.head + 1, [second.head]);
    await a.claim('c', { cleanStart: true });
    t.same(await a.store.orphanedClients(10), [], 'an empty queue is nothing to leave');
  });

  await t.test('several lives of a client, and they count as queued until they are removed', async (t) => {
    const a = await makeNode(await open(t, { windowMax: 1 }));
    for (const name of ODD_NAMES.slice(0, 13)) {
      for (const text of ['x', 'y', 'z']) {
        const { life } = await a.claim(name, { cleanStart: true });
        for (const at of [1, 2]) await a.enqueue(name, life, `${text}${at}`, OF_GROUP);
      }
      await a.claim(name, { cleanStart: true });
      t.match(await a.store.totals(), { queuedMessages: 6 });
      t.same(await takeAll(a, name, 1), ['x1 sent', 'x2', 'y1 sent', 'y2', 'z1 sent', 'z2']);
      t.match(await a.store.totals(), { queuedMessages: 0, queuedBytes: 0 });
    }
  });

  await t.test('who gets a message stands beside it, also after a restart', async (t) => {
    const world = await open(t, { windowMax: 1 });
    let a = await makeNode(world);
    const lives: number[] = [];
    for (const _ of [1, 2]) {
      const { life } = await a.claim('c', { cleanStart: true });
      lives.push(life);
      for (const text of ['1', '2', '3']) await a.enqueue('c', life, text, OF_GROUP);
    }
    await a.claim('c', { cleanStart: true });
    const assign = (life: number, ...turns: [seq: number, instead: string, member: string][]) =>
      a.store.assignOrphans(
        'c',
        life,
        turns.map(([seq, instead, member]) => ({ seq, instead, member })),
      );
    for (const [index, life] of lives.entries()) {
      const page = (await a.store.readOrphans('c', a.incarnation, 1, 10))!;
      t.equal(page.life, life);
      const [first, second, third] = page.entries.map(({ seq }) => seq) as [number, number, number];
      const odd = ODD_NAMES[index]!;
      t.same(await assign(life, [first, '', odd], [second, '', 'y']), [odd, 'y']);
      t.same(await assign(life, [first, '', 'z'], [second, 'y', 'z'], [third, 'y', 'z']), [odd, 'z', '']);
      t.same(await assign(life, [second, '', 'y'], [99_999, '', 'y']), ['z', ''], 'not one that is gone');
      t.same(await assign(77, [first, '', 'y']), [''], 'nor of a life that is');
      if (index === 0) {
        await world.restart();
        a = await makeNode(world);
        await world.pass(20);
      }
      const again = (await a.store.readOrphans('c', a.incarnation, 1, 10))!;
      t.same(
        again.entries.map(({ seq, member }) => [seq, member]),
        [
          [first, odd],
          [second, 'z'],
          [third, ''],
        ],
      );
      await a.store.removeOrphans('c', life, [first]);
      const rest = (await a.store.readOrphans('c', a.incarnation, 1, 1))!;
      t.match(rest.entries, [{ seq: second, member: 'z' }]);
      await a.store.removeOrphans('c', life, [second, third]);
      t.same(await assign(life, [first, odd, 'y']), ['']);
    }
    t.same(await takeAll(a, 'c'), []);
    t.same(await a.store.orphanedClients(10), []);
  });

  await t.test('one node at a time, and again when its time is over', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c');
    await a.enqueue('c', life, '1', OF_GROUP);
    await a.claim('c', { cleanStart: true });
    t.match(await a.store.readOrphans('c', 'a', 60_000, 10), { life });
    t.equal(await b.store.readOrphans('c', 'b', 60_000, 10), null);
    t.same(await b.store.orphanedClients(10), []);
    t.match(await a.store.readOrphans('c', 'a', 1, 10), { life }, 'who is at it may go on');
    await world.pass(20);
    t.same(await b.store.orphanedClients(10), ['c']);
    t.match(await b.store.readOrphans('c', 'b', 60_000, 10), { life });
    await b.store.removeOrphans('c', life, [1, 2, 99]);
    await b.store.removeOrphans('c', life, [1]);
    t.equal(await b.store.readOrphans('c', 'b', 60_000, 10), null);
    t.match(await a.store.totals(), { queuedMessages: 0, queuedBytes: 0 });
  });

  await t.test('they are there after a restart', async (t) => {
    const world = await open(t, { windowMax: 1 });
    let a = await makeNode(world);
    const { life } = await a.claim('c', { expirySec: 3600 });
    for (const text of ['1', '2', '3']) {
      await a.enqueue('c', life, text, { ...OF_GROUP, mark: mark(Number(text)) });
    }
    const second = await a.claim('c', { cleanStart: true });
    await a.enqueue('c', second.life, 'own', OF_GROUP);
    const page = await a.store.readOrphans('c', a.incarnation, 1, 1);
    await a.store.removeOrphans('c', life, [page?.entries[0]?.seq ?? 0]);
    await world.restart();
    a = await makeNode(world);
    await world.pass(20);
    t.match(await a.store.totals(), { queuedMessages: 3 });
    t.same(await a.store.orphanedClients(10), ['c']);
    t.same(await takeAll(a, 'c'), ['2', '3']);
    t.match(await a.enqueue('c', life, '3', { ...OF_GROUP, mark: mark(3) }), { status: 'duplicate' });
    await a.claim('c', { cleanStart: true });
    t.same(await takeAll(a, 'c'), ['own sent'], 'the session that goes on knows what it had');
  });
}
