// What stands between SUBSCRIBE and SUBACK: every node that lives has applied the entry, and nothing but a tombstone
// takes a node's place.

import t, { type Test } from 'tap';
import type { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import { LEASE_MS, Member, newWorld, RENEW_MS, rest, TestTime } from '../helpers/cluster-members.ts';

async function cluster(t: Test, names: string[]) {
  const time = new TestTime();
  const world = newWorld(time);
  const members: Member[] = [];
  for (const name of names) members.push(await join(t, world, time, name));
  await time.pass(2 * LEASE_MS + RENEW_MS);
  return { time, world, members };
}

async function join(t: Test, world: MemoryWorld, time: TestTime, name: string): Promise<Member> {
  const member = new Member(world, time, name);
  t.teardown(() => member.stop());
  let isStarted = false;
  void member.start().then(() => {
    isStarted = true;
  });
  await time.until(`${name} has started`, () => isStarted, 10_000);
  return member;
}

/** Appends an entry that is waited for, and says when its barrier is passed. */
function announce(member: Member, filter: string) {
  const state = { version: 0, isPassed: false };
  void member.announce([{ filter, flags: 'a' }]).then(async (version) => {
    state.version = version;
    await member.barrier.wait(version);
    state.isPassed = true;
  });
  return state;
}

t.test('it is passed when all have applied the entry, without any time passing', async (t) => {
  const { members } = await cluster(t, ['a', 'b', 'c']);
  const [a, b] = members as [Member, Member];
  const state = announce(a, 'x');
  await rest(40);
  t.equal(state.isPassed, true);
  t.same(b.router.match('x').nodesAll, [a.incarnation]);
  t.equal(a.barrier.waiting, 0);
  t.equal(a.stats.subscribeBarrierDuration.count(), 1);
  await a.barrier.wait(0);
});

t.test('a node alone waits for itself', async (t) => {
  const { members } = await cluster(t, ['a']);
  const [a] = members as [Member];
  a.store.hold('log');
  const state = announce(a, 'x');
  await rest(40);
  t.equal(state.isPassed, false);
  a.store.unhold('log');
  await rest();
  t.equal(state.isPassed, true);
});

t.test('a node that lags is waited for, whoever is ahead', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b', 'c']);
  const [a, , c] = members as [Member, Member, Member];
  c.store.hold('log');
  const first = announce(a, 'x');
  await time.pass(RENEW_MS * 2);
  const second = announce(a, 'y');
  await time.pass(RENEW_MS * 2);
  t.same([first.isPassed, second.isPassed], [false, false]);
  c.store.unhold('log');
  await rest(40);
  t.same([first.isPassed, second.isPassed], [true, true]);
});

t.test('a frozen node holds it until its tombstone stands', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b', 'c']);
  const [a, , c] = members as [Member, Member, Member];
  c.freeze();
  const state = announce(a, 'x');
  const tookMs = await time.until('it is passed', () => state.isPassed, 3 * LEASE_MS);
  t.same(a.nodeDeaths, [c.incarnation]);
  t.ok(tookMs <= LEASE_MS + 1000, `after ${tookMs} ms`);
});

t.test('a node that came after the append is not waited for', async (t) => {
  const { time, world, members } = await cluster(t, ['a']);
  const [a] = members as [Member];
  const state = announce(a, 'x');
  await rest(40);
  t.equal(state.isPassed, true);
  const late = await join(t, world, time, 'late');
  t.same(late.router.match('x').nodesAll, [a.incarnation], 'its snapshot holds the entry');
});

t.test('an answer that was lost is asked for again', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  const told = b.peers.applied.bind(b.peers);
  let lost = 0;
  b.peers.applied = () => void lost++;
  const state = announce(a, 'x');
  await rest(40);
  t.same([state.isPassed, lost], [false, 1]);
  b.peers.applied = told;
  const tookMs = await time.until('it is passed', () => state.isPassed, 5000);
  t.ok(tookMs <= 2 * RENEW_MS, `after ${tookMs} ms`);
});

t.test('the version of somebody else is asked for at once', async (t) => {
  const { members } = await cluster(t, ['a', 'b', 'c']);
  const [a, b, c] = members as [Member, Member, Member];
  const version = await Promise.race([a.announce([{ filter: 'x', flags: 'a' }]), rest(40).then(() => 0)]);
  t.ok(version > 0);
  await rest();
  let isPassed = false;
  void b.barrier.wait(version, false).then(() => {
    isPassed = true;
  });
  await rest(40);
  t.equal(isPassed, true);
  // Interleaving 2: the appender dies in its barrier, the client resubscribes elsewhere while a third one lags.
  c.store.hold('log');
  const state = announce(a, 'y');
  await rest(40);
  a.kill();
  isPassed = false;
  void b.barrier.wait(state.version, false).then(() => {
    isPassed = true;
  });
  await rest(40);
  t.equal(isPassed, false, 'the third one has not applied it');
  c.store.unhold('log');
  await rest(40);
  t.equal(isPassed, false, 'the appender itself is no better than others');
});

t.test('many who wait share a few readings and messages', async (t) => {
  const { members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  const live = a.store.renew.bind(a.store);
  let readings = 0;
  a.store.renew = (incarnation, leaseMs) => {
    readings++;
    return live(incarnation, leaseMs);
  };
  const entries = b.stats.inboxEntriesSent;
  const states = Array.from({ length: 1000 }, (_, index) => announce(a, `x${index}`));
  await rest(60);
  t.ok(states.every((one) => one.isPassed));
  t.ok(readings <= 12, `${readings} readings of the leases`);
  t.ok(b.stats.inboxEntriesSent - entries <= 12, `${b.stats.inboxEntriesSent - entries} answers`);
});

t.test('the store loses its tail: it begins again, and ends although the entry is gone', async (t) => {
  const { time, world, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  b.store.hold('log');
  const state = announce(a, 'x');
  await time.pass(100);
  t.ok(state.version > 0 && !state.isPassed);
  world.loseTail(2);
  b.store.unhold('log');
  await rest(5);
  t.equal(state.isPassed, false, 'what was told before means nothing');
  await time.until('it is passed', () => state.isPassed, 5000);
  t.ok(b.routeLog.applied >= state.version);
  t.same([a.selfDeaths, b.selfDeaths], [0, 0]);
});

t.test('the store is away: it waits, and goes on when the store is back', async (t) => {
  const { time, world, members } = await cluster(t, ['a', 'b']);
  const [a] = members as [Member];
  const version = await Promise.race([a.announce([{ filter: 'x', flags: 'a' }]), rest(40).then(() => 0)]);
  world.pause();
  let isPassed = false;
  void a.barrier.wait(version).then(() => {
    isPassed = true;
  });
  await time.pass(2 * LEASE_MS);
  t.equal(isPassed, false);
  world.resume();
  await time.pass(RENEW_MS);
  t.equal(isPassed, true);
});
