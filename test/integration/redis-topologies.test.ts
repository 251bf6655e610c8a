// The Redis store over a Sentinel failover and over slots of a Redis Cluster that move, a master that is frozen, and one
// that dies: what was answered is there, order is kept, and masters that are well are not held up.

import t from 'tap';
import { sessionReceiver } from '../../src/store/operations.ts';
import { bucketOf } from '../../src/store/redis/keyspace.ts';
import { SESSION_SLOTS } from '../../src/store/redis/receiver-slot.ts';
import { scale } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startSentinelSet } from '../helpers/redis-server.ts';
import { drain, firsts, makeRedisNode } from './redis-world.ts';
import { type ContractNode, Enqueue, run } from './store-world.ts';

/** Enqueues to several sessions until stopped. */
function load(node: ContractNode, sessions: readonly { clientId: string; life: number }[]) {
  const texts: string[] = [];
  const statuses = new Set<string>();
  let isStopped = false;
  const done = (async () => {
    for (let at = 0; !isStopped; at++) {
      texts.push(`${at}`);
      const answers = await Promise.all(
        sessions.map(({ clientId, life }) => run(node.store, new Enqueue(clientId, life, `${at}`))),
      );
      for (const { status } of answers) statuses.add(status);
    }
  })();
  return {
    texts,
    async stop() {
      isStopped = true;
      await done;
      return [...statuses];
    },
  };
}

t.test('a Sentinel failover under load: nothing confirmed by a replica is lost', async (t) => {
  const set = await startSentinelSet(t);
  const a = await makeRedisNode(t, set.url, {
    durability: { level: 'replicas', replicas: 1, timeoutMs: 500 },
  });
  const b = await makeRedisNode(t, set.url);
  const session = await a.claim('c');
  const running = load(a, [{ clientId: 'c', life: session.life }]);
  await eventually('some load', () => running.texts.length > 50);
  const old = await set.master();
  const before = running.texts.length;
  await old.kill();
  await eventually('the failover', async () => (await set.master()) !== old, 30_000);
  // With one replica promoted and its master dead, only its return lets WAIT count again.
  await set.rejoin(old);
  await eventually('the load goes on', () => running.texts.length > before + 50, 30_000);
  t.same(await running.stop(), ['queued']);
  await eventually('both are told of the other history', () => a.histories >= 1 && b.histories >= 1);
  t.same(firsts(await drain(a, 'c')), running.texts);
  await b.sendInbox(a.incarnation, 'x');
  await eventually('the inbox goes on', () => a.inbox.includes('x'));
});

t.test('Sentinels tell of another master while one of them is being asked', async (t) => {
  const set = await startSentinelSet(t);
  const slow = await startProxy(t, set.sentinels[0]!.port);
  const a = await makeRedisNode(t, `redis+sentinel://127.0.0.1:${slow.port}/${set.masterName}`);
  slow.halfOpen = true;
  const old = await set.master();
  await old.kill();
  await eventually('it is told', () => !a.store.isAvailable());
  await eventually(
    'all Sentinels name another master',
    async () => (await Promise.all(set.sentinels.map(set.namedBy))).every((found) => found && found !== old),
    30_000,
  );
  slow.halfOpen = false;
  await eventually('the new master is found', () => a.store.isAvailable(), 20_000);
  const { life } = await a.claim('c');
  t.equal((await a.enqueue('c', life, 'x')).status, 'queued');
});

/** Client ids of which each has its session on another master. */
function oneOnEach(node: ContractNode): string[] {
  const names: string[] = [];
  for (let at = 0; names.filter(Boolean).length < node.store.laneCount; at++) {
    const lane = node.store.laneOf(sessionReceiver(`c${at}`));
    names[lane] ??= `c${at}`;
  }
  return names;
}

t.test('interleaving 18: slots that move under load', async (t) => {
  const cluster = await startRedisCluster(t);
  const a = await makeRedisNode(t, cluster.url);
  t.equal(a.store.laneCount, 3);
  const names = oneOnEach(a);
  const sessions = await Promise.all(
    names.map(async (clientId) => ({ clientId, life: (await a.claim(clientId)).life })),
  );
  const running = load(a, sessions);
  await eventually('some load', () => running.texts.length > 50);
  for (const clientId of names) {
    await cluster.moveSlot(SESSION_SLOTS[bucketOf(clientId)]!);
    const before = running.texts.length;
    await eventually('the load goes on', () => running.texts.length > before + 20);
  }
  t.same(await running.stop(), ['queued']);
  for (const clientId of names) t.same(firsts(await drain(a, clientId)), running.texts, clientId);
  await a.sendInbox(a.incarnation, 'x');
  await eventually('the inbox goes on', () => a.inbox.includes('x'));
});

t.test('interleaving 17: a frozen Cluster master holds up only its own sessions', async (t) => {
  const cluster = await startRedisCluster(t, { config: { 'cluster-node-timeout': '60000' } });
  const a = await makeRedisNode(t, cluster.url);
  const names = oneOnEach(a);
  const lives = await Promise.all(names.map(async (clientId) => (await a.claim(clientId)).life));
  const slots = (await cluster.masters[0]!.command('CLUSTER', 'SLOTS')) as [
    number,
    number,
    [string, number],
  ][];
  const portOf = (clientId: string) => {
    const slot = SESSION_SLOTS[bucketOf(clientId)]!;
    return slots.find(([from, to]) => from <= slot && slot <= to)![2][1];
  };
  const frozen = cluster.masters.find(({ port }) => port === portOf(names[0]!))!;
  frozen.pause();
  let isAnswered = false;
  const held = a.enqueue(names[0]!, lives[0]!, 'x').then((operation) => {
    isAnswered = true;
    return operation;
  });
  for (let at = 0; at < 200; at++) {
    for (const index of [1, 2]) {
      t.equal((await a.enqueue(names[index]!, lives[index]!, `${at}`)).status, 'queued');
    }
  }
  t.equal(isAnswered, false);
  frozen.resume();
  t.equal((await held).status, 'queued');
});

t.test('a Cluster master that was killed and comes back', async (t) => {
  const cluster = await startRedisCluster(t, {
    appendonly: true,
    appendfsync: 'always',
    config: { 'cluster-node-timeout': '60000' },
  });
  const a = await makeRedisNode(t, cluster.url);
  const names = oneOnEach(a);
  const sessions = await Promise.all(
    names.map(async (clientId) => ({ clientId, life: (await a.claim(clientId)).life })),
  );
  const running = load(a, sessions);
  await eventually('some load', () => running.texts.length > 50);
  await cluster.masters[1]!.kill();
  await eventually('it is told', () => !a.store.isAvailable());
  await cluster.masters[1]!.start();
  const before = running.texts.length;
  await eventually('the load goes on', () => running.texts.length > before + 50, 20_000);
  t.same(await running.stop(), ['queued']);
  t.ok(a.histories >= 1);
  for (const clientId of names) t.same(firsts(await drain(a, clientId)), running.texts, clientId);
});

t.test('interleaving 18: a very long queue is wiped while its slot moves', async (t) => {
  const cluster = await startRedisCluster(t);
  const a = await makeRedisNode(t, cluster.url);
  const [long, ...others] = oneOnEach(a) as [string, ...string[]];
  const { life } = await a.claim(long);
  const waiting = scale(1_000_000, 60_000);
  for (let at = 0; at < waiting; at += 20_000) await a.enqueueMany(long, life, 20_000, at);
  const bystanders = await Promise.all(
    others.map(async (clientId) => ({ clientId, life: (await a.claim(clientId)).life })),
  );
  const running = load(a, bystanders);
  const moved = cluster.moveSlot(SESSION_SLOTS[bucketOf(long)]!);
  await eventually('the slot is about to move', async () => {
    const maps = await Promise.all(cluster.masters.map((master) => master.command('CLUSTER', 'NODES')));
    return maps.some((map) => String(map).includes('->-'));
  });
  const started = performance.now();
  const anew = await a.claim(long, { cleanStart: true });
  t.comment(`wiped after ${(performance.now() - started).toFixed(0)} ms`);
  t.equal(anew.endedLife, life);
  t.equal(anew.discarded, waiting, 'all of it is counted');
  t.equal((await a.enqueue(long, life, 'late')).status, 'gone', 'nothing comes to the life before');
  const fresh = await a.enqueueMany(long, anew.life, 100);
  t.ok(fresh.every(({ status }) => status === 'queued'));
  await moved;
  await a.enqueue(long, anew.life, 'last');
  t.same(await running.stop(), ['queued']);
  for (const { clientId } of bystanders) t.same(firsts(await drain(a, clientId)), running.texts, clientId);
  t.same(firsts(await drain(a, long)), [...fresh.map((_one, at) => `m${at}`), 'last']);
  t.equal((await a.store.totals()).queuedMessages, 101 + running.texts.length * bystanders.length);
});

t.test('a Cluster master is killed and its replica takes over', async (t) => {
  const cluster = await startRedisCluster(t, { replicas: 1 });
  const a = await makeRedisNode(t, cluster.url, {
    durability: { level: 'replicas', replicas: 1, timeoutMs: 500 },
  });
  const names = oneOnEach(a);
  const sessions = await Promise.all(
    names.map(async (clientId) => ({ clientId, life: (await a.claim(clientId)).life })),
  );
  // One session on each master has something under way, another one nothing.
  const idle = names.map((_name, index) =>
    Array.from({ length: 1000 }, (_none, at) => `idle${at}`).find(
      (name) => a.store.laneOf(sessionReceiver(name)) === index,
    ),
  ) as string[];
  for (const clientId of idle) await a.claim(clientId);
  const running = load(a, sessions);
  await eventually('some load', () => running.texts.length > 50);
  const old = cluster.masters[1]!;
  await old.kill();
  await eventually(
    'the replica is a master',
    async () => (await cluster.shards(cluster.masters[0]!)).every(({ master }) => master !== old),
    30_000,
  );
  // Nobody confirms for the new master before the old one is its replica.
  await old.start();
  const before = running.texts.length;
  await eventually('the load goes on', () => running.texts.length > before + 50, 30_000);
  t.same(await running.stop(), ['queued']);
  t.ok(a.histories >= 1);
  for (const clientId of idle) t.equal((await a.claim(clientId)).present, true, clientId);
  for (const clientId of names) t.same(firsts(await drain(a, clientId)), running.texts, clientId);
});
