// The bus for figures on a real Redis: heard by the nodes of one cluster and by nobody else, and nothing that happens to
// its connections, or comes over them, harms the node.

import t, { type Test } from 'tap';
import { ControlBus } from '../../src/cluster/control-bus.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { systemClock } from '../../src/util/clock.ts';
import { eventually } from '../helpers/eventually.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { startRefusingProxy } from '../helpers/refusing-proxy.ts';

function openBus(t: Test, server: Pick<RedisServer, 'url'> | null, prefix = 'swarmq') {
  const heard: string[] = [];
  const traffic = { sent: 0, received: 0 };
  const { redis } = compileConfig(server === null ? {} : { redis: { url: server.url, prefix } });
  const bus = new ControlBus({
    redis,
    onMessage: (payload) => heard.push(payload),
    onTraffic: (direction) => traffic[direction]++,
  });
  bus.start();
  t.teardown(() => bus.close((delayMs, run) => systemClock.after(delayMs, run)));
  return { bus, heard, traffic };
}

/** Publishes until it is heard: what is said before the subscription stands is lost, as it may be. */
function heardBy(from: ControlBus, payload: string, ...others: string[][]): Promise<unknown> {
  return eventually(`${payload} is heard`, () => {
    from.publish(payload);
    return others.every((heard) => heard.includes(payload));
  });
}

t.test('nodes of one cluster hear each other, and those of another one do not', async (t) => {
  const server = await startRedis(t);
  const [a, b, other] = [openBus(t, server), openBus(t, server), openBus(t, server, 'swarm')];
  const globbing = openBus(t, server, 'swarm-and-more');
  await heardBy(a.bus, 'from a', a.heard, b.heard);
  await heardBy(b.bus, 'from b', a.heard, b.heard);
  await heardBy(other.bus, 'from another cluster', other.heard);
  await heardBy(globbing.bus, 'from a third one', globbing.heard);
  t.notOk(
    [...a.heard, ...b.heard].some((payload) => payload.includes('another') || payload.includes('third')),
  );
  t.ok(other.heard.every((payload) => payload === 'from another cluster'));
  t.ok(a.traffic.sent > 0 && b.traffic.received > 0);
});

t.test('connections that are cut and a Redis that is away are survived', async (t) => {
  const server = await startRedis(t);
  const [a, b] = [openBus(t, server), openBus(t, server)];
  await heardBy(a.bus, 'one', b.heard);
  await server.clientKill('pubsub');
  await server.clientKill('normal');
  await heardBy(a.bus, 'two', b.heard);
  await server.kill();
  for (let index = 0; index < 100; index++) a.bus.publish('lost');
  await server.start();
  await heardBy(a.bus, 'three', b.heard);
  t.notOk(b.heard.includes('lost'), 'what could not leave is not kept');
});

t.test('a subscription that fails when it is made again ends nothing', async (t) => {
  const server = await startRedis(t);
  const proxy = await startRefusingProxy(t, server.port);
  const a = openBus(t, { url: `redis://127.0.0.1:${proxy.port}` });
  await heardBy(a.bus, 'one', a.heard);
  proxy.judge = (command) => (/\r\nsubscribe\r\n/i.test(String(command)) ? 'LOADING it is' : null);
  await server.clientKill('pubsub');
  await eventually('it was refused', () => proxy.refused > 0);
  proxy.judge = () => null;
  await server.clientKill('normal');
  await heardBy(a.bus, 'two', a.heard);
});

t.test('what is no message of ours harms nobody', async (t) => {
  const server = await startRedis(t);
  const [a, b] = [openBus(t, server), openBus(t, server)];
  await heardBy(a.bus, 'one', b.heard);
  const [channel] = (await server.command('PUBSUB', 'CHANNELS')) as string[];
  for (const garbage of ['', 'x', '{}', '\u00c1', '\u0081', '\u00ff\u00ff', '\u0092\u0001']) {
    await server.command('PUBLISH', channel!, garbage);
  }
  await heardBy(a.bus, 'two', b.heard);
  t.same(
    b.heard.filter((payload) => payload !== 'one' && payload !== 'two'),
    [],
  );
});

t.test('without Redis it stays in the process; it closes also where nobody answers', async (t) => {
  const alone = openBus(t, null);
  await heardBy(alone.bus, 'one', alone.heard);
  const server = await startRedis(t);
  const stuck = openBus(t, server);
  await heardBy(stuck.bus, 'one', stuck.heard);
  server.pause();
  await stuck.bus.close((delayMs, run) => systemClock.after(delayMs, run));
  stuck.bus.publish('nothing');
  server.resume();
  const never = openBus(t, server);
  await never.bus.close((delayMs, run) => systemClock.after(delayMs, run));
});
