// Contract cases of CONNECTs that had to wait: of two claims of one session that has it whose CONNECT came later
// [MQTT-3.1.4-3], also when the other one is executed last.

import type { Test } from 'tap';
import { makeNode, type OpenWorld } from './store-world.ts';

export async function lateCases(t: Test, open: OpenWorld): Promise<void> {
  const waited = (waitedMs: number) => ({ waitedMs: () => waitedMs });

  await t.test('a claim whose CONNECT came before that of the present one takes nothing', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const first = await b.claim('c');
    const late = a.claim('c', { cleanStart: true, ...waited(5000) });
    await t.rejects(late, { message: 'claim of c: overtaken' });
    t.match(await b.store.inspect(['c']), [{ incarnation: b.incarnation, epoch: first.epoch }]);
    t.match(await b.enqueue('c', first.life, 'x'), { status: 'queued' }, 'its queue is there');
    const request = { clientId: 'c', owner: b.owner(first), dropWill: false, expirySec: 3600, sent: 0 };
    await b.store.release(request);
    await t.rejects(a.claim('c', waited(5000)), { message: 'claim of c: overtaken' }, 'nobody holds it');
    t.match(await a.claim('c'), { present: true, life: first.life });
  });

  await t.test('of claims that waited the one whose CONNECT came last has the session', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    await a.claim('c', waited(9000));
    t.match(await b.claim('c', waited(5000)), { present: true, previousOwner: a.incarnation });
    const earlier = a.claim('c', waited(9000));
    await t.rejects(earlier, { message: 'claim of c: overtaken' });
    t.match(await a.claim('c', waited(4000)), { present: true, previousOwner: b.incarnation });
  });

  await t.test('which of two CONNECTs that come at nearly the same time is executed last wins', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    await a.claim('c');
    t.match(await b.claim('c', waited(20)), { present: true, previousOwner: a.incarnation });
    t.match(await a.claim('c', waited(50)), { present: true, previousOwner: b.incarnation });
  });

  await t.test('a session that ended has no claim that came later', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const first = await a.claim('c', { expirySec: 0 });
    const request = { clientId: 'c', owner: a.owner(first), dropWill: true, expirySec: 0, sent: 0 };
    t.match(await a.store.release(request), { endedLife: first.life });
    t.match(await b.claim('c', waited(5000)), { present: false });
  });
}
