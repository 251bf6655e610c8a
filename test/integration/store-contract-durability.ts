// Contract cases of a restart: what was answered before it is there after it. (Retained messages, payloads, wills and
// leases have such cases of their own beside their other rules.)

import type { Test } from 'tap';
import { Receptions } from '../../src/store/receptions.ts';
import { row } from './store-contract-sessions.ts';
import { makeNode, type OpenWorld } from './store-world.ts';

export async function durabilityCases(t: Test, open: OpenWorld): Promise<void> {
  await endedCases(t, open);
  await t.test('what was answered is there after a restart', async (t) => {
    const world = await open(t, {});
    let a = await makeNode(world);
    const first = await a.claim('ü/{c}', { expirySec: 3600 });
    const owner = a.owner(first);
    await a.store.writeRow({
      clientId: 'ü/{c}',
      owner,
      rev: 1,
      row: row(first.life, 1),
      reading: Buffer.from('reading'),
    });
    await a.enqueueMany('ü/{c}', first.life, 10);
    await a.enqueue('ü/{c}', first.life, 'once', { mark: { key: '0:p', mid: 77 }, notedTopic: 'noted' });
    await a.ack('ü/{c}', owner, first.head + 2, [first.head, first.head + 1], [first.head + 2]);
    const { reception } = await a.recordInbound('ü/{c}', owner, new Receptions([]), 5);
    await a.retain('r/{t}', 'value');
    await a.retain('r/cleared', 'value');
    await a.retain('r/cleared', null);
    const request = { clientId: 'ü/{c}', owner, dropWill: true, expirySec: 3600, sent: first.head + 4 };
    t.match(await a.store.release(request), { status: 'ok' });
    await world.restart();
    a = await makeNode(world);
    const again = await a.claim('ü/{c}');
    t.match(again, { present: true, life: first.life, rev: 1, rowPending: true, sent: first.head + 4 });
    t.ok(again.epoch > first.epoch);
    t.match(again, { row: row(first.life, 1), reading: Buffer.from('reading') });
    t.same(again.inbound, [{ packetId: 5, slot: 0, mid: reception.mid, choices: '' }]);
    t.equal(again.head, first.head + 2);
    const pulled = await a.pull('ü/{c}', a.owner(again), again.head, 9);
    t.equal(pulled.entries[0]?.length, 2, 'the marker of a release');
    t.same(pulled.texts.slice(1), ['m3', 'm4', 'm5', 'm6', 'm7', 'm8', 'm9', 'once']);
    const repeated = await a.enqueue('ü/{c}', first.life, 'once', { mark: { key: '0:p', mid: 77 } });
    t.equal(repeated.status, 'duplicate', 'marks are kept');
    const copies = await a.store.enqueueCopies({
      clientId: 'ü/{c}',
      owner: a.owner(again),
      copies: [{ topic: 'noted', entry: Buffer.from('x') }],
      reading: null,
    });
    t.match(copies, { status: 'ok', seqs: [0] }, 'noted topics are kept');
    t.same((await a.readRetained('#')).topics, ['r/{t}']);
    const next = await a.enqueue('ü/{c}', first.life, 'next');
    t.ok(next.seq > again.tail, 'no number is used twice');
    const later = await a.recordInbound('ü/{c}', a.owner(again), new Receptions(again.inbound), 6);
    t.ok(later.reception.mid > reception.mid);
  });
}

async function endedCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('what had ended is not there after a restart', async (t) => {
    const world = await open(t, {});
    let a = await makeNode(world);
    const copies = [{ topic: 'noted', entry: Buffer.from('copy') }];
    const write = { clientId: 'c', rev: 1, row: Buffer.from('row'), reading: Buffer.from('r') };
    for (const ending of ['reading', 'session']) {
      const session = await a.claim('c', { cleanStart: true });
      await a.store.writeRow({ ...write, owner: a.owner(session) });
      await a.enqueue('c', session.life, 'live', { notedTopic: 'noted', mark: { key: '0:p', mid: 5 } });
      await a.recordInbound('c', a.owner(session), new Receptions([]), 1);
      if (ending === 'session') continue;
      await a.store.enqueueCopies({ clientId: 'c', owner: a.owner(session), copies: [], reading: null });
    }
    await a.claim('c', { cleanStart: true });
    await world.restart();
    a = await makeNode(world);
    const session = await a.claim('c');
    t.match(session, { present: true, row: null, reading: null, inbound: [], wills: [] });
    t.equal(session.head, session.tail + 1);
    await a.store.writeRow({ ...write, owner: a.owner(session) });
    const owner = a.owner(session);
    const answer = await a.store.enqueueCopies({ clientId: 'c', owner, copies, reading: null });
    t.ok(answer.seqs[0]! > 0, 'a topic noted by the life before is not');
    const mark = { key: '0:p', mid: 5 };
    t.equal((await a.enqueue('c', session.life, 'x', { mark })).status, 'queued');
  });
}
