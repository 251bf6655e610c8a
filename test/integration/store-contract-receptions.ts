// Contract cases of the unfinished QoS 2 receptions of a publisher: by whom they are recorded and
// forgotten, in which slots, and what a claim finds of them.

import type { Test } from 'tap';
import { type InboundRecord, Receptions, UNCHOSEN } from '../../src/store/receptions.ts';
import { restoring } from './store-contract-sessions.ts';
import { makeNode, type OpenWorld, sortedRecords } from './store-world.ts';

export async function receptionCases(t: Test, open: OpenWorld): Promise<void> {
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

  await t.test('the write that ends a reception records the next one of its slot', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const session = await a.claim('c');
    const owner = a.owner(session);
    const known = new Receptions([]);
    for (const packetId of [1, 2]) await a.recordInbound('c', owner, known, packetId);
    const { status, next } = await a.forgetInbound('c', owner, known, 1, 3);
    t.equal(status, 'ok');
    t.ok(next!.mid > known.get(2)!.mid);
    // Another one comes in its place, then one with the identifier that was expected.
    const { reception: other } = await a.recordInbound('c', owner, known, 90);
    t.match(other, { slot: 0, replaces: 3 });
    t.ok(other.mid > next!.mid);
    await a.recordInbound('c', owner, known, 3);
    await a.forgetInbound('c', owner, known, 2, 2);
    const all = (records: readonly InboundRecord[]) =>
      records.map(({ packetId, slot, choices }) => [packetId, slot, choices]).sort();
    const expected = [
      [2, 1, UNCHOSEN],
      [3, 2, ''],
      [90, 0, ''],
    ];
    t.same(all(known.kept()), expected);
    const b = await makeNode(world);
    const claimed = await b.claim('c');
    t.same(sortedRecords(claimed.inbound), sortedRecords(known.kept()));
    t.same(all(claimed.inbound), expected);
    const late = await a.forgetInbound('c', owner, known, 90, 91);
    t.match(late, { status: 'fenced', next: { mid: 0 } });
    t.same(all((await a.claim('c')).inbound), expected);
  });

  await t.test('many receptions are recorded and forgotten at the same time', async (t) => {
    const a = await makeNode(await open(t, {}));
    const session = await a.claim('c');
    const owner = a.owner(session);
    const known = new Receptions([]);
    const given = new Set<number>();
    const receptions = new Set<number>();
    for (let turn = 0; turn < 4; turn++) {
      const over = known.kept().filter(({ slot }) => slot % 3 === turn % 3);
      const calls: Promise<unknown>[] = [];
      for (let index = 0; index < 40; index++) {
        calls.push(
          a.recordInbound('c', owner, known, 100 * turn + index + 1, index % 7 === 0 ? `for ${index}` : ''),
        );
        const { packetId } = over[index] ?? {};
        const nextId = index % 2 === 0 ? 1000 * (turn + 1) + index : 0;
        if (packetId !== undefined) calls.push(a.forgetInbound('c', owner, known, packetId, nextId));
      }
      await Promise.all(calls);
      for (const { mid, packetId } of known.kept()) {
        given.add(mid);
        receptions.add(packetId);
      }
      if (turn === 1) t.equal(await a.store.restore(restoring(owner, session.life, 2, known)), 'ok');
    }
    t.ok(receptions.size > 160);
    t.equal(given.size, receptions.size, 'each has a mid of its own');
    t.same(sortedRecords((await a.claim('c')).inbound), sortedRecords(known.kept()));
  });
}
