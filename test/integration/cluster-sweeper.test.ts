// Cleaning up after dead nodes and deadlines: nothing is left, nothing is done twice, nothing that hangs stops the rest.

import t, { type Test } from 'tap';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import { encodeRow } from '../../src/store/records.ts';
import type { ClaimedSession } from '../../src/store/store.ts';
import {
  LEASE_MS,
  Member,
  newWorld,
  RENEW_MS,
  STORE_LIMITS,
  sub,
  TestTime,
} from '../helpers/cluster-members.ts';

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
  t.teardown(async () => {
    const stopped = member.sweeper.stop();
    await member.stop();
    member.clock.goOn();
    await time.pass(1000);
    await stopped;
  });
  let isStarted = false;
  void member.start().then(() => {
    isStarted = true;
  });
  await time.until(`${name} has started`, () => isStarted, 10_000);
  return member;
}

class CountingImage extends MemoryImage {
  written = 0;

  override write(...args: Parameters<MemoryImage['write']>): void {
    this.written++;
    super.write(...args);
  }
}

interface Shape {
  expirySec?: number;
  hasWill?: boolean;
  delaySec?: number;
}

async function claim(
  time: TestTime,
  member: Member,
  clientId: string,
  shape: Shape = {},
): Promise<ClaimedSession> {
  const { expirySec = 3600, hasWill = false, delaySec = 0 } = shape;
  const will = { qos: 1 as const, retain: false, delaySec, body: Buffer.from(`will of ${clientId}`) };
  const claimed = member.store.claim({
    ...{
      clientId,
      incarnation: member.incarnation,
      cleanStart: false,
      expirySec,
      will: hasWill ? will : null,
    },
    ...{ leases: member.membership.leaseStates(), epochSeen: 0, waitedMs: () => 0 },
  });
  await time.pass(0);
  const session = (await claimed) as ClaimedSession;
  const owner = { incarnation: member.incarnation, epoch: session.epoch };
  const row = encodeRow({ life: session.life, rev: 1, persistent: expirySec > 0, subscriptions: [sub('t')] });
  void member.store.writeRow({ clientId, owner, rev: 1, row, reading: null });
  if (expirySec > 0) void member.routeLog.append({ kind: 'row', clientId, row });
  await time.pass(0);
  return session;
}

/** Counts a member's calls that let go of sessions, each of which takes a while; `hangs` names those without an answer. */
function countDisowns(time: TestTime, member: Member, hangs: (clientId: string) => boolean = () => false) {
  const disown = member.store.disown.bind(member.store);
  const calls = { count: 0 };
  member.store.disown = async (clientId, incarnation, renewedAt) => {
    calls.count++;
    await new Promise<void>((resolve) => time.after(hangs(clientId) ? 1e9 : 20, resolve));
    return disown(clientId, incarnation, renewedAt);
  };
  return calls;
}

const clients = (member: Member) =>
  member.router
    .match('t')
    .sessions.map((one) => one.clientId)
    .sort();
const willsOf = (members: readonly Member[]) =>
  members.flatMap((one) => one.wills.map((will) => will.clientId)).sort();

t.test('after a dead node: wills, ended sessions, routes, inbox, and the note that it is done', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b', 'c']);
  const [a, b, c] = members as [Member, Member, Member];
  await claim(time, b, 'keeps', { hasWill: true });
  await claim(time, b, 'waits', { hasWill: true, delaySec: 60 });
  await claim(time, b, 'ends', { expirySec: 0, hasWill: true });
  for (let index = 0; index < 300; index++) await claim(time, b, `plain${index}`);
  b.local.set({ clientId: 'ends', persistent: false }, [sub('live')]);
  await time.pass(RENEW_MS);
  t.same(a.router.match('live').nodesAll, [b.incarnation]);
  const calls = [a, c].map((one) => countDisowns(time, one));
  a.sweeper.start();
  c.sweeper.start();
  b.kill();
  const tookMs = await time.until('wills are out', () => willsOf(members).length === 2, 2 * LEASE_MS);
  t.ok(tookMs <= LEASE_MS + 2000, `after ${tookMs} ms`);
  await time.pass(RENEW_MS * 2);
  t.same(willsOf(members), ['ends', 'keeps'], 'each once, whoever cleaned up');
  const counts = calls.map((one) => one.count);
  t.ok(counts.includes(0), `one node had the lock: ${counts}`);
  t.same(a.router.match('live').nodesAll, []);
  const lease = a.membership.leases.find((one) => one.incarnation === b.incarnation);
  t.equal(lease?.cleaned, true);
  const page = a.store.sessionsOf(b.incarnation, '');
  await time.pass(0);
  t.same((await page).clientIds, []);
  t.equal(clients(a).length, 302, 'sessions that outlive their connection are there');
  await time.pass(60_000);
  t.same(willsOf(members), ['ends', 'keeps', 'waits'], 'the delay counts from the last renewal');
});

t.test('a claim of a dead node that comes to the store behind its cleaning', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  a.sweeper.start();
  b.kill();
  const { incarnation } = b;
  const isCleaned = () => a.membership.leases.some((one) => one.incarnation === incarnation && one.cleaned);
  await time.until('the dead node is cleaned up after', isCleaned, 4 * LEASE_MS);
  const claimed = a.store.claim({
    ...{ clientId: 'late', incarnation, cleanStart: false, expirySec: 60, will: null },
    ...{ leases: [], epochSeen: 0, waitedMs: () => 0 },
  });
  await time.pass(0);
  t.match(await claimed, { status: 'claimed' });
  const held = async () => {
    const page = a.store.sessionsOf(incarnation, '');
    await time.pass(0);
    return (await page).clientIds;
  };
  t.same(await held(), ['late']);
  await time.pass(3 * LEASE_MS);
  t.same(await held(), []);
  await time.pass(65_000);
  const found = a.store.inspect(['late']);
  await time.pass(0);
  t.same(await found, [], 'it has ended when its time was over');
});

t.test('a node whose tombstone the store has lost keeps its sessions', async (t) => {
  const time = new TestTime();
  const image = new CountingImage();
  const world = new MemoryWorld({ clock: time, limits: STORE_LIMITS, journal: image });
  const [a, b] = [await join(t, world, time, 'a'), await join(t, world, time, 'b')];
  await time.pass(3 * LEASE_MS);
  a.sweeper.start();
  await claim(time, b, 'c');
  await time.pass(RENEW_MS);
  b.freeze();
  const lease = () => a.membership.leases.find((one) => one.incarnation === b.incarnation);
  let batches = image.written;
  for (; (lease()?.deadAt ?? 0) === 0; await time.pass(10)) batches = image.written;
  await time.until('it is cleaned up after', () => lease()?.cleaned === true, LEASE_MS);
  world.loseTail(image.written - batches + 1);
  b.thaw();
  await time.pass(5 * LEASE_MS);
  const found = a.store.inspect(['c']);
  await time.pass(0);
  t.match(await found, [{ clientId: 'c', incarnation: b.incarnation }]);
  t.match([lease()?.deadAt, b.selfDeaths], [0, 0], 'it lives');
});

t.test('a will whose taker died is published by another node, and only then', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b', 'c']);
  const [a, b, c] = members as [Member, Member, Member];
  await claim(time, b, 'x', { hasWill: true });
  a.sweeper.start();
  c.sweeper.start();
  // Whoever takes it first dies with the will in its hands.
  let taker: Member | null = null;
  for (const member of [a, c]) {
    member.publishWill = async (will) => {
      if (taker === null) {
        taker = member;
        member.kill();
        return new Promise(() => {});
      }
      member.wills.push(will);
    };
  }
  b.kill();
  await time.until('the will is taken', () => taker !== null, 2 * LEASE_MS);
  await time.pass(LEASE_MS);
  t.same(willsOf(members), [], 'not while its taker may be at it');
  await time.until('the will is out', () => willsOf(members).length > 0, 2 * LEASE_MS);
  await time.pass(3 * LEASE_MS);
  t.same(willsOf(members), ['x']);
});

t.test('sessions end when their time is over', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  const session = await claim(time, a, 'short', { expirySec: 10, hasWill: true, delaySec: 100 });
  const other = await claim(time, a, 'long', { expirySec: 1000 });
  for (const [clientId, { epoch }, expirySec] of [
    ['short', session, 10],
    ['long', other, 1000],
  ] as const) {
    const owner = { incarnation: a.incarnation, epoch };
    void a.store.release({ clientId, owner, dropWill: false, expirySec, sent: 0 });
  }
  a.sweeper.start();
  b.sweeper.start();
  await time.pass(9000);
  t.same(clients(b), ['long', 'short']);
  await time.pass(2000);
  t.same(clients(b), ['long']);
  t.same([...a.expired, ...b.expired], ['short'], 'told by one node');
  t.same(willsOf(members), ['short'], 'the will goes with the session');
});

t.test('a step that hangs or fails stops neither the others nor the end', async (t) => {
  const { time, world, members } = await cluster(t, ['a', 'b', 'c']);
  const [a, b, c] = members as [Member, Member, Member];
  const count = 100;
  for (let index = 0; index < count; index++) await claim(time, b, `s${index}`, { hasWill: true });
  await claim(time, c, 'other', { hasWill: true });
  const disown = a.store.disown.bind(a.store);
  let hanging = 0;
  let failing = 0;
  a.store.disown = (clientId, incarnation, renewedAt) => {
    if (clientId === 's7') {
      hanging++;
      return new Promise(() => {});
    }
    if (clientId === 's8') {
      failing++;
      return Promise.reject(new Error('in a test'));
    }
    return disown(clientId, incarnation, renewedAt);
  };
  a.sweeper.start();
  b.kill();
  c.kill();
  await time.pass(LEASE_MS + 2000);
  t.equal(willsOf(members).length, count - 2 + 1, 'all the others, also of the other dead node');
  await time.pass(10 * LEASE_MS);
  t.equal(willsOf(members).length, count - 2 + 1);
  t.equal(hanging, 1, 'a call that hangs is not made again beside itself');
  t.ok(failing > 3, 'one that fails is');
  const leaseOf = (member: Member) =>
    a.membership.leases.find((one) => one.incarnation === member.incarnation);
  t.equal(leaseOf(b)?.cleaned, false, 'it is not called clean');
  t.equal(leaseOf(c)?.cleaned, true);
  const d = await join(t, world, time, 'd');
  d.sweeper.start();
  members.push(d);
  await time.pass(15 * LEASE_MS);
  t.equal(willsOf(members).length, count + 1, 'another node does what hangs or fails here');
  t.equal(leaseOf(b)?.cleaned, true);
});

t.test('a node whose lease is over cleans nothing', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  await claim(time, b, 'x', { hasWill: true });
  b.kill();
  await time.until('b is dead', () => a.nodeDeaths.length > 0, 2 * LEASE_MS);
  a.clock.wallJumpMs = 3_600_000;
  a.sweeper.wake();
  await time.pass(0);
  t.same(a.wills, []);
  await time.pass(RENEW_MS);
  a.sweeper.wake();
  a.sweeper.wake();
  await time.pass(0);
  t.same(willsOf(members), ['x']);
});

t.test('a node is not called clean while a session of it hangs', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  for (let index = 0; index < 10; index++) await claim(time, b, `s${index}`);
  const calls = countDisowns(time, a, (clientId) => clientId === 's3');
  a.sweeper.start();
  b.kill();
  await time.pass(10 * LEASE_MS);
  t.ok(calls.count >= 10);
  t.equal(a.membership.leases.find((one) => one.incarnation === b.incarnation)?.cleaned, false);
});

t.test('freeing goes on while there is much, and rests when there is little', async (t) => {
  const { time, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  const found = [1000, 1000, 3, 0, 0];
  const at: number[] = [];
  a.store.sweep = async () => {
    at.push(time.monotonicMs());
    return { retained: 0, payloads: found.shift() ?? 0, marks: 0 };
  };
  a.sweeper.start();
  await time.pass(25_000);
  const gaps = at.slice(1).map((one, index) => one - at[index]!);
  t.same(gaps.slice(0, 2), [100, 100]);
  t.ok(gaps.length >= 3 && gaps.slice(2).every((gap) => gap >= 9000), `${gaps}`);
});
