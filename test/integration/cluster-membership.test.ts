// Leases and deaths over a store in memory: who holds its answers and when, who is declared dead and by whom, and that
// an outage of the store kills nobody.

import t, { type Test } from 'tap';
import type { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import { LEASE_MS, Member, newWorld, RENEW_MS, rest, TestTime } from '../helpers/cluster-members.ts';

async function cluster(t: Test, names: string[]) {
  const time = new TestTime();
  const world = newWorld(time);
  const members: Member[] = [];
  for (const name of names) members.push(await join(t, world, time, name));
  return { time, world, members };
}

async function join(t: Test, world: MemoryWorld, time: TestTime, name: string): Promise<Member> {
  const member = new Member(world, time, name);
  t.teardown(() => member.stop());
  const started = member.start();
  await time.pass(0);
  return started;
}

t.test('a node knows the others and the states of their leases', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  t.match(a.incarnation, /^[0-9a-z]{12}$/);
  t.not(a.incarnation, b.incarnation);
  await time.pass(RENEW_MS);
  t.same(
    a.membership.leaseStates().map((one) => one.state),
    ['live', 'live'],
  );
  t.equal(a.stats.clusterNodes, 2);
  t.equal(a.membership.holding, false);
  b.kill();
  await time.pass(LEASE_MS + RENEW_MS);
  const ofB = a.membership.leaseStates().find((one) => one.incarnation === b.incarnation);
  t.equal(ofB?.state, 'over');
  t.ok(time.wallMs() - ofB!.renewedAt >= LEASE_MS, 'counted from the last renewal');
});

t.test(
  'a node that is cut off is declared dead by one that stands, and finds its own tombstone',
  async (t) => {
    const { time, members } = await cluster(t, ['a', 'b', 'c']);
    const [a, b, c] = members as [Member, Member, Member];
    await time.pass(2 * LEASE_MS + RENEW_MS);
    b.store.cut();
    const tookMs = await time.until('b is dead', () => a.nodeDeaths.length > 0, 2 * LEASE_MS);
    t.ok(tookMs >= LEASE_MS - RENEW_MS && tookMs <= LEASE_MS + 2 * RENEW_MS, `after ${tookMs} ms`);
    await time.pass(RENEW_MS);
    t.same(a.nodeDeaths, [b.incarnation]);
    t.same(c.nodeDeaths, [b.incarnation], 'every node is told once');
    t.same(b.holdings, [false, true], 'it holds what it would tell');
    t.equal(b.selfDeaths, 0, 'it has not heard of it');
    b.store.reconnect();
    await time.pass(RENEW_MS);
    t.equal(b.selfDeaths, 1);
    t.ok(b.membership.isDead && b.membership.holding, 'the dead go on holding');
    await time.pass(10 * LEASE_MS);
    t.equal(b.selfDeaths, 1);
    t.same(b.holdings, [false, true]);
    await t.rejects(b.membership.live());
  },
);

t.test('a node that has not stood for two leases declares nobody dead', async (t) => {
  const { time, world, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  const b = await join(t, world, time, 'b');
  a.kill();
  const tookMs = await time.until('a is dead', () => b.nodeDeaths.length > 0, 4 * LEASE_MS);
  t.ok(tookMs >= 2 * LEASE_MS, `after ${tookMs} ms`);
});

t.test('an outage of three leases kills nobody, whoever comes back first', async (t) => {
  for (const isPause of [true, false]) {
    const { time, world, members } = await cluster(t, ['a', 'b', 'c']);
    await time.pass(3 * LEASE_MS);
    if (isPause) world.pause();
    else for (const member of members) member.store.cut();
    await time.pass(3 * LEASE_MS);
    t.ok(
      members.every((one) => one.membership.holding),
      'all hold',
    );
    if (isPause) world.resume();
    for (const member of members) {
      if (!isPause) member.store.reconnect();
      await time.pass(1000);
    }
    await time.pass(4 * LEASE_MS);
    for (const member of members) {
      t.same(member.holdings, [false, true, false]);
      t.same([member.selfDeaths, member.nodeDeaths], [0, []]);
    }
  }
});

t.test('a renewal counts from its sending', async (t) => {
  const { time, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  await time.pass(LEASE_MS);
  const renew = a.store.renew.bind(a.store);
  let open = () => {};
  const answers = new Promise<void>((resolve) => {
    open = resolve;
  });
  let sent = 0;
  a.store.renew = async (incarnation, leaseMs) => {
    sent++;
    const renewal = await renew(incarnation, leaseMs);
    // The first answer comes more than a lease late, the next one does not come.
    await (sent === 1 ? answers : new Promise(() => {}));
    return renewal;
  };
  await time.pass(LEASE_MS + RENEW_MS + 1);
  t.equal(a.membership.holding, true);
  open();
  await rest();
  t.equal(a.membership.holding, true, 'it says nothing about now');
  t.equal(sent, 2, 'so another one is sent at once');
});

t.test(
  'a jump of the wall clock against the monotonic one counts as over, until a renewal is answered',
  async (t) => {
    for (const jumpMs of [LEASE_MS + 1, 3_600_000, -LEASE_MS, -3_600_000]) {
      const { time, members } = await cluster(t, ['a']);
      const a = members[0] as Member;
      await time.pass(LEASE_MS);
      t.equal(a.membership.holding, false);
      a.clock.wallJumpMs = jumpMs;
      t.equal(a.membership.holding, true, `${jumpMs} ms`);
      t.same(a.holdings, [false, true], 'told by the question itself');
      await time.pass(RENEW_MS);
      t.same(a.holdings, [false, true, false]);
    }
  },
);

t.test('a stopped process notices before its timers do', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a] = members as [Member];
  await time.pass(LEASE_MS);
  a.freeze();
  await time.pass(LEASE_MS + 1);
  t.same(a.holdings, [false], 'its timers stand still');
  t.equal(a.membership.holding, true);
  t.same(a.holdings, [false, true]);
  a.thaw();
  await time.pass(0);
  t.same(a.holdings, [false, true, false], 'nobody could declare it dead within a lease');
});

t.test('a node that cannot read the log stops renewing, and is released when it can', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  await time.pass(2 * LEASE_MS);
  b.store.hold('log');
  await a.announce([{ filter: 'x', flags: 'a' }]).catch(() => {});
  await time.pass(LEASE_MS + 2 * RENEW_MS);
  t.same([b.holdings, a.nodeDeaths], [[false], []], 'not before a lease of silence');
  await time.pass(LEASE_MS);
  t.same(a.nodeDeaths, [b.incarnation], 'then nobody waits for it any more');
  await time.until('b learns of it', () => b.selfDeaths === 1, 3 * LEASE_MS);
});

t.test('the last node of a cluster goes on when its log is read again', async (t) => {
  const { time, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  await time.pass(2 * LEASE_MS);
  a.store.hold('log');
  const appended = a.announce([{ filter: 'x', flags: 'a' }]);
  await time.pass(2 * LEASE_MS + 4 * RENEW_MS);
  await appended;
  t.same(a.holdings.slice(0, 2), [false, true]);
  a.store.unhold('log');
  await time.pass(RENEW_MS);
  t.equal(a.membership.holding, false);
  t.equal(a.selfDeaths, 0);
});

t.test('a lease that a replaced master renewed counts for nothing at the new one', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const a = members[0] as Member;
  await time.pass(LEASE_MS);
  const renew = a.store.renew.bind(a.store);
  const answers: (() => void)[] = [];
  a.store.renew = async (incarnation, leaseMs) => {
    const renewal = await renew(incarnation, leaseMs);
    await new Promise<void>((resolve) => answers.push(resolve));
    return renewal;
  };
  await time.pass(RENEW_MS);
  t.equal(a.membership.holding, false);
  const living = a.membership.live();
  a.membership.onHistory();
  t.equal(a.membership.holding, true, 'it may be dead at the new master');
  answers.shift()!();
  await rest();
  t.equal(a.membership.holding, true, 'what the old master answers says nothing');
  answers.shift()!();
  await rest();
  t.equal(a.membership.holding, false, 'what the new one answers does');
  t.equal((await living).length, 2, 'and who lives is what the new one says');
});

t.test('a list of the living is read after the call, and shared by those who ask at once', async (t) => {
  const { time, world, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  const renew = a.store.renew.bind(a.store);
  let renewals = 0;
  a.store.renew = (incarnation, leaseMs) => {
    renewals++;
    return renew(incarnation, leaseMs);
  };
  const lists = Promise.all(Array.from({ length: 100 }, () => a.membership.live()));
  await time.pass(0);
  t.same(
    (await lists).map((list) => list.length),
    Array.from({ length: 100 }, () => 1),
  );
  t.ok(renewals <= 2, `${renewals} readings`);
  const first = a.membership.live();
  const b = await join(t, world, time, 'b');
  const second = a.membership.live();
  await time.pass(0);
  await first;
  t.ok((await second).some((lease) => lease.incarnation === b.incarnation));
});

t.test('a node that stops is dead at once, and nobody mourns nodes from before its time', async (t) => {
  const { time, world, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  await time.pass(RENEW_MS);
  const stopped = b.membership.stop();
  await time.pass(RENEW_MS);
  await stopped;
  t.same(a.nodeDeaths, [b.incarnation]);
  t.same(b.selfDeaths, 0);
  await a.store.removeNode(b.incarnation);
  const c = await join(t, world, time, 'c');
  await time.pass(RENEW_MS);
  t.same(c.nodeDeaths, [], 'it is cleaned up already');
  t.equal(c.stats.clusterNodes, 2);
});
