// Contract cases of wills: when one is due, who takes it, that it is taken once and kept until it is done.

import type { Test } from 'tap';
import { markKey } from '../../src/store/records.ts';
import type { TakenWill } from '../../src/store/store.ts';
import { type ContractNode, makeNode, ODD_NAMES, type OpenWorld, willOf } from './store-world.ts';

const texts = (wills: readonly TakenWill[]): string[] => wills.map((taken) => taken.will.body.toString());

async function connect(a: ContractNode, clientId: string, text: string, delaySec: number, expirySec = 3600) {
  const session = await a.claim(clientId, { will: willOf(text, delaySec), expirySec });
  return {
    session,
    leave: (dropWill = false, expiry = expirySec) =>
      a.store.release({ clientId, owner: a.owner(session), dropWill, expirySec: expiry, sent: 0 }),
  };
}

export async function willCases(t: Test, open: OpenWorld): Promise<void> {
  await releaseCases(t, open);
  await claimCases(t, open);
  await doubtCases(t, open);
  await takenCases(t, open);
}

async function doubtCases(t: Test, open: OpenWorld): Promise<void> {
  /** A connection at `a` with a will, taken over with a clean start by `b`. */
  const takeOver = async (a: ContractNode, b: ContractNode, clientId: string, expirySec = 0) => {
    const { leave } = await connect(a, clientId, `of ${clientId}`, 600, expirySec);
    const [will] = (await b.claim(clientId, { cleanStart: true })).wills;
    t.match(will, { isInDoubt: true }, 'its node may have had a DISCONNECT');
    return { leave, will: will!, settle: (isLast = false) => b.store.settleWill(clientId, will!.id, isLast) };
  };

  await t.test('a DISCONNECT that comes to the store behind the claim calls the will off', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    for (const [clientId, expirySec] of [
      ...ODD_NAMES.map((name) => [name, 0] as const),
      ['c', 60],
    ] as const) {
      const { leave, settle } = await takeOver(a, b, clientId, expirySec);
      t.equal(await settle(), 'waits');
      t.same(await leave(true), { status: 'fenced' });
      t.equal(await settle(), 'gone');
      t.equal(await settle(true), 'gone', 'too late to publish it');
      t.same((await b.claim(clientId)).wills, []);
    }
    t.same(await b.store.leftWills(0, 100), []);
  });

  await t.test('any other end that comes behind the claim leaves it', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { leave, settle, will } = await takeOver(a, b, 'c');
    t.same(await leave(), { status: 'fenced' });
    t.equal(await settle(), 'due');
    t.same(await leave(true), { status: 'fenced' });
    t.equal(await settle(), 'due', 'what is due is not called off');
    const [left] = (await b.claim('c')).wills;
    t.match(left, { id: will.id, mid: will.mid, isInDoubt: false }, 'the next claim finds it so');
    await b.store.finishWill('c', will.id);
    t.equal(await settle(true), 'gone');
  });

  await t.test('who has waited long enough makes it due', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { leave, settle } = await takeOver(a, b, 'c');
    t.equal(await settle(true), 'due');
    await leave(true);
    t.equal(await settle(), 'due', 'it is being published');
  });

  await t.test('each release speaks of the will of its own claim', async (t) => {
    const world = await open(t, {});
    const [a, b, c] = [await makeNode(world), await makeNode(world), await makeNode(world)];
    const first = await connect(a, 'c', 'first', 0, 0);
    const second = await connect(b, 'c', 'second', 0, 0);
    const wills = (await c.claim('c')).wills;
    t.same(texts(wills), ['first', 'second']);
    const states = () => Promise.all(wills.map(({ id }) => c.store.settleWill('c', id, false)));
    t.same(await states(), ['waits', 'waits']);
    await second.leave(true);
    t.same(await states(), ['waits', 'gone']);
    await first.leave();
    t.same(await states(), ['due', 'gone']);
  });

  await t.test('nothing is in doubt of a node that is dead, or of the own one', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    for (const state of ['over', 'dead'] as const) {
      await connect(a, state, 'x', 0, 0);
      const lease = { incarnation: a.incarnation, renewedAt: b.store.nowMs() - 1000, state };
      t.match((await b.claim(state, { leases: [lease] })).wills, [{ isInDoubt: false }], state);
    }
    await connect(a, 'own', 'x', 0, 0);
    t.match((await a.claim('own')).wills, [{ isInDoubt: false }], 'its release would have come first');
    await (await connect(a, 'gone', 'x', 600)).leave();
    t.match((await b.claim('gone', { cleanStart: true })).wills, [{ isInDoubt: false }]);
  });

  await t.test('a will in doubt is there after a restart, and when nobody settles it', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { will } = await takeOver(a, b, 'c');
    await world.restart();
    const next = await makeNode(world);
    t.equal(await next.store.settleWill('c', will.id, false), 'waits');
    await world.pass(500);
    t.match(await next.store.leftWills(300, 10), [{ clientId: 'c', id: will.id, mid: will.mid }]);
  });
}

async function releaseCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a will without delay is taken by the release', async (t) => {
    const a = await makeNode(await open(t, {}));
    const { leave } = await connect(a, 'c', 'bye', 0);
    const released = await leave();
    t.equal(released.status, 'ok');
    if (released.status !== 'ok') return;
    t.match(released.wills, [{ clientId: 'c', will: { qos: 1, retain: false, delaySec: 0 } }]);
    t.same(texts(released.wills), ['bye']);
    t.ok(released.wills[0]!.mid > 0);
    t.same((await a.store.expire('c')).wills, [], 'once');
    await a.store.finishWill('c', released.wills[0]!.id);
    t.same((await a.claim('c')).wills, []);
  });

  await t.test('a clean DISCONNECT drops it, also with the session', async (t) => {
    const a = await makeNode(await open(t, {}));
    t.match(await (await connect(a, 'c', 'bye', 0)).leave(true), { status: 'ok', wills: [] });
    t.match(await (await connect(a, 'c', 'bye', 10)).leave(true), { status: 'ok', wills: [] });
    t.match(await (await connect(a, 'd', 'bye', 0, 0)).leave(true), { status: 'ok', wills: [] });
    t.same((await a.claim('c')).wills, []);
  });

  await t.test('a delayed will is due after its delay', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const { leave } = await connect(a, 'c', 'bye', 1);
    t.match(await leave(), { status: 'ok', endedLife: 0, wills: [] });
    t.same(await a.store.dueSessions(10), []);
    t.same((await a.store.expire('c')).wills, []);
    await world.pass(1500);
    t.same(await a.store.dueSessions(10), ['c']);
    const due = await a.store.expire('c');
    t.equal(due.endedLife, 0);
    t.same(texts(due.wills), ['bye']);
    t.same((await a.store.expire('c')).wills, []);
    t.same(await a.store.dueSessions(10), []);
  });

  await t.test('the end of the session makes it due before its delay', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const ending = await connect(a, 'now', 'bye now', 600, 0);
    const released = await ending.leave();
    t.match(released, { status: 'ok', endedLife: ending.session.life });
    if (released.status === 'ok') t.same(texts(released.wills), ['bye now']);
    const { session, leave } = await connect(a, 'soon', 'bye soon', 600, 1);
    t.match(await leave(), { status: 'ok', endedLife: 0, wills: [] });
    await world.pass(1500);
    const expired = await a.store.expire('soon');
    t.equal(expired.endedLife, session.life);
    t.same(texts(expired.wills), ['bye soon']);
  });
}

async function claimCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test(
    'a claim that goes on drops the will before, one that ends the session takes it',
    async (t) => {
      const world = await open(t, {});
      const a = await makeNode(world);
      const b = await makeNode(world);
      await connect(a, 'c', 'first', 0);
      const taken = await b.claim('c', { will: willOf('second', 0) });
      t.match(taken, { present: true, wills: [] }, 'of a connection that is there');
      await b.store.release({
        clientId: 'c',
        owner: b.owner(taken),
        dropWill: true,
        expirySec: 3600,
        sent: 0,
      });
      await (await connect(a, 'c', 'third', 600)).leave();
      t.match(await b.claim('c'), { present: true, wills: [] }, 'of a connection that is gone');
      await (await connect(a, 'c', 'fourth', 600)).leave();
      const clean = await b.claim('c', { cleanStart: true, will: willOf('fifth', 0) });
      t.same(texts(clean.wills), ['fourth'], 'a clean start ends it');
      for (const { id } of clean.wills) await b.store.finishWill('c', id);
      const held = await a.claim('c', { cleanStart: true });
      t.same(texts(held.wills), ['fifth'], 'and of one that is there');
      t.ok(held.wills[0]!.mid > clean.wills[0]!.mid, 'marks rise');
    },
  );

  await t.test('a claim of a session that ends with its connection takes its will', async (t) => {
    const a = await makeNode(await open(t, {}));
    await connect(a, 'c', 'bye', 0, 0);
    const second = await a.claim('c');
    t.equal(second.present, false);
    t.same(texts(second.wills), ['bye']);
  });

  await t.test('a will whose time has come before the client is published all the same', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    await (await connect(a, 'c', 'bye', 1)).leave();
    await world.pass(1500);
    const back = await a.claim('c');
    t.equal(back.present, true);
    t.same(texts(back.wills), ['bye']);
  });

  await t.test("a dead owner's wills count from its last renewal", async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    for (const [name, delaySec] of [
      ['at once', 0],
      ['passed', 1],
      ['waiting', 600],
    ] as const) {
      await connect(a, name, name, delaySec);
    }
    await world.pass(1500);
    const renewedAt = b.store.nowMs() - 10_000;
    t.same(texts((await b.store.disown('at once', a.incarnation, renewedAt)).wills), ['at once']);
    t.same(texts((await b.store.disown('passed', a.incarnation, renewedAt)).wills), ['passed']);
    t.same((await b.store.disown('waiting', a.incarnation, renewedAt)).wills, []);
    t.same((await b.store.disown('at once', a.incarnation, renewedAt)).wills, [], 'twice');
    t.match(await b.claim('waiting'), { present: true, wills: [] });
  });
}

async function takenCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a taken will is kept until it is done, also after its session', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    for (const name of ODD_NAMES) await (await connect(a, name, `will of ${name.slice(0, 9)}`, 0, 0)).leave();
    t.same(await a.store.leftWills(60_000, 100), [], 'their taker may still be at it');
    await world.pass(500);
    const left = await a.store.leftWills(300, 100);
    t.same(left.map((taken) => taken.clientId).sort(), [...ODD_NAMES].sort());
    t.equal((await a.store.leftWills(300, 2)).length, 2, 'a limit is kept');
    for (const taken of left) t.same(texts([taken]), [`will of ${taken.clientId.slice(0, 9)}`]);
    const [one, ...others] = left;
    for (const taken of others) {
      await a.store.finishWill(taken.clientId, taken.id);
      await a.store.finishWill(taken.clientId, taken.id);
    }
    t.match(await a.store.leftWills(300, 100), [{ clientId: one!.clientId, id: one!.id, mid: one!.mid }]);
    const back = await a.claim(one!.clientId);
    t.match(back.wills, [{ id: one!.id, mid: one!.mid }], 'who comes back finds it unfinished');
    await a.store.finishWill(one!.clientId, one!.id);
    t.same((await a.claim(one!.clientId)).wills, []);
    t.same(await a.store.leftWills(0, 100), []);
  });

  await t.test('the mark of a will keeps a second taker from publishing it again', async (t) => {
    const a = await makeNode(await open(t, {}));
    const receiver = await a.claim('receiver');
    const released = await (await connect(a, 'c', 'bye', 0)).leave();
    if (released.status !== 'ok') throw new Error('fenced');
    const mark = { key: markKey('c', 'will'), mid: released.wills[0]!.mid };
    t.equal((await a.enqueue('receiver', receiver.life, 'bye', { mark })).status, 'queued');
    t.equal((await a.enqueue('receiver', receiver.life, 'bye', { mark })).status, 'duplicate');
    const again = await (await connect(a, 'c', 'bye 2', 0)).leave();
    if (again.status !== 'ok') throw new Error('fenced');
    const later = { key: mark.key, mid: again.wills.at(-1)!.mid };
    t.equal((await a.enqueue('receiver', receiver.life, 'bye 2', { mark: later })).status, 'queued');
  });

  await t.test('wills are there after a restart', async (t) => {
    const world = await open(t, {});
    let a = await makeNode(world);
    const held = await connect(a, 'held', 'of the held', 0);
    await (await connect(a, 'waiting', 'waiting', 600)).leave();
    const taken = await (await connect(a, 'taken', 'taken', 0, 0)).leave();
    if (taken.status !== 'ok') throw new Error('fenced');
    const dead = a.incarnation;
    await world.restart();
    a = await makeNode(world);
    t.same(texts((await a.store.disown('held', dead, a.store.nowMs() - 1000)).wills), ['of the held']);
    t.match(await a.store.inspect(['held']), [{ life: held.session.life, incarnation: '' }]);
    t.same(texts((await a.claim('waiting', { cleanStart: true })).wills), ['waiting']);
    t.match((await a.claim('taken')).wills, [{ id: taken.wills[0]!.id, mid: taken.wills[0]!.mid }]);
  });
}
