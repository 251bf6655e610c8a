// Contract cases of what nodes share: the route log and its snapshots, leases and tombstones, inboxes.

import type { Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { type ContractNode, makeNode, ODD_NAMES, type OpenWorld } from './store-world.ts';

const plain = (text: string) => ({ payload: Buffer.from(text), routes: [] });
const routed = (text: string, routes: { filter: string; flags: string }[]) => ({
  payload: Buffer.from(text),
  routes,
});

async function routesOf(node: ContractNode, incarnation: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  let cursor: string | null = '';
  while (cursor !== null) {
    const page = await node.store.readRoutes(incarnation, cursor);
    for (const one of page.routes) found.set(one.filter, one.flags);
    cursor = page.cursor;
  }
  return found;
}

export async function nodeCases(t: Test, open: OpenWorld): Promise<void> {
  await logCases(t, open);
  await routeCases(t, open);
  await leaseCases(t, open);
  await cleaningCases(t, open);
  await inboxCases(t, open);
}

async function logCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('every node reads the log in order and without a gap', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const from = await a.store.logVersion();
    a.store.followLog(from);
    const first = await a.store.appendLog(a.incarnation, [plain('1'), plain('2')], 0);
    t.ok(first[0]! > from && first[1]! > first[0]!);
    t.equal(await b.store.logVersion(), first[1]);
    b.store.followLog(from);
    await Promise.all([
      a.store.appendLog(a.incarnation, [plain('3')], 0),
      b.store.appendLog(b.incarnation, [plain('4'), plain('5')], 0),
    ]);
    for (const node of [a, b]) {
      await eventually('the log', () => node.log.length === 5);
      let before = from;
      for (const entry of node.log) {
        t.equal(entry.previous, before);
        t.ok(entry.version > before);
        before = entry.version;
      }
    }
    t.same(
      a.log.map((entry) => [entry.payload.toString(), entry.from]),
      b.log.map((entry) => [entry.payload.toString(), entry.from]),
    );
    t.same(a.log.map((entry) => entry.from).filter((from) => from === b.incarnation).length, 2);
    b.log.length = 0;
    b.store.followLog(first[0]!);
    await eventually('the log from there', () => b.log.length === 4);
    t.match(b.log[0], { version: first[1], previous: first[0] });
  });

  await t.test('versions rise above what the appender has seen', async (t) => {
    const a = await makeNode(await open(t, {}));
    const far = Date.now() * 1000 + 3_600_000_000;
    const [version] = await a.store.appendLog(a.incarnation, [plain('1')], far);
    t.ok(version! > far);
    const [next] = await a.store.appendLog(a.incarnation, [plain('2')], 0);
    t.ok(next! > version!);
  });
}

async function routeCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('routes of a node are kept for snapshots', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    const all = ODD_NAMES.map((filter) => ({ filter, flags: 'a' }));
    await a.store.appendLog(a.incarnation, [routed('1', all)], 0);
    await a.store.appendLog(
      a.incarnation,
      [
        routed('2', [{ filter: '__proto__', flags: '0' }]),
        routed('3', [
          { filter: '{x}', flags: '' },
          { filter: 'never', flags: '' },
        ]),
      ],
      0,
    );
    const wanted = new Map(all.map((one) => [one.filter, one.flags]));
    wanted.set('__proto__', '0');
    wanted.delete('{x}');
    t.same(await routesOf(b, a.incarnation), wanted);
    t.same(await routesOf(b, b.incarnation), new Map());
    const many = Array.from({ length: 3000 }, (_, at) => ({ filter: `f/${at}`, flags: '0' }));
    await b.store.appendLog(b.incarnation, [routed('4', many)], 0);
    t.equal((await routesOf(a, b.incarnation)).size, 3000, 'by pages');
  });

  await t.test('routes of a dead node are refused, other entries of it are not', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    await a.store.appendLog(a.incarnation, [routed('1', [{ filter: 'f', flags: 'a' }])], 0);
    await a.store.resign(a.incarnation);
    const versions = await a.store.appendLog(
      a.incarnation,
      [plain('2'), routed('3', [{ filter: 'g', flags: 'a' }])],
      0,
    );
    t.ok(versions[0]! > 0);
    t.equal(versions[1], 0);
    t.equal(await b.store.logVersion(), versions[0]);
    t.same(await routesOf(b, a.incarnation), new Map([['f', 'a']]));
    await b.store.removeNode(a.incarnation);
    t.same(await routesOf(b, a.incarnation), new Map());
  });
}

async function leaseCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('a lease runs while it is renewed and tells when it had lapsed', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world, 1000);
    const b = await makeNode(world, 60_000);
    const renewal = await a.store.renew(a.incarnation, 1000);
    t.equal(renewal.lapsed, false);
    t.same(renewal.leases.map((lease) => lease.incarnation).sort(), [a.incarnation, b.incarnation].sort());
    const own = renewal.leases.find((lease) => lease.incarnation === a.incarnation)!;
    t.match(own, { deadAt: 0, cleaned: false, renewedAt: renewal.nowMs, deadline: renewal.nowMs + 1000 });
    t.ok(own.name.startsWith('node') && own.createdAt <= renewal.nowMs);
    await world.pass(1300);
    const late = await a.store.renew(a.incarnation, 1000);
    t.equal(late.lapsed, true);
    t.equal((await a.store.renew(a.incarnation, 1000)).lapsed, false);
  });

  await t.test('a renewal brings leases that the store has lost, and changes none that it has', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world, 60_000);
    const b = await makeNode(world, 60_000);
    const dead = await makeNode(world, 60_000);
    await dead.store.resign(dead.incarnation);
    const before = (await a.store.renew(a.incarnation, 1000)).leases;
    await world.pass(20);
    const others = [
      ...before.filter(({ incarnation }) => incarnation !== a.incarnation),
      { incarnation: 'lost', name: 'its name' },
    ];
    const { leases, nowMs } = await a.store.renew(a.incarnation, 1000, others);
    const of = (list: typeof leases, wanted: string) =>
      list.find(({ incarnation }) => incarnation === wanted);
    for (const { incarnation } of [b, dead]) t.same(of(leases, incarnation), of(before, incarnation));
    t.match(of(leases, 'lost'), { name: 'its name', renewedAt: nowMs, deadline: nowMs + 1000, deadAt: 0 });
    t.equal(leases.length, 4);
    await dead.store.renew(dead.incarnation, 1000, [{ incarnation: 'other', name: 'x' }]);
    t.equal((await a.store.renew(a.incarnation, 1000)).leases.length, 4, 'the dead bring nobody');
  });

  await t.test('a node is buried only when its lease is over and the writer has stood for two', async (t) => {
    const world = await open(t, {});
    const lease = 600;
    const a = await makeNode(world, lease);
    const b = await makeNode(world, lease);
    const bury = () => b.store.bury(a.incarnation, b.incarnation, lease);
    t.equal(await bury(), 'refused', 'its lease runs');
    await world.pass(3 * lease);
    t.equal(await bury(), 'refused', 'the writer has lapsed itself');
    await b.store.renew(b.incarnation, lease);
    t.equal(await bury(), 'refused', 'and must stand for two leases since');
    for (let at = 0; at < 8; at++) {
      await world.pass(lease / 4);
      await b.store.renew(b.incarnation, lease);
    }
    await world.pass(lease / 4);
    await b.store.renew(b.incarnation, lease);
    t.equal(await b.store.bury('nobody', b.incarnation, lease), 'refused');
    t.equal(await b.store.bury(a.incarnation, 'nobody', lease), 'refused');
    t.equal(await bury(), 'buried');
    const c = await makeNode(world, 60_000);
    t.equal(await b.store.bury(c.incarnation, b.incarnation, lease), 'refused', 'a lease that runs');
    const first = (await b.store.renew(b.incarnation, lease)).leases.find((one) => one.deadAt > 0)!;
    await world.pass(20);
    t.equal(await bury(), 'buried', 'twice');
    const dead = (await a.store.renew(a.incarnation, lease)).leases.find(
      (one) => one.incarnation === a.incarnation,
    )!;
    t.equal(dead.deadAt, first.deadAt, 'a renewal does not wake the dead, nor does another burial kill them');
    t.ok(dead.renewedAt < dead.deadAt, 'nor move the time it was last alive');
    t.equal(await a.store.bury(b.incarnation, a.incarnation, lease), 'refused', 'the dead bury nobody');
  });
}

async function cleaningCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('one node at a time cleans up after a dead one', async (t) => {
    const world = await open(t, {});
    const [a, b, c] = [await makeNode(world), await makeNode(world), await makeNode(world)];
    await a.store.resign(a.incarnation);
    await a.store.resign(a.incarnation);
    const { leases } = await b.store.renew(b.incarnation, 60_000);
    t.ok(leases.find((lease) => lease.incarnation === a.incarnation)!.deadAt > 0, 'its own tombstone');
    t.equal(await b.store.lockCleanup(a.incarnation, b.incarnation, 1000), true);
    t.equal(await c.store.lockCleanup(a.incarnation, c.incarnation, 1000), false);
    t.equal(await b.store.lockCleanup(a.incarnation, b.incarnation, 1000), true, 'again by the holder');
    await world.pass(1300);
    t.equal(await c.store.lockCleanup(a.incarnation, c.incarnation, 1000), true, 'when the hold is over');
    await c.store.removeNode(a.incarnation);
    await c.store.removeNode(a.incarnation);
    const after = await c.store.renew(c.incarnation, 60_000);
    const lease = after.leases.find((one) => one.incarnation === a.incarnation);
    t.ok(lease === undefined || lease.cleaned);
    t.equal((await b.sendInbox(a.incarnation, 'x')).status, 'gone');
  });

  await t.test(
    'who comes back to its tombstone may have claimed since: it is cleaned up after again',
    async (t) => {
      const world = await open(t, {});
      const [a, b] = [await makeNode(world), await makeNode(world)];
      const leaseOfA = async () =>
        (await b.store.renew(b.incarnation, 60_000)).leases.find((one) => one.incarnation === a.incarnation)!;
      await a.store.resign(a.incarnation);
      await b.store.removeNode(a.incarnation);
      t.equal((await leaseOfA()).cleaned, true);
      await a.claim('c');
      const own = await a.store.renew(a.incarnation, 60_000);
      t.equal(own.lapsed, true);
      t.match(await leaseOfA(), { cleaned: false });
      t.ok((await leaseOfA()).deadAt > 0, 'the tombstone stands');
      t.equal(await b.store.lockCleanup(a.incarnation, b.incarnation, 1000), true);
      t.same((await b.store.sessionsOf(a.incarnation, '')).clientIds, ['c']);
    },
  );

  await t.test('leases are there after a restart', async (t) => {
    const world = await open(t, {});
    const before = await makeNode(world);
    const claimed = await before.claim('c');
    await world.restart();
    const a = await makeNode(world);
    const { leases } = await a.store.renew(a.incarnation, 60_000);
    t.ok(leases.some((lease) => lease.incarnation === before.incarnation));
    t.match(await a.store.inspect(['c']), [{ incarnation: before.incarnation, epoch: claimed.epoch }]);
  });
}

async function inboxCases(t: Test, open: OpenWorld): Promise<void> {
  await t.test('an inbox is read in order, by its node only', async (t) => {
    const world = await open(t, {});
    const a = await makeNode(world);
    const b = await makeNode(world);
    await a.sendInbox(a.incarnation, 'to itself');
    const sent = Array.from({ length: 500 }, (_, at) => b.sendInbox(a.incarnation, `e${at}`));
    t.ok((await Promise.all(sent)).every((operation) => operation.status === 'ok'));
    const end = await a.store.inboxEnd();
    await a.store.waitInbox(end);
    t.same(a.inbox, ['to itself', ...Array.from({ length: 500 }, (_, at) => `e${at}`)]);
    t.same(b.inbox, []);
    t.equal(a.gaps, 0);
    await a.store.waitInbox(await a.store.inboxEnd());
    await b.store.waitInbox(await b.store.inboxEnd());
    t.equal((await b.sendInbox('nobody', 'x')).status, 'gone');
  });

  await t.test('an inbox that takes more than its bound stays in order, and a loss is told', async (t) => {
    const world = await open(t, { maxInboxBytes: 100_000 });
    const a = await makeNode(world);
    const b = await makeNode(world);
    const count = 2000;
    const sent = Array.from({ length: count }, (_, at) =>
      b.sendInbox(a.incarnation, `${at}`.padEnd(1000, '.')),
    );
    await Promise.all(sent);
    await a.store.waitInbox(await a.store.inboxEnd());
    const numbers = a.inbox.map((text) => Number.parseInt(text, 10));
    t.same(
      numbers,
      [...numbers].sort((x, y) => x - y),
    );
    t.equal(numbers.at(-1), count - 1, 'the newest are kept');
    t.ok(numbers.length === count || a.gaps > 0, `${numbers.length} of ${count}, ${a.gaps} gaps`);
  });

  await t.test('what was read does not fill an inbox', async (t) => {
    const world = await open(t, { maxInboxBytes: 1 << 20 });
    const a = await makeNode(world);
    const b = await makeNode(world);
    const text = 'x'.repeat(200_000);
    for (let count = 1; count <= 30; count++) {
      t.equal((await b.sendInbox(a.incarnation, text)).status, 'ok');
      await a.store.waitInbox(await a.store.inboxEnd());
      t.equal(a.inbox.length, count);
    }
    t.equal(a.gaps, 0);
  });
}
