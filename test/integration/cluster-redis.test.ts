// The same parts over a real Redis and in real time: what they rely on holds there too, also when Redis is stopped,
// restarted, or comes back empty.

import t, { type Test } from 'tap';
import { compileConfig } from '../../src/config/compile.ts';
import { limitsOf } from '../../src/store/open.ts';
import { newStoreCounters } from '../../src/store/redis/options.ts';
import { RedisStore } from '../../src/store/redis/redis-store.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { systemRandom } from '../../src/util/random.ts';
import { NodeParts, sub } from '../helpers/cluster-members.ts';
import { eventually } from '../helpers/eventually.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';

type Node = NodeParts<RedisStore, Clock>;

const LEASE_MS = 1200;
const RENEW_MS = 200;

async function join(t: Test, server: RedisServer, name: string): Promise<Node> {
  const config = compileConfig({ redis: { url: server.url } });
  const store = new RedisStore({
    redis: config.redis!,
    durability: config.durability,
    limits: limitsOf(config),
    clock: systemClock,
    random: systemRandom,
    log() {},
    counters: newStoreCounters(),
  });
  const parts = { store, clock: systemClock, name: `${name}${process.pid}${server.port}` };
  const node = new NodeParts({ ...parts, leaseMs: LEASE_MS, renewMs: RENEW_MS });
  t.teardown(() => node.stop());
  return node.start();
}

/** A change of `node`'s routes that is known everywhere when this resolves. */
async function announce(node: Node, filter: string): Promise<void> {
  node.local.set({ clientId: filter, persistent: false }, [sub(filter)]);
  await node.barrier.wait(await node.announce([{ filter, flags: 'a' }]));
}

const nodesFor = (node: Node, topic: string) => [...node.router.match(topic).nodesAll].sort();

t.test('what is announced is known everywhere, soon', async (t) => {
  const server = await startRedis(t);
  const [a, b] = [await join(t, server, 'a'), await join(t, server, 'b')];
  await announce(a, 'x');
  t.same(nodesFor(b, 'x'), [a.incarnation]);
  const started = performance.now();
  for (let index = 0; index < 50; index++) await announce(b, `y/${index}`);
  const eachMs = (performance.now() - started) / 50;
  t.comment(`${eachMs.toFixed(2)} ms each`);
  t.ok(eachMs < 100, 'nobody waits for a timer');
  await Promise.all(Array.from({ length: 500 }, (_, index) => announce(a, `z/${index}`)));
  t.same(nodesFor(b, 'z/499'), [a.incarnation]);
  const c = await join(t, server, 'c');
  t.same(nodesFor(c, 'z/17'), [a.incarnation], 'from the snapshot');
  t.same(nodesFor(c, 'y/17'), [b.incarnation]);
});

t.test('a node that is gone is declared dead and cleaned up after', async (t) => {
  const server = await startRedis(t);
  const [a, b] = [await join(t, server, 'a'), await join(t, server, 'b')];
  await announce(b, 'x');
  a.sweeper.start();
  t.teardown(() => a.sweeper.stop());
  await b.stop();
  const started = performance.now();
  const waiting = announce(a, 'y');
  await eventually('b is dead', () => a.nodeDeaths.includes(b.incarnation));
  // Who judges must have stood for two leases, and has just begun.
  t.ok(performance.now() - started < 3 * LEASE_MS + 1000);
  await waiting;
  await eventually('its routes are gone', () => nodesFor(a, 'x').length === 0);
  await eventually('it is clean', () =>
    a.membership.leases.some((lease) => lease.incarnation === b.incarnation && lease.cleaned),
  );
});

t.test(
  'Redis stopped, cut and restarted for longer than a lease: nobody dies, and all goes on',
  async (t) => {
    const server = await startRedis(t, { appendonly: true, appendfsync: 'always' });
    const nodes = [await join(t, server, 'a'), await join(t, server, 'b')];
    const [a, b] = nodes as [Node, Node];
    await announce(a, 'before');
    const away = async (leave: () => unknown, comeBack: () => unknown, filter: string) => {
      await leave();
      await eventually('both hold', () => nodes.every((one) => one.membership.holding));
      const waiting = announce(a, filter);
      await comeBack();
      await eventually('both go on', () => nodes.every((one) => !one.membership.holding));
      await waiting;
      t.same(nodesFor(b, filter), [a.incarnation]);
      t.same(nodesFor(b, 'before'), [a.incarnation]);
    };
    await away(
      () => server.pause(),
      () => server.resume(),
      'paused',
    );
    await away(
      () => server.kill(),
      () => server.start(),
      'restarted',
    );
    await server.clientKill('normal');
    await announce(b, 'cut');
    t.same(nodesFor(a, 'cut'), [b.incarnation]);
    t.same(
      nodes.map((one) => [one.selfDeaths, one.nodeDeaths]),
      [
        [0, []],
        [0, []],
      ],
    );
  },
);

t.test('Redis comes back empty: nodes announce their routes again and stay who they are', async (t) => {
  const server = await startRedis(t);
  const nodes = [await join(t, server, 'a'), await join(t, server, 'b')];
  const [a, b] = nodes as [Node, Node];
  await announce(a, 'x');
  const row = { kind: 'ended', clientId: 'c', life: 1 } as const;
  await a.routeLog.append(row);
  await server.kill();
  const waiting = announce(b, 'while it was away');
  await server.start();
  await waiting;
  await eventually('both have met the new history', () => nodes.every((one) => one.histories > 0));
  await eventually('both know all', () => {
    const known = nodesFor(b, 'x').concat(nodesFor(a, 'while it was away'));
    return known.join() === [a.incarnation, b.incarnation].join();
  });
  await announce(a, 'y');
  t.same(nodesFor(b, 'y'), [a.incarnation]);
  t.same(
    nodes.map((one) => one.selfDeaths),
    [0, 0],
  );
  const c = await join(t, server, 'c');
  t.same(nodesFor(c, 'x'), [a.incarnation], 'the store holds it again');
});
