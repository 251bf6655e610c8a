// Contract cases of sessions: claim, fences, release, rows of subscriptions, expiry, QoS 2 receptions and restore.

import type { Test } from 'tap';
import type { Owner } from '../../src/store/operations.ts';
import { Receptions } from '../../src/store/receptions.ts';
import { encodeRow } from '../../src/store/records.ts';
import { NEVER_EXPIRES } from '../../src/store/store.ts';
import { type ContractNode, makeNode, ODD_NAMES, type OpenWorld, sortedRecords } from './store-world.ts';

export const row = (life: number, rev: number, filter = 'a/b'): Buffer =>
  encodeRow({
    life,
    rev,
    persistent: true,
    subscriptions: [
      { filter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionId: 0 },
    ],
  });

async function allRows(node: ContractNode): Promise<Map<string, Buffer>> {
  const rows = new Map<string, Buffer>();
  let cursor: string | null = '';
  while (cursor !== null) {
    const page = await node.store.readRows(cursor);
    for (const one of page.rows) rows.set(one.clientId, one.row);
    cursor = page.cursor;
  }
  return rows;
}

export async function sessionsOf(node: ContractNode, incarnation: string): Promise<string[]> {
  const found = new Set<string>();
  let cursor: string | null = '';
  while (cursor !== null) {
    const page = await node.store.sessionsOf(incarnation, cursor);
    for (const one of page.clientIds) found.add(one);
    cursor = page.cursor;
  }
  return [...found].sort();
}

export async function sessionCases(t: Test, open: OpenWorld): Promise<void> {
  await claimCases(t, open);
  await numberCases(t, open);
  await fenceCases(t, open);
  await endCases(t, open);
  await expiryCases(t, open);
  await rowCases(t, open);
  await rowRecoveryCases(t, open);
  await inboundCases(t, open);
}

async function claimCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a first claim makes a session, a second one goes on with it', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const first = await a.claim('c');
    t.match(first, { present: false, rev: 0, row: null, previousOwner: '', endedLife: 0, wills: [] });
    t.match(first, { rowPending: false, rowVersion: 0, inbound: [], reading: null });
    t.ok(first.life > 0 && first.epoch > 0 && first.nowMs > 0);
    t.equal(first.head, first.tail + 1, 'the queue is empty');
    const second = await b.claim('c');
    t.match(second, { present: true, life: first.life, previousOwner: a.incarnation, endedLife: 0 });
    t.ok(second.epoch > first.epoch);
    t.equal(second.sent, -1, 'what was sent is not known');
    t.same(await sessionsOf(a, a.incarnation), []);
    t.same(await sessionsOf(a, b.incarnation), ['c']);
  });

  await t.test('a clean start ends the life before', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const first = await a.claim('c');
    await a.store.writeRow({
      clientId: 'c',
      owner: a.owner(first),
      rev: 1,
      row: row(first.life, 1),
      reading: Buffer.from('r'),
    });
    await a.recordInbound('c', a.owner(first), new Receptions([]), 7);
    await a.enqueueMany('c', first.life, 3);
    const second = await a.claim('c', { cleanStart: true });
    t.match(second, { present: false, rev: 0, row: null, reading: null, endedLife: first.life, inbound: [] });
    t.equal(second.discarded, 3, 'and it is told how many messages went with it');
    t.ok(second.life > first.life);
    t.equal(second.head, second.tail + 1, 'its queue is gone');
    t.equal((await a.enqueue('c', first.life, 'late')).status, 'gone');
    t.equal((await a.enqueue('c', second.life, 'new')).status, 'queued');
    t.same((await a.pull('c', a.owner(second), second.head)).texts, ['new']);
    t.equal((await allRows(a)).size, 0);
    t.equal((await a.store.totals()).queuedMessages, 1);
  });
}

async function numberCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a claim rises above what the node has seen', async (t) => {
    const a = await makeNode(await open(t, {}));
    const far = Date.now() * 1000 + 3_600_000_000;
    const first = await a.claim('c', { epochSeen: far });
    t.ok(first.epoch > far);
    t.ok((await a.claim('c')).epoch > first.epoch);
  });

  await t.test('lives and epochs of a client never repeat', async (t) => {
    const a = await makeNode(await open(t, {}));
    const seen = new Set<number>();
    let last = 0;
    for (let at = 0; at < 50; at++) {
      const { life } = await a.claim('c', { cleanStart: true });
      t.ok(life > last, `life ${life} after ${last}`);
      last = life;
      seen.add(life);
    }
    t.equal(seen.size, 50);
  });

  await t.test('odd client ids are sessions like others', async (t) => {
    const a = await makeNode(await open(t, {}));
    const lives = new Map<string, number>();
    for (const name of ODD_NAMES) {
      const session = await a.claim(name);
      lives.set(name, session.life);
      await a.store.writeRow({
        clientId: name,
        owner: a.owner(session),
        rev: 1,
        row: row(session.life, 1, 'f'),
        reading: null,
      });
      await a.enqueue(name, session.life, `for ${name.slice(0, 9)}`);
    }
    for (const name of ODD_NAMES) {
      const again = await a.claim(name);
      t.match(again, { present: true, life: lives.get(name), previousOwner: a.incarnation });
      const pulled = await a.pull(name, a.owner(again), again.head);
      t.same(pulled.texts, [`for ${name.slice(0, 9)}`]);
    }
    const states = await a.store.inspect([...ODD_NAMES, 'absent']);
    t.same(states.map((one) => one.clientId).sort(), [...ODD_NAMES].sort());
    t.same(await sessionsOf(a, a.incarnation), [...ODD_NAMES].sort());
    t.same([...(await allRows(a)).keys()].sort(), [...ODD_NAMES].sort());
  });
}

async function fenceCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('from a claim on, nothing of the owner before is taken', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const old = await a.claim('c');
    await a.enqueueMany('c', old.life, 2);
    const now = await b.claim('c');
    const stale = a.owner(old);
    t.equal((await a.ack('c', stale, old.head + 2, [old.head, old.head + 1])).status, 'fenced');
    t.equal((await a.pull('c', stale, old.head)).status, 'fenced');
    const none = new Receptions([]);
    t.equal((await a.recordInbound('c', stale, none, 1)).status, 'fenced');
    t.equal((await a.forgetInbound('c', stale, none, 1)).status, 'fenced');
    const write = { clientId: 'c', owner: stale, rev: 9, row: row(old.life, 9), reading: null };
    t.equal(await a.store.writeRow(write), 'fenced');
    t.equal(
      await a.store.settleRow({ clientId: 'c', owner: stale, rev: 9, version: 9, cut: true }),
      'fenced',
    );
    const copies = await a.store.enqueueCopies({ clientId: 'c', owner: stale, copies: [], reading: null });
    t.equal(copies.status, 'fenced');
    const release = await a.store.release({
      clientId: 'c',
      owner: stale,
      dropWill: true,
      expirySec: 0,
      sent: 1,
    });
    t.equal(release.status, 'fenced');
    t.equal(await a.store.restore(restoring(stale, old.life, 9)), 'fenced');
    t.same((await b.pull('c', b.owner(now), now.head)).texts, ['m0', 'm1'], 'nothing has changed');
    t.match(await b.store.inspect(['c']), [{ incarnation: b.incarnation, epoch: now.epoch }]);
    t.match(await b.claim('c'), { rev: 0, row: null, inbound: [] });
  });

  await t.test('an owner of the right incarnation and another epoch is fenced as well', async (t) => {
    const a = await makeNode(await open(t, {}));
    const first = await a.claim('c');
    const second = await a.claim('c');
    t.equal((await a.pull('c', a.owner(first), 1)).status, 'fenced');
    t.equal((await a.pull('c', a.owner(second), 1)).status, 'ok');
  });

  await t.test('there is nothing to own where no session is', async (t) => {
    const a = await makeNode(await open(t, {}));
    const owner = { incarnation: a.incarnation, epoch: 5 };
    t.equal((await a.pull('none', owner, 1)).status, 'fenced');
    t.equal((await a.ack('none', owner, 1, [])).status, 'fenced');
    t.equal((await a.enqueue('none', 5, 'x')).status, 'gone');
    t.same(await a.store.inspect(['none']), []);
    t.match(await a.store.expire('none'), { endedLife: 0, wills: [] });
    t.match(await a.store.disown('none', a.incarnation, 1), { endedLife: 0, wills: [] });
  });
}

async function endCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a released session waits for its client and knows what was sent', async (t) => {
    const a = await makeNode(await open(t, {}));
    const first = await a.claim('c');
    await a.enqueueMany('c', first.life, 3);
    const request = { clientId: 'c', owner: a.owner(first), dropWill: true, expirySec: 60, sent: first.head };
    t.match(await a.store.release(request), { status: 'ok', endedLife: 0, wills: [] });
    t.match(await a.store.inspect(['c']), [{ incarnation: '', life: first.life }]);
    t.equal((await a.pull('c', a.owner(first), 1)).status, 'fenced', 'its owner is none');
    t.equal((await a.enqueue('c', first.life, 'm3')).owner, '');
    const again = await a.claim('c');
    t.match(again, { present: true, life: first.life, previousOwner: '', sent: first.head });
    t.equal((await a.claim('c')).sent, -1, 'a claim without a release after it forgets that');
  });

  await t.test('a session without expiry ends with its release', async (t) => {
    const a = await makeNode(await open(t, {}));
    const first = await a.claim('c', { expirySec: 0 });
    t.match(await a.store.inspect(['c']), [{ incarnation: a.incarnation }]);
    const request = { clientId: 'c', owner: a.owner(first), dropWill: true, expirySec: 0, sent: 0 };
    t.match(await a.store.release(request), { status: 'ok', endedLife: first.life });
    const repeated = await a.store.release(request);
    t.ok(repeated.status === 'fenced' || repeated.endedLife === first.life, 'twice does no harm');
    t.same(await a.store.inspect(['c']), []);
    t.equal((await a.enqueue('c', first.life, 'x')).status, 'gone');
    t.match(await a.claim('c'), { present: false, endedLife: 0 });
  });

  await t.test('DISCONNECT may change the expiry', async (t) => {
    const a = await makeNode(await open(t, {}));
    const first = await a.claim('c', { expirySec: 3600 });
    await a.enqueueMany('c', first.life, 2);
    const request = { clientId: 'c', owner: a.owner(first), dropWill: true, expirySec: 0, sent: 0 };
    t.match(await a.store.release(request), { status: 'ok', endedLife: first.life, discarded: 2 });
  });

  await t.test('a takeover ends a session that ends with its connection', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const first = await a.claim('c', { expirySec: 0 });
    const second = await b.claim('c', { expirySec: 60 });
    t.match(second, { present: false, endedLife: first.life, previousOwner: a.incarnation });
    t.match(await a.claim('c'), { present: true, life: second.life });
  });
}

async function expiryCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('an expired session is ended once, and not before its time', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const sessions = [];
    for (const [clientId, expirySec] of [
      ['soon', 1],
      ['late', 3600],
      ['never', NEVER_EXPIRES],
      ['held', 1],
    ] as const) {
      const session = await a.claim(clientId, { expirySec });
      sessions.push(session);
      if (clientId === 'held') continue;
      await a.store.release({ clientId, owner: a.owner(session), dropWill: true, expirySec, sent: 0 });
    }
    await a.enqueueMany('soon', sessions[0]!.life, 4);
    t.same(await a.store.dueSessions(10), []);
    t.match(await a.store.expire('soon'), { endedLife: 0, discarded: 0 });
    await world.pass(1500);
    t.same(await a.store.dueSessions(10), ['soon']);
    t.same(await a.store.dueSessions(10), ['soon'], 'being told of it does not take it');
    for (const clientId of ['late', 'never', 'held']) {
      t.match(await a.store.expire(clientId), { endedLife: 0 });
    }
    t.match(await a.store.expire('soon'), { endedLife: sessions[0]!.life, wills: [], discarded: 4 });
    t.match(await a.store.expire('soon'), { endedLife: 0, wills: [] });
    t.same(await a.store.dueSessions(10), []);
    t.equal((await a.store.inspect(['soon', 'late', 'never', 'held'])).length, 3);
  });

  await t.test('expiry is judged at the claim, swept or not', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const first = await a.claim('c', { expirySec: 1 });
    await a.store.release({
      clientId: 'c',
      owner: a.owner(first),
      dropWill: true,
      expirySec: 1,
      sent: 0,
    });
    await world.pass(1500);
    t.match(await a.claim('c', { expirySec: 1 }), { present: false, endedLife: first.life });
    t.match(await a.claim('c'), { present: true }, 'a held one does not expire');
    t.same(await a.store.dueSessions(10), []);
  });
}

async function rowCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a row is pending until it is settled; a cut refuses what was matched before', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const session = await a.claim('c');
    const owner = a.owner(session);
    const write = { clientId: 'c', owner, rev: 1, row: row(session.life, 1), reading: null };
    t.equal(await a.store.writeRow(write), 'ok');
    t.equal(await a.store.writeRow(write), 'ok', 'twice');
    const [version] = await a.store.appendLog(a.incarnation, [{ payload: Buffer.from('1'), routes: [] }], 0);
    const before = await a.claim('c');
    t.match(before, { rev: 1, rowPending: true, row: write.row });
    const settle = { clientId: 'c', owner: a.owner(before), rev: 1, version: version!, cut: false };
    t.equal(await a.store.settleRow(settle), 'ok');
    t.equal(await a.store.settleRow(settle), 'ok', 'twice');
    t.equal((await a.enqueue('c', session.life, 'x', { version: version! - 1 })).status, 'queued');
    t.equal(await a.store.settleRow({ ...settle, cut: true }), 'ok');
    const stale = await a.enqueue('c', session.life, 'x', { version: version! - 1 });
    t.match(stale, { status: 'stale', cut: version });
    t.match(await a.enqueue('c', session.life, 'y', { version: version! }), { status: 'queued' });
    const after = await a.claim('c');
    t.match(after, { rowPending: false, rowVersion: version });
    t.equal(after.tail, after.head + 1, 'the stale one was not queued');
    t.same(await allRows(a), new Map([['c', write.row]]));
  });

  await t.test('a settling of an older row leaves the newer one pending', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    for (const rev of [1, 2]) {
      await a.store.writeRow({ clientId: 'c', owner, rev, row: row(session.life, rev), reading: null });
    }
    await a.store.settleRow({ clientId: 'c', owner, rev: 1, version: 5, cut: false });
    await a.store.writeRow({ clientId: 'c', owner, rev: 1, row: row(session.life, 1), reading: null });
    t.match(await a.claim('c'), { rev: 2, rowPending: true, row: row(session.life, 2) });
  });
}

/** What a node writes back of session c. */
const restoring = (owner: Owner, life: number, rev: number, receptions: Receptions | null = null) => ({
  ...{ clientId: 'c', owner, life, rev, row: row(life, rev), expirySec: 3600, receptions },
});

async function rowRecoveryCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('all rows are read, by pages', async (t) => {
    const a = await makeNode(await open(t, {}));
    const count = 2500;
    const wanted = new Map<string, Buffer>();
    await Promise.all(
      Array.from({ length: count }, async (_, at) => {
        const session = await a.claim(`c${at}`);
        const bytes = row(session.life, 1, `f/${at}`);
        wanted.set(`c${at}`, bytes);
        const owner = a.owner(session);
        await a.store.writeRow({ clientId: `c${at}`, owner, rev: 1, row: bytes, reading: null });
      }),
    );
    t.same((await allRows(a)).size, count);
    t.equal((await a.store.readRows('')).cursor !== null, true, 'more than one page');
    t.equal((await sessionsOf(a, a.incarnation)).length, count);
    t.equal((await a.store.totals()).sessions, count);
  });

  await t.test('receptions are those that the owner knows when it writes back', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const known = new Receptions([]);
    for (const packetId of [1, 2, 3, 4])
      await a.recordInbound('c', owner, known, packetId, `for ${packetId}`);
    known.remove(known.get(1)!);
    known.get(3)!.state = 'over';
    // As if its record had been lost with the tail.
    const lost = new Receptions(known.kept());
    await a.forgetInbound('c', owner, lost, 4);
    known.add(5, '');
    t.equal(await a.store.restore(restoring(owner, session.life, 1, known)), 'ok');
    const again = await a.claim('c');
    t.same(again.inbound.map(({ packetId, choices }) => [packetId, choices]).sort(), [
      [2, 'for 2'],
      [4, 'for 4'],
    ]);
    t.equal(await a.store.restore(restoring(a.owner(again), session.life, 2, null)), 'ok');
    t.same((await a.claim('c')).inbound, []);
  });

  await t.test('claim and row are written back after a loss, never over newer ones', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const owner = { incarnation: a.incarnation, epoch: 1000 };
    t.equal(await a.store.restore(restoring(owner, 900, 3)), 'ok');
    t.equal(await a.store.restore(restoring(owner, 900, 3)), 'ok', 'twice');
    t.match(await a.store.inspect(['c']), [{ incarnation: a.incarnation, epoch: 1000, life: 900 }]);
    t.equal((await a.pull('c', owner, 1)).status, 'ok');
    t.same(await sessionsOf(a, a.incarnation), ['c']);
    t.equal(await a.store.restore(restoring(owner, 900, 2)), 'ok', 'an older row changes nothing');
    t.same((await allRows(a)).get('c'), row(900, 3));
    const older = { incarnation: b.incarnation, epoch: 999 };
    t.equal(await b.store.restore(restoring(older, 900, 4)), 'fenced');
    const claimed = await b.claim('c');
    t.match(claimed, { present: true, life: 900, rev: 3, rowPending: true });
    t.equal(await a.store.restore(restoring(owner, 900, 5)), 'fenced');
    t.same((await allRows(a)).get('c'), row(900, 3));
  });
}

async function inboundCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a QoS 2 packet id is known by its record until it is forgotten', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const session = await a.claim('c');
    const owner = a.owner(session);
    const known = new Receptions([]);
    const { reception: first, status } = await a.recordInbound('c', owner, known, 10);
    t.equal(status, 'ok');
    const { reception: second } = await a.recordInbound('c', owner, known, 11);
    t.same([first.slot, second.slot], [0, 1]);
    t.ok(first.mid > 0 && second.mid > first.mid, 'message ids rise');
    const claimed = await b.claim('c');
    t.same(sortedRecords(claimed.inbound), [
      { packetId: 10, slot: 0, mid: first.mid, choices: '' },
      { packetId: 11, slot: 1, mid: second.mid, choices: '' },
    ]);
    const heir = b.owner(claimed);
    const left = new Receptions(claimed.inbound);
    t.equal((await b.forgetInbound('c', heir, left, 10)).status, 'ok');
    t.equal((await b.forgetInbound('c', heir, left, 10)).status, 'ok', 'twice');
    const { reception: reused } = await b.recordInbound('c', heir, left, 10);
    t.equal(reused.slot, 0);
    t.ok(reused.mid > second.mid);
    t.same((await b.claim('c')).inbound.length, 2);
  });

  await t.test('one that is over before it is recorded leaves nothing', async (t) => {
    const a = await makeNode(await open(t, {}));
    const owner = a.owner(await a.claim('c'));
    const known = new Receptions([]);
    const both = [a.recordInbound('c', owner, known, 1), a.forgetInbound('c', owner, known, 1)];
    for (const { status } of await Promise.all(both)) t.equal(status, 'ok');
    t.same((await a.claim('c')).inbound, []);
  });

  await t.test('many receptions are recorded and forgotten at the same time', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const known = new Receptions([]);
    const given = new Set<number>();
    for (let turn = 0; turn < 4; turn++) {
      const over = known.kept().filter(({ slot }) => slot % 3 === turn % 3);
      const calls: Promise<unknown>[] = [];
      for (let index = 0; index < 40; index++) {
        calls.push(
          a.recordInbound('c', owner, known, 100 * turn + index + 1, index % 7 === 0 ? `for ${index}` : ''),
        );
        const { packetId } = over[index] ?? {};
        if (packetId !== undefined) calls.push(a.forgetInbound('c', owner, known, packetId));
      }
      await Promise.all(calls);
      for (const { mid } of known.kept()) given.add(mid);
      if (turn === 1) t.equal(await a.store.restore(restoring(owner, session.life, 2, known)), 'ok');
    }
    t.equal(given.size, 160, 'each has a mid of its own');
    t.same(sortedRecords((await a.claim('c')).inbound), sortedRecords(known.kept()));
  });
}
