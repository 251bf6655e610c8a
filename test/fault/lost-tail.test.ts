// A store that is older than what clients have seen of it: an append-only file cut by a moment, masters that follow each
// other with what they have. What was acknowledged in the lost tail is gone; but no packet identifier that a client still
// holds for a lost message is given to another one, which at QoS 2 the client would take for a repetition.

import { readdirSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient, type Received } from '../helpers/mqtt-client.ts';
import { startProxy } from '../helpers/net-proxy.ts';
import type { Owner } from '../helpers/owner.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const CONFIG = 'cluster:\n  lease: 1500ms\n  renewEvery: 300ms\n  sweepEvery: 200ms\n';

/** The subscriber of QoS 2 whose PUBRECs and PUBCOMPs the test chooses; it goes on at one node, then at the other. */
class Holder {
  readonly client: MqttClient;
  readonly #publisher: MqttClient;
  readonly #ports: readonly number[];
  #visits = 0;

  constructor(owner: Owner, ports: readonly number[]) {
    this.#ports = ports;
    this.client = new MqttClient(owner, { clientId: 'holder', version: 5, clean: false, acks: 'manual' });
    this.#publisher = new MqttClient(owner, { clientId: 'publisher', version: 5 });
  }

  /** Goes to the other node; the publisher to the one that was left. */
  async move(): Promise<void> {
    for (const client of [this.client, this.#publisher]) {
      client.cut();
      const port = this.#ports[this.#visits++ % 2]!;
      await eventually(`${client.options.clientId} connects`, () =>
        client.connect(port, { withinMs: 15_000 }),
      );
    }
    this.#visits++;
    await this.client.subscribe('t', 2);
  }

  /** Publishes messages that are acknowledged, and waits until the subscriber has them. */
  async publish(label: string, count: number): Promise<Received[]> {
    const texts = Array.from({ length: count }, (_none, at) => `${label}-${at}`);
    await Promise.all(texts.map((text) => this.#publisher.publish('t', text, { qos: 2 })));
    const come = () => this.client.received.filter(({ payload }) => texts.includes(payload.toString()));
    const seen = () => new Set(come().map(({ payload }) => payload.toString())).size;
    await eventually(`${label} comes`, () => seen() === count, 20_000);
    return come();
  }

  /** Sends PUBREC for these, without knowing whether anybody hears it. */
  receive(messages: readonly Received[]): void {
    for (const message of messages) this.client.ack(message);
  }
}

/** Each packet identifier stands for one message, over all connections. */
function judgeIds(t: Test, received: readonly Received[]): void {
  const texts = new Map<number, string>();
  const twice: string[] = [];
  for (const { packetId, payload } of received) {
    const text = payload.toString();
    const before = texts.get(packetId) ?? text;
    if (before !== text) twice.push(`${packetId}: ${before}, ${text}`);
    texts.set(packetId, text);
  }
  t.same(twice, [], 'no packet identifier for two messages');
}

/** The append-only file that the server writes to, as it is now, and how to go back to that. */
function rememberFile(redis: RedisServer): () => void {
  const folder = join(redis.folder, 'appendonlydir');
  const file = join(folder, readdirSync(folder).find((name) => name.endsWith('.incr.aof'))!);
  const bytes = statSync(file).size;
  return () => truncateSync(file, bytes);
}

t.test('interleaving 6: Redis restarts on an append-only file without its last moment', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const nodes = await startNodes(t, 2, { redis: redis.url, config: CONFIG });
  const holder = new Holder(
    t,
    nodes.map(({ port }) => port),
  );
  await holder.move();
  const kept = await holder.publish('kept', 5);
  const cut = rememberFile(redis);
  holder.receive(await holder.publish('lost', 30));
  await redis.kill();
  cut();
  await redis.start();
  // Its PUBRECs were for nothing that the store knows: it holds those identifiers on.
  await holder.move();
  holder.receive(kept);
  await holder.publish('after', 30);
  await holder.move();
  await holder.publish('later', 30);
  judgeIds(t, holder.client.received);
  t.ok(
    holder.client.connections.every(({ sessionPresent }, at) => at === 0 || sessionPresent),
    'session present',
  );
});

t.test(
  'interleaving 6, twice: what was given out behind the first loss is lost with the second',
  async (t) => {
    const redis = await startRedis(t, { appendonly: true });
    const nodes = await startNodes(t, 2, { redis: redis.url, config: CONFIG });
    const holder = new Holder(
      t,
      nodes.map(({ port }) => port),
    );
    await holder.move();
    holder.receive(await holder.publish('kept', 5));
    const cut = rememberFile(redis);
    for (const label of ['lost', 'lost-too', 'lost-again']) {
      holder.receive(await holder.publish(label, 30));
      await redis.kill();
      cut();
      await redis.start();
    }
    // To the connection that has seen all of them, by a node that knows numbers which the store has forgotten.
    await holder.publish('after', 30);
    await holder.move();
    await holder.publish('later', 30);
    judgeIds(t, holder.client.received);
  },
);

/** Makes a server take over everything from another one, and stand by itself then. */
async function follow(server: RedisServer, leader: RedisServer): Promise<void> {
  await server.command('REPLICAOF', '127.0.0.1', leader.port);
  await caughtUp(leader);
}

async function caughtUp(leader: RedisServer): Promise<void> {
  await eventually('the replica has everything', async () => {
    const info = await leader.info('replication');
    return info.get('slave0')?.includes(`offset=${info.get('master_repl_offset')}`);
  });
}

t.test('interleaving 25: from A to B and back to A, each without the tail of the other', async (t) => {
  const a = await startRedis(t);
  const b = await startRedis(t, { replicaOf: a });
  const proxy = await startProxy(t, a.port);
  const nodes = await startNodes(t, 2, { redis: `redis://127.0.0.1:${proxy.port}`, config: CONFIG });
  const holder = new Holder(
    t,
    nodes.map(({ port }) => port),
  );
  await holder.move();
  const promote = async (leader: RedisServer) => {
    proxy.targetPort = leader.port;
    proxy.cut();
    await holder.move();
  };
  await caughtUp(a);
  await b.command('REPLICAOF', 'NO', 'ONE');
  // Received, and lost with A: the client waits for PUBRELs that nobody will send.
  holder.receive(await holder.publish('only-a', 40));
  await promote(b);
  const both = await holder.publish('both', 3);
  await follow(a, b);
  await a.command('REPLICAOF', 'NO', 'ONE');
  holder.receive(await holder.publish('only-b', 40));
  await promote(a);
  holder.receive(both);
  await holder.publish('after', 60);
  await promote(b);
  await holder.publish('again', 60);
  judgeIds(t, holder.client.received);
});
