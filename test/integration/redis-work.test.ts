// What a message costs Redis, in commands (also those within scripts) and bytes, counted by the server itself: it does not
// grow with the other sessions and their filters, with the queue's length, with the nodes, nor, for each receiver, with
// the fan-out. Messages go one at a time here, so nothing is shared by a batch: this is the most that one can cost. The
// figures are those of docs/performance.md; no time is measured.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { makeSessions } from '../helpers/session-maker.ts';
import { startNodes } from '../helpers/swarmq-node.ts';
import { makeRedisNode } from './redis-world.ts';

t.setTimeout(240_000);

/** What nodes do beside messages happens seldom. */
const CONFIG = 'cluster:\n  lease: 60s\n  renewEvery: 20s\n  sweepEvery: 60s\n';
const MESSAGES = 50;
const PAYLOAD = Buffer.alloc(64);
/** Of this test, and the waiting for inbox entries, which a node repeats every second. */
const UNCOUNTED = new Set(['info', 'xread']);

interface Work {
  /** All commands, with those that scripts call. */
  readonly commands: number;
  readonly scripts: number;
  /** To Redis. */
  readonly bytes: number;
}

async function counters(redis: RedisServer): Promise<Work> {
  let [commands, scripts] = [0, 0];
  for (const [name, value] of await redis.info('commandstats')) {
    const command = name.replace('cmdstat_', '');
    const calls = Number(/^calls=(\d+)/.exec(value)?.[1] ?? 0);
    if (command === 'evalsha') scripts += calls;
    if (!UNCOUNTED.has(command)) commands += calls;
  }
  const stats = await redis.info('stats');
  return { commands, scripts, bytes: Number(stats.get('total_net_input_bytes')) };
}

/** What each of `count` runs costs. */
async function workOf(redis: RedisServer, count: number, run: () => Promise<void>): Promise<Work> {
  await run();
  const before = await counters(redis);
  for (let index = 0; index < count; index++) await run();
  const after = await counters(redis);
  return {
    commands: (after.commands - before.commands) / count,
    scripts: (after.scripts - before.scripts) / count,
    bytes: (after.bytes - before.bytes) / count,
  };
}

class World {
  readonly redis: RedisServer;
  readonly ports: number[];
  readonly publisher: MqttClient;
  readonly subscriber: MqttClient;
  #owed = 0;

  static async open(t: Test, nodes: number): Promise<World> {
    const redis = await startRedis(t);
    const started = await startNodes(t, nodes, { redis: redis.url, config: CONFIG });
    const world = new World(
      t,
      redis,
      started.map(({ port }) => port),
    );
    await world.publisher.connect(world.ports[0]!);
    await world.subscriber.connect(world.ports[1]!);
    for (const qos of [0, 1, 2] as const) await world.subscriber.subscribe(`to/one/${qos}`, qos);
    return world;
  }

  private constructor(t: Test, redis: RedisServer, ports: number[]) {
    this.redis = redis;
    this.ports = ports;
    this.publisher = new MqttClient(t, { clientId: 'publisher', clean: false });
    this.subscriber = new MqttClient(t, { clientId: 'subscriber', clean: false });
  }

  work(count: number, run: () => Promise<void>): Promise<Work> {
    return workOf(this.redis, count, run);
  }

  /** From a session on one node to a session on another, acknowledged by both. */
  online(qos: Qos): Promise<Work> {
    return this.work(MESSAGES, async () => {
      await this.publisher.publish(`to/one/${qos}`, PAYLOAD, { qos });
      this.#owed++;
      await this.arrived();
    });
  }

  /** To sessions that are away. */
  away(topic: string, count = MESSAGES): Promise<Work> {
    return this.work(count, async () => {
      await this.publisher.publish(topic, PAYLOAD, { qos: 1 });
      if (topic === 'to/one/1') this.#owed++;
    });
  }

  /** The subscriber has all that it was sent. */
  async arrived(): Promise<void> {
    await eventually('all arrives', () => this.subscriber.received.length === this.#owed);
  }
}

function costs(t: Test, what: string, work: Work, most: Work): void {
  const { commands, scripts, bytes } = work;
  t.comment(
    `${what}: ${commands.toFixed(1)} commands, ${scripts.toFixed(2)} scripts, ${bytes.toFixed(0)} bytes`,
  );
  t.ok(
    commands <= most.commands && scripts <= most.scripts && bytes <= most.bytes,
    `${what} costs at most ${most.commands} commands, ${most.scripts} scripts, ${most.bytes} bytes`,
  );
}

/** Not more than it was, but for what a node does now and then. */
function isFlat(t: Test, what: string, work: Work, base: Work): void {
  const most = {
    commands: base.commands * 1.15 + 0.5,
    scripts: base.scripts * 1.15 + 0.1,
    bytes: base.bytes * 1.2,
  };
  costs(t, what, work, {
    commands: Math.round(most.commands * 10) / 10,
    scripts: Math.round(most.scripts * 100) / 100,
    bytes: Math.round(most.bytes),
  });
}

t.test('what a message costs, whatever else there is', async (t) => {
  const world = await World.open(t, 2);
  costs(t, 'QoS 0 to a session on another node', await world.online(0), {
    commands: 17,
    scripts: 2.2,
    bytes: 700,
  });
  const one = await world.online(1);
  costs(t, 'QoS 1 to a session on another node', one, { commands: 30, scripts: 3.4, bytes: 1550 });
  costs(t, 'QoS 2 to a session on another node', await world.online(2), {
    commands: 54,
    scripts: 7.2,
    bytes: 3050,
  });
  costs(t, 'QoS 1 that nobody gets', await world.away('to/nobody'), {
    commands: 0.5,
    scripts: 0.1,
    bytes: 50,
  });

  await world.subscriber.disconnect();
  const away = await world.away('to/one/1');
  costs(t, 'QoS 1 to a session that is away', away, { commands: 8, scripts: 1.1, bytes: 500 });
  await world.away('to/one/1', 1500);
  isFlat(t, 'the same with 1,550 in its queue', await world.away('to/one/1'), away);
  await world.subscriber.connect(world.ports[1]!);
  await world.arrived();

  const fans = { ports: world.ports, qos: 1 } as const;
  await makeSessions({ ...fans, count: 100, clientId: (i) => `few-${i}`, filters: () => ['to/few'] });
  await makeSessions({
    ...fans,
    ...{ count: 500, clientId: (i: number) => `many-${i}` },
    filters: (index) => ['to/many', `of/${index}/+`, `of/${index}/+/#`],
  });
  isFlat(t, 'QoS 1, with 600 sessions and 1,600 filters beside', await world.online(1), one);
  const few = await world.away('to/few', 10);
  const many = await world.away('to/many', 10);
  const each = (work: Work, receivers: number) => ({
    commands: work.commands / receivers,
    scripts: work.scripts / receivers,
    bytes: work.bytes / receivers,
  });
  costs(t, 'each of 100 receivers', each(few, 100), { commands: 3.7, scripts: 0.1, bytes: 180 });
  isFlat(t, 'each of 500 receivers', each(many, 500), each(few, 100));

  // Reading retained messages for a wildcard looks into all their shards.
  const comer = new MqttClient(t, { clientId: 'comer', clean: false });
  const come = await world.work(MESSAGES, async () => {
    await comer.connect(world.ports[1]!);
    await comer.subscribe('comes/+/back', 1);
    await comer.disconnect();
  });
  const most = { commands: 155, scripts: 10.6, bytes: 7000 };
  costs(t, 'who comes back, subscribes with a wildcard and goes', come, most);

  const wide = await World.open(t, 4);
  isFlat(t, 'QoS 1, with two nodes more', await wide.online(1), one);
});

t.test('a look at what is due, where nothing is', async (t) => {
  const redis = await startRedis(t);
  const { store } = await makeRedisNode(t, redis.url);
  const looks = {
    'due sessions': () => store.dueSessions(10),
    'messages of ended sessions': () => store.orphanedClients(10),
    'left wills': () => store.leftWills(0, 10),
  };
  for (const [what, look] of Object.entries(looks)) {
    const work = await workOf(redis, MESSAGES, async () => {
      t.same(await look(), []);
    });
    costs(t, `a look for ${what}`, work, { commands: 20, scripts: 0.5, bytes: 20_000 });
  }
});

t.test('claims that come together', async (t) => {
  const redis = await startRedis(t);
  const node = await makeRedisNode(t, redis.url);
  const names = Array.from({ length: 16 }, (_none, index) => `c${index}`);
  const work = await workOf(redis, MESSAGES, async () => {
    await Promise.all(names.map((name) => node.claim(name)));
  });
  costs(t, 'sixteen claims', work, { commands: 16 * 12, scripts: 2, bytes: 20_000 });
});
