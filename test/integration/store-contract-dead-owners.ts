// Contract cases of sessions whose owner is dead, or may be: from when their expiry and the delay of their will count, and
// that a claim which cannot know waits. A node is heard of by its renewals, and by the claims that it makes.

import type { Test } from 'tap';
import type { LeaseState } from '../../src/store/store.ts';
import { sessionsOf } from './store-contract-sessions.ts';
import { type ContractNode, makeNode, type OpenWorld, willOf } from './store-world.ts';

/** What `b` knows of `a`: renewed `agoMs` ago. */
const leaseOf = (
  a: ContractNode,
  b: ContractNode,
  state: LeaseState['state'],
  agoMs: number,
): LeaseState[] => [{ incarnation: a.incarnation, renewedAt: b.store.nowMs() - agoMs, state }];

export async function deadOwnerCases(t: Test, open: OpenWorld): Promise<void> {
  await renewalCases(t, open);
  await claimCases(t, open);
}

async function renewalCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('whose owner is dead expires by the last renewal; whose may be, waits', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const names = ['over', 'over, renewed', 'live', 'dead, renewed', 'dead', 'clean'];
    const first = new Map(
      await Promise.all(names.map(async (name) => [name, await a.claim(name, { expirySec: 1 })] as const)),
    );
    await world.pass(1500);
    const take = (name: string, state: LeaseState['state'], agoMs: number) =>
      b.claim(name, { leases: leaseOf(a, b, state, agoMs), cleanStart: name === 'clean' });
    await t.rejects(take('over', 'over', 60_000), { message: 'claim of over: wait' });
    t.match(await b.store.inspect(['over']), [
      { incarnation: a.incarnation, epoch: first.get('over')!.epoch },
    ]);
    t.match(await take('over, renewed', 'over', 0), { present: true });
    t.match(await take('live', 'live', 60_000), { present: true });
    t.match(await take('dead, renewed', 'dead', 0), { present: true });
    const ended = { present: false, endedLife: first.get('dead')!.life, previousOwner: a.incarnation };
    t.match(await take('dead', 'dead', 60_000), ended);
    const clean = { present: false, endedLife: first.get('clean')!.life };
    t.match(await take('clean', 'over', 60_000), clean, 'a clean start need not know');
  });

  await t.test(
    "a dead node's sessions are let go of, their expiry counts from the last renewal",
    async (t) => {
      const world = await open(t, {});
      const [a, b] = [await makeNode(world), await makeNode(world)];
      const kept = await a.claim('kept', { expirySec: 3600 });
      const over = await a.claim('over', { expirySec: 1 });
      await a.enqueueMany('over', over.life, 2);
      const clean = await a.claim('clean', { expirySec: 0 });
      await b.claim('moved', { expirySec: 1 });
      await world.pass(1500);
      const renewedAt = b.store.nowMs() - 60_000;
      t.same(await sessionsOf(b, a.incarnation), ['clean', 'kept', 'over']);
      t.match(await b.store.disown('kept', a.incarnation, renewedAt), { endedLife: 0 });
      t.match(await b.store.disown('over', a.incarnation, renewedAt), { endedLife: over.life, discarded: 2 });
      t.match(await b.store.disown('clean', a.incarnation, renewedAt), { endedLife: clean.life });
      t.match(await b.store.disown('moved', a.incarnation, renewedAt), { endedLife: 0 });
      t.match(await b.store.disown('kept', a.incarnation, renewedAt), { endedLife: 0 }, 'twice');
      t.same(await sessionsOf(b, a.incarnation), []);
      t.same(await sessionsOf(b, b.incarnation), ['moved']);
      t.match(await b.store.inspect(['kept', 'over', 'clean']), [{ clientId: 'kept', incarnation: '' }]);
      t.equal((await a.pull('kept', a.owner(kept), 1)).status, 'fenced');
      t.match(await b.claim('kept'), { present: true, life: kept.life, sent: -1 });
    },
  );
}

/** A node that is cut off, and buried, may claim until it learns of it; its clients have been told of these sessions. */
async function claimCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a claim behind the last renewal is what expiry counts from', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    for (const state of ['over', 'dead'] as const) {
      const { life } = await a.claim(state, { expirySec: 10, will: willOf('bye', 5) });
      const back = await b.claim(state, { expirySec: 10, leases: leaseOf(a, b, state, 60_000) });
      t.match(back, { present: true, life, previousOwner: a.incarnation, wills: [] }, state);
    }
  });

  await t.test('it is also for who lets go of the session, for its will, and after a restart', async (t) => {
    const world = await open(t, {});
    const [a, b] = [await makeNode(world), await makeNode(world)];
    const { life } = await a.claim('c', { expirySec: 2, will: willOf('bye', 1) });
    const restarted = await a.claim('restarted', { expirySec: 600 });
    const renewedAt = b.store.nowMs() - 60_000;
    t.match(await b.store.disown('c', a.incarnation, renewedAt), { endedLife: 0, wills: [] });
    t.same(await b.store.dueSessions(10), []);
    await world.pass(1200);
    t.same(await b.store.dueSessions(10), ['c'], 'the will');
    const bye = await b.store.expire('c');
    t.match(bye, { endedLife: 0, wills: [{ clientId: 'c' }] });
    await world.pass(1000);
    t.match(await b.store.expire('c'), { endedLife: life, wills: [] });
    await world.restart();
    const next = await makeNode(world);
    const leases = leaseOf(a, next, 'dead', 3_600_000);
    t.match(await next.claim('restarted', { leases }), { present: true, life: restarted.life });
  });
}
