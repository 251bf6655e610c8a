// The routing table over a store in memory: a snapshot and the log behind it give the table that the records say,
// whatever was lost or came late meanwhile.

import t, { type Test } from 'tap';
import { RouteLog, type RouteLogStore } from '../../src/cluster/route-log.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { LocalRoutes } from '../../src/routing/local-routes.ts';
import { decodeLogRecord, encodeLogRecord, type RouteFlags } from '../../src/routing/log-codec.ts';
import { Routes } from '../../src/routing/routes.ts';
import type { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import { encodeRow, type Subscription } from '../../src/store/records.ts';
import type { ClaimedSession, LogAppend, LogEntry } from '../../src/store/store.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { LEASE_MS, Member, newWorld, RENEW_MS, rest, sub, TestTime } from '../helpers/cluster-members.ts';
import { groupsOf } from '../helpers/groups.ts';

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
  let isStarted = false;
  const started = member.start();
  started.then(
    () => {
      isStarted = true;
    },
    () => {},
  );
  await time.until(`${name} has started`, () => isStarted, 10_000);
  return started;
}

/** A session with a row, as a node makes one; the log entry is left to the caller. */
async function subscribe(member: Member, clientId: string, rev: number, subscriptions: Subscription[]) {
  const claimed = (await member.store.claim({
    ...{ clientId, incarnation: member.incarnation, cleanStart: false, expirySec: 3600, will: null },
    ...{ leases: member.membership.leaseStates(), epochSeen: 0, waitedMs: () => 0 },
  })) as ClaimedSession;
  const owner = { incarnation: member.incarnation, epoch: claimed.epoch };
  const row = encodeRow({ life: claimed.life, rev, persistent: true, subscriptions });
  await member.store.writeRow({ clientId, owner, rev, row, reading: null });
  return { clientId, owner, life: claimed.life, row };
}

async function read<T>(time: TestTime, answer: Promise<T>): Promise<T> {
  await time.pass(0);
  return answer;
}

const clients = (member: Member, topic: string) =>
  member.router.match(topic).sessions.map((one) => one.clientId);

t.test('a node that starts finds rows, routes, and what is announced meanwhile', async (t) => {
  const { time, world, members } = await cluster(t, ['a']);
  const a = members[0] as Member;
  a.local.set({ clientId: 'x', persistent: false }, [sub('live/#')]);
  const { row } = await subscribe(a, 'c', 1, [sub('q/+')]);
  await a.routeLog.append({ kind: 'row', clientId: 'c', row });
  // Interleaving 4: the record is written, the node starts, the entry comes.
  const late = await subscribe(a, 'd', 1, [sub('q/1')]);
  const b = await join(t, world, time, 'b');
  t.same(clients(b, 'q/1').sort(), ['c', 'd']);
  t.same(b.router.match('live/1').nodesAll, [a.incarnation]);
  t.ok(b.routeLog.isFollowing && b.routeLog.applied > 0);
  t.equal(b.router.version, b.routeLog.applied);
  await a.routeLog.append({ kind: 'row', clientId: 'd', row: late.row });
  await a.routeLog.append({ kind: 'ended', clientId: 'c', life: Number.MAX_SAFE_INTEGER });
  a.local.set({ clientId: 'y', persistent: true }, [sub('other')]);
  await time.pass(0);
  t.same(clients(b, 'q/1'), ['d']);
  t.same(b.router.match('other').nodesQos0, [a.incarnation]);
  t.same(a.router.match('other').nodesQos0, [], 'a node is no other node');
  t.equal(a.routeLog.applied, b.routeLog.applied);
});

t.test('entries that were trimmed unread: the table is loaded anew, over the one in use', async (t) => {
  const { time, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  const kept = await subscribe(a, 'kept', 1, [sub('t/#')]);
  await a.routeLog.append({ kind: 'row', clientId: 'kept', row: kept.row });
  await time.pass(0);
  b.store.hold('log');
  const missed = await subscribe(a, 'missed', 1, [sub('t/#')]);
  await a.routeLog.append({ kind: 'row', clientId: 'missed', row: missed.row });
  const noise = encodeLogRecord({ kind: 'routes', incarnation: a.incarnation, changes: [] });
  const entries: LogAppend[] = Array.from({ length: 20_000 }, () => ({ payload: noise, routes: [] }));
  await a.store.appendLog(a.incarnation, entries, 0);
  const loads = b.routeLog.loads;
  let reloads = 0;
  b.routeLog.onReloaded = () => reloads++;
  b.store.unhold('log');
  await time.until(
    'b has loaded',
    () => {
      t.ok(clients(b, 't/1').includes('kept'), 'never empty');
      return b.routeLog.loads > loads && b.routeLog.applied === a.routeLog.applied;
    },
    2000,
  );
  t.same(clients(b, 't/1').sort(), ['kept', 'missed']);
  t.equal(reloads, 1);
});

t.test('the store loses its tail: tables equal what it still has, and nobody waits for ever', async (t) => {
  const { time, world, members } = await cluster(t, ['a', 'b']);
  const [a, b] = members as [Member, Member];
  const first = await subscribe(a, 'first', 1, [sub('t')]);
  await a.routeLog.append({ kind: 'row', clientId: 'first', row: first.row });
  a.local.set({ clientId: 'x', persistent: false }, [sub('stays'), sub('goes')]);
  await time.pass(LEASE_MS);
  // What is lost: a row, a route, and the removal of one.
  const lost = await subscribe(a, 'lost', 1, [sub('t')]);
  const version = await a.routeLog.append({ kind: 'row', clientId: 'lost', row: lost.row });
  const x = { clientId: 'z', persistent: false };
  a.local.set(x, [sub('new')]);
  await rest();
  t.same(clients(b, 't').sort(), ['first', 'lost']);
  t.same(b.router.match('new').nodesAll, [a.incarnation]);
  const applied: number[] = [];
  world.loseTail(4);
  t.equal(b.routeLog.applied, 0, 'what was applied is in doubt');
  b.routeLog.whenApplied(version, () => applied.push(b.routeLog.applied));
  await time.until('both have loaded', () => a.routeLog.isFollowing && b.routeLog.isFollowing, 2000);
  t.same(clients(b, 't'), ['first']);
  t.same(clients(a, 't'), ['first']);
  await time.pass(2 * RENEW_MS);
  t.same(b.router.match('new').nodesAll, [a.incarnation], 'a announced its routes again');
  t.equal(applied.length, 1, 'a version that was lost is passed by another one');
  t.ok(applied[0]! > version);
  t.equal(a.routeLog.applied, b.routeLog.applied);
  t.same([a.selfDeaths, b.selfDeaths], [0, 0]);
});

t.test(
  'random changes with held readers, restarts and lost answers: all tables are equal in the end',
  async (t) => {
    const seed = Date.now() % 100_000;
    t.comment(`seed ${seed}`);
    let state = seed;
    const below = (limit: number) => {
      state = (state * 1_103_515_245 + 12_345) & 0x7fffffff;
      return (state >> 8) % limit;
    };
    const { time, world, members } = await cluster(t, ['a', 'b', 'c']);
    const filters = ['t', 't/+', '#', 't/1', '+/1'];
    const topics = ['t', 't/1', 'x/1', 't/1/2'];
    const revs = new Map<string, number>();
    for (let step = 0; step < 300; step++) {
      const member = members[below(members.length)] as Member;
      const clientId = `c${below(8)}`;
      const what = below(10);
      if (what < 5) {
        const rev = (revs.get(clientId) ?? 0) + 1;
        revs.set(clientId, rev);
        const some = filters.filter(() => below(2) === 0).map((one) => sub(one, (1 + below(2)) as 1 | 2));
        const { row } = await subscribe(member, clientId, rev, some);
        const append = () => member.routeLog.append({ kind: 'row', clientId, row }).catch(() => {});
        if (below(3) === 0) time.after(below(400), append);
        else void append();
      } else if (what < 7) {
        const receiver = { clientId, persistent: false };
        member.local.set(receiver, [sub(filters[below(filters.length)]!)]);
        if (below(2) === 0) member.local.remove(receiver);
      } else if (what === 7) {
        member.store.hold('log');
        time.after(below(1500), () => member.store.unhold('log'));
      } else if (what === 8) {
        member.store.cut(() => below(2) === 0);
        member.store.reconnect();
      } else await time.pass(below(100));
      if (step === 150) members.push(await join(t, world, time, 'd'));
    }
    await time.pass(5000);
    const records = new Routes({ selfIncarnation: '', groups: groupsOf('') });
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: Awaited<ReturnType<Member['store']['readRows']>> = await read(
        time,
        members[0]!.store.readRows(cursor),
      );
      for (const { clientId, row } of page.rows) records.loadRow(clientId, row);
      cursor = page.cursor;
    }
    for (const topic of topics) {
      const sessions = (routes: Routes) =>
        routes
          .match(topic)
          .sessions.map(({ clientId, life, grant }) => `${clientId} ${life} ${grant.qos}`)
          .sort();
      const living = members.filter((one) => one.local.match(topic).length > 0).map((one) => one.incarnation);
      for (const member of members) {
        t.same(sessions(member.routes), sessions(records), 'sessions as the records say');
        const others = living.filter((one) => one !== member.incarnation).sort();
        t.same([...member.routes.match(topic).nodesAll].sort(), others, 'nodes as their connections say');
      }
    }
    t.ok(members.every((one) => one.selfDeaths === 0));
  },
);

/** A store whose log the test writes by hand. */
class HandWrittenLog implements RouteLogStore {
  version = 10;
  followed: number[] = [];
  appends: { entries: readonly LogAppend[]; versionSeen: number }[] = [];
  failures: unknown[] = [];
  rows: { clientId: string; row: Buffer }[] = [];

  async appendLog(_: string, entries: readonly LogAppend[], versionSeen: number): Promise<number[]> {
    const failure = this.failures.shift();
    if (failure !== undefined) throw failure;
    this.appends.push({ entries, versionSeen });
    return entries.map(() => ++this.version);
  }
  async logVersion(): Promise<number> {
    return this.version;
  }
  followLog(version: number): void {
    this.followed.push(version);
  }
  async readRows() {
    return { rows: this.rows, cursor: null };
  }
  async readRoutes() {
    return { routes: [], cursor: null };
  }
}

async function handWritten(t: Test) {
  const store = new HandWrittenLog();
  const time = new TestTime();
  const told: string[] = [];
  const routes = new Routes({ selfIncarnation: 'me', groups: groupsOf('me') });
  const routeLog = new RouteLog({
    ...{ store, incarnation: 'me', routes, clock: time, logger: silentLogger },
    local: new LocalRoutes({ onRoutes() {} }),
    peers: { applied: (incarnation, version) => told.push(`${incarnation} ${version}`) },
    live: async () => [],
    probeEveryMs: RENEW_MS,
  });
  t.teardown(() => routeLog.stop());
  await routeLog.start();
  return { store, time, told, routes, routeLog };
}

const entry = (version: number, from: string, payload: Buffer): LogEntry => ({
  version,
  previous: version - 1,
  from,
  payload,
});
const rowPayload = (clientId: string, filter: string) =>
  encodeLogRecord({
    kind: 'row',
    clientId,
    row: encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub(filter)] }),
  });

t.test('appends of one turn go together, in order, and are repeated until they are in', async (t) => {
  const { store, time, routeLog } = await handWritten(t);
  store.failures = [new Error('away'), new Error('away')];
  const versions = [1, 2, 3].map((life) => routeLog.append({ kind: 'ended', clientId: 'c', life }));
  await rest();
  t.same(store.appends, []);
  const later = routeLog.append({ kind: 'ended', clientId: 'c', life: 4 });
  await time.pass(1000);
  t.same(await Promise.all([...versions, later]), [11, 12, 13, 14]);
  t.same(
    store.appends.map(({ entries }) =>
      entries.map(({ payload }) => (decodeLogRecord(payload) as { life: number }).life),
    ),
    [[1, 2, 3, 4]],
  );
  t.equal(store.appends[0]!.versionSeen, 10);
  store.failures = [new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'in a test')];
  await t.rejects(routeLog.append({ kind: 'node-dead', incarnation: 'x' }), {
    code: 'SWARMQ_ERR_STORE_CLOSED',
  });
  await t.rejects(routeLog.append({ kind: 'node-dead', incarnation: 'x' }), {
    code: 'SWARMQ_ERR_STORE_CLOSED',
  });
});

t.test('large appends are spread over several calls', async (t) => {
  const { store, routeLog } = await handWritten(t);
  const row = Buffer.alloc(200_000);
  const big = Array.from({ length: 5 }, (_, index) =>
    routeLog.append({ kind: 'row', clientId: `c${index}`, row }),
  );
  const small = Array.from({ length: 600 }, () => routeLog.append({ kind: 'ended', clientId: 'c', life: 1 }));
  await Promise.all([...big, ...small]);
  t.same(
    store.appends.slice(0, 2).map(({ entries }) => entries.length),
    [2, 2],
  );
  t.ok(store.appends.every(({ entries }) => entries.length <= 256));
});

t.test('many changes of routes are spread over several calls and entries', async (t) => {
  const { store, routeLog } = await handWritten(t);
  const filters = Array.from({ length: 3000 }, (_, at) => (at < 2900 ? `f${at}` : `${at}`.padEnd(600, 'x')));
  await Promise.all(
    filters.map((filter) =>
      routeLog.append({ kind: 'routes', incarnation: 'me', changes: [{ filter, flags: 'a' }] }),
    ),
  );
  const entries = store.appends.flatMap((append) => append.entries);
  t.same(
    entries.flatMap(({ routes }) => routes.map(({ filter }) => filter)),
    filters,
  );
  const changesOf = (some: readonly LogAppend[]) => some.reduce((sum, { routes }) => sum + routes.length, 0);
  t.ok(store.appends.every((append) => changesOf(append.entries) <= 1024));
  t.ok(entries.every(({ payload, routes }) => payload.length < 3000 && routes.length <= 16));
  t.ok(entries.length < 300, `${entries.length} entries`);
});

t.test('own routes go beside the entry; those of a dead node are refused', async (t) => {
  const { store, routeLog } = await handWritten(t);
  const changes = [{ filter: 'a', flags: 'a' as const }];
  await routeLog.append({ kind: 'routes', incarnation: 'me', changes });
  t.same(store.appends[0]!.entries[0]!.routes, changes);
  store.appendLog = async () => [0];
  await t.rejects(routeLog.append({ kind: 'routes', incarnation: 'me', changes }), {
    code: 'SWARMQ_ERR_STORE_CLOSED',
  });
});

t.test(
  'own changes that follow each other are one entry, to be waited for by all that made them',
  async (t) => {
    const { store, routeLog } = await handWritten(t);
    const own = (...changes: [filter: string, flags: RouteFlags][]) =>
      routeLog.append({
        kind: 'routes',
        incarnation: 'me',
        changes: changes.map(([filter, flags]) => ({ filter, flags })),
      });
    const versions = [
      own(['a', 'a'], ['b', '0']),
      own(['a', '']),
      own(),
      own(['c', 'a']),
      routeLog.append({ kind: 'ended', clientId: 'c', life: 1 }),
      own(['d', 'a']),
      routeLog.append({ kind: 'routes', incarnation: 'other', changes: [{ filter: 'x', flags: '' }] }),
      own(['e', '']),
      ...Array.from({ length: 300 }, () => own(['f', 'a'])),
    ];
    const [ab, a, nothing, c, ended, d, other, e, ...many] = await Promise.all(versions);
    t.same([ab, a, nothing, c, ended, d, other, e], [11, 11, 12, 13, 14, 15, 16, 17]);
    t.same([many.filter((one) => one === 17).length, many.filter((one) => one === 18).length], [15, 16]);
    const { entries } = store.appends[0]!;
    t.same(
      entries.slice(0, 6).map(({ routes }) => routes.map(({ filter, flags }) => filter + flags)),
      [['aa', 'b0', 'a'], [], ['ca'], [], ['da'], []],
    );
    for (const { payload, routes } of [...entries.slice(0, 3), entries[6]!]) {
      t.same(decodeLogRecord(payload), { kind: 'routes', incarnation: 'me', changes: routes });
    }
  },
);

t.test('who waits is told, once a batch, and nobody else', async (t) => {
  const { told, routeLog } = await handWritten(t);
  t.equal(routeLog.applied, 10);
  const ended = encodeLogRecord({ kind: 'ended', clientId: 'c', life: 1 });
  const gone = encodeLogRecord({ kind: 'routes', incarnation: 'c', changes: [{ filter: 'x', flags: '' }] });
  routeLog.onLog([
    entry(11, 'a', rowPayload('c1', 't')),
    entry(12, 'a', rowPayload('c2', 't')),
    entry(13, 'me', rowPayload('c3', 't')),
    entry(14, 'b', ended),
    entry(15, 'c', gone),
  ]);
  t.same(told.splice(0), ['a 15']);
  routeLog.onLog([entry(14, 'b', ended), entry(15, 'c', gone)]);
  t.same(told.splice(0), [], 'entries that come twice change nothing');
  routeLog.asked('d', 15);
  t.same(told.splice(0), ['d 15']);
  routeLog.asked('d', 17);
  routeLog.asked('e', 16);
  routeLog.asked('f', 16);
  routeLog.forget('f');
  t.same(told.splice(0), ['d 15', 'e 15', 'f 15'], 'what is applied already');
  const runs: number[] = [];
  routeLog.whenApplied(15, () => runs.push(15));
  routeLog.whenApplied(17, () => runs.push(17));
  routeLog.whenApplied(16, () => runs.push(16));
  t.same(runs, [15]);
  routeLog.onLog([entry(16, 'me', ended)]);
  t.same(told.splice(0), ['e 16']);
  routeLog.onLog([entry(17, 'me', ended)]);
  t.same(told.splice(0), ['d 17']);
  t.same(runs, [15, 16, 17]);
});

t.test('an entry that cannot be read is made good by a snapshot', async (t) => {
  const { store, time, routes, routeLog } = await handWritten(t);
  store.rows = [
    { clientId: 'c', row: encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub('t')] }) },
  ];
  store.version = 12;
  routeLog.onLog([entry(11, 'a', Buffer.from([99])), entry(12, 'a', rowPayload('d', 't'))]);
  t.equal(routeLog.applied, 10, 'it is not said to be applied');
  t.equal(routeLog.isFollowing, false);
  await time.pass(600);
  t.same(
    routes.match('t').sessions.map((one) => one.clientId),
    ['c'],
  );
  t.equal(routeLog.applied, 12);
  t.same(store.followed, [10, 12]);
  t.equal(routeLog.unreadable, 1);
});

t.test('rows that cannot be read are left out, and failures to load are tried again', async (t) => {
  const { store, time, routes, routeLog } = await handWritten(t);
  store.rows = [
    { clientId: 'bad', row: Buffer.from([77, 1, 2]) },
    { clientId: 'good', row: encodeRow({ life: 1, rev: 1, persistent: true, subscriptions: [sub('t')] }) },
  ];
  const readRows = store.readRows.bind(store);
  let failures = 2;
  store.readRows = async () => {
    if (failures-- > 0) throw new Error('away');
    return readRows();
  };
  store.version = 20;
  routeLog.onLog([entry(15, 'a', rowPayload('x', 't'))]);
  await time.pass(3000);
  t.same(
    routes.match('t').sessions.map((one) => one.clientId),
    ['good'],
  );
  t.equal(routeLog.applied, 20);
});

t.test('a reader that hears nothing is noticed', async (t) => {
  const { store, time, routeLog } = await handWritten(t);
  await time.pass(5000);
  t.equal(routeLog.unreadMs(), 0, 'a quiet log is no fault');
  store.version = 11;
  await time.pass(3000);
  t.ok(routeLog.unreadMs() >= 2000, `${routeLog.unreadMs()} ms`);
  routeLog.onLog([entry(11, 'a', rowPayload('x', 't'))]);
  t.equal(routeLog.unreadMs(), 0);
});

t.test('entries that come while the table loads do not begin it anew', async (t) => {
  const { store, time, routeLog } = await handWritten(t);
  const readRows = store.readRows.bind(store);
  let reads = 0;
  store.readRows = async () => {
    reads++;
    await new Promise<void>((resolve) => time.after(1000, resolve));
    return readRows();
  };
  store.version = 20;
  routeLog.onLog([entry(15, 'a', rowPayload('x', 't'))]);
  for (let version = 16; version < 30; version++) {
    await time.pass(100);
    routeLog.onLog([entry(version, 'a', rowPayload('x', 't'))]);
  }
  await time.pass(2000);
  t.equal(reads, 1);
  t.same(store.followed, [10, 20]);
});

t.test('a version that the log does not have is passed by an entry that says nothing', async (t) => {
  const { store, time, routeLog } = await handWritten(t);
  const runs: number[] = [];
  routeLog.whenApplied(50, () => runs.push(routeLog.applied));
  await time.pass(2 * RENEW_MS);
  t.equal(store.appends[0]!.versionSeen, 50);
  const { payload } = store.appends[0]!.entries[0]!;
  t.same(decodeLogRecord(payload), { kind: 'routes', incarnation: 'me', changes: [] });
  t.same(runs, []);
  routeLog.onLog([{ version: 51, previous: 10, from: 'me', payload }]);
  t.same(runs, [51]);
});
