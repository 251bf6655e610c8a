// A Redis that answers and refuses everything: nothing is answered meanwhile, the operator reads why, and what waits goes
// on when it is cured.

import t, { type Test } from 'tap';
import { Keyspace } from '../../src/store/redis/keyspace.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { eventually } from '../helpers/eventually.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { drain, makeRedisNode, redisOptions, silentEvents } from './redis-world.ts';
import { type ContractNode, Enqueue, run } from './store-world.ts';

t.setTimeout(120_000);

const FSYNC = { level: 'fsync', replicas: 0, timeoutMs: 1000 } as const;

/** `spoil` makes the server refuse, `cure` ends it: an enqueue waits, and is told why it does. */
async function waitsOut(
  t: Test,
  node: ContractNode,
  reason: RegExp,
  spoil: () => Promise<unknown>,
  cure: () => Promise<unknown>,
): Promise<void> {
  const { life } = await node.claim('client');
  const before = node.reasons.length;
  const since = () => node.reasons.slice(before);
  await spoil();
  let isAnswered = false;
  const waiting = run(node.store, new Enqueue('client', life, 'x')).finally(() => {
    isAnswered = true;
  });
  await eventually('the reason is told', () => since().length > 0, 20_000);
  t.match(since(), [reason]);
  t.notOk(isAnswered);
  await cure();
  t.equal((await waiting).status, 'queued');
  t.same(await drain(node, 'client'), ['x'], 'once');
  await eventually('the store can be used', () => node.store.isAvailable());
  t.match(since(), [reason, 'connected'], 'each change is told once');
}

const WRITTEN = { ...FSYNC, level: 'written' } as const;
const REPLICAS = { ...FSYNC, level: 'replicas' } as const;
for (const [what, durability, right, reason] of [
  ['a right that is taken away', WRITTEN, 'evalsha', /refuses: .*NOPERM/],
  ['a right to wait for replicas, behind scripts that have run', REPLICAS, 'wait', /refuses: .*NOPERM/],
  ['a right that a script needs', WRITTEN, 'hset', /refuses: .*(can't run this command|ACL failure)/],
] as const) {
  t.test(what, async (t) => {
    const server = await startRedis(t);
    const node = await makeRedisNode(t, server.url, { durability });
    const setRight = (rule: string) => server.command('ACL', 'SETUSER', 'default', rule);
    await waitsOut(
      t,
      node,
      reason,
      () => setRight(`-${right}`),
      () => setRight(`+${right}`),
    );
  });
}

t.test('a server that does not fit any more, and is set right', async (t) => {
  const server = await startRedis(t);
  const node = await makeRedisNode(t, server.url);
  const setPolicy = (policy: string) => server.command('CONFIG', 'SET', 'maxmemory-policy', policy);
  const spoil = async () => {
    await setPolicy('allkeys-lru');
    await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await eventually('it is seen', () => /noeviction/.test(node.reasons.at(-1) ?? ''));
  };
  const before = node.reasons.length;
  await spoil();
  await setPolicy('noeviction');
  await eventually('the store can be used', () => node.store.isAvailable(), 20_000);
  t.equal(node.reasons.slice(before).filter((reason) => /noeviction/.test(reason)).length, 1, 'told once');
});

/** WAITAOF came with Redis 7.2. */
async function hasWaitAof(server: RedisServer): Promise<boolean> {
  const version = String((await server.info('server')).get('redis_version'));
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 7 || (major === 7 && minor >= 2);
}

t.test('durability fsync, and the append-only file is switched off', async (t) => {
  const server = await startRedis(t, { appendonly: true });
  if (!(await hasWaitAof(server))) {
    t.plan(0, 'this Redis has no WAITAOF');
    return;
  }
  const node = await makeRedisNode(t, server.url, { durability: FSYNC });
  const set = (value: string) => server.command('CONFIG', 'SET', 'appendonly', value);
  await waitsOut(
    t,
    node,
    /refuses: .*appendonly is disabled/,
    () => set('no'),
    () => set('yes'),
  );
  await set('no');
  const late = new RedisStore(redisOptions(server.url, { durability: FSYNC }));
  t.teardown(() => late.close());
  await t.rejects(late.open(silentEvents()), {
    code: 'SWARMQ_ERR_STORE_UNFIT',
    message: /appendonly to yes/,
  });
});

t.test('of sessions that are claimed together, one whose record is damaged is refused alone', async (t) => {
  const server = await startRedis(t);
  const node = await makeRedisNode(t, server.url);
  const keys = new Keyspace('test');
  const names = Array.from({ length: 40 }, (_, index) => `c${index}`);
  const first = await Promise.all(names.map((name) => node.claim(name)));
  await server.command('SET', keys.meta('c7'), 'no record');
  const second = await Promise.allSettled(names.map((name) => node.claim(name)));
  for (const [index, claim] of second.entries()) {
    if (index === 7) t.match(claim, { status: 'rejected', reason: { code: 'SWARMQ_ERR_STORE_REPLY' } });
    else t.match(claim, { status: 'fulfilled', value: { present: true, life: first[index]?.life } });
  }
  const states = await node.store.inspect(names.filter((name) => name !== 'c7'));
  t.same(
    states.map(({ epoch }) => epoch),
    second.flatMap((claim) => (claim.status === 'fulfilled' ? [claim.value.epoch] : [])),
    'who was answered has it',
  );
  t.ok((await node.claim('c8')).present, 'and is claimed again like any other');
});
