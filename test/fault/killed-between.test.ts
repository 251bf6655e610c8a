// Rows of the table of failures that random kills meet seldom: the node ends, or freezes, between commit and ack, in the
// middle of a resume, between a claim and everything that follows from it; and nobody comes who would make it good.

import t, { type Test } from 'tap';
import type { StopPoint } from '../../src/util/stop-point.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient, type Qos, type Received } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { frozen, type Stop, startStoppingNode } from '../helpers/stop-at.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(300_000);

const LEASE_MS = 1500;
const CONFIG = `cluster:
  lease: ${LEASE_MS}ms
  renewEvery: 300ms
  sweepEvery: 200ms
  reconcileEvery: 1h
limits:
  maxPullBytes: 64KB
`;
/** What the guarantees allow, and as much again for a machine that does other things. */
const PATIENCE_MS = 2 * (LEASE_MS + 2000);

let redis: Awaited<ReturnType<typeof startRedis>>;
let other: SwarmqNode;
let victims = 0;
// Most of it is waiting for a lease to end.
t.jobs = 4;
const ASIDE = { buffered: true };
const startVictim = (t: Test, stop: Stop) =>
  startStoppingNode(t, stop, { redis: redis.url, config: CONFIG, name: `victim-${++victims}` });

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
  other = await startNode(t, { redis: redis.url, config: CONFIG, name: 'other' });
});

const texts = (received: readonly Received[]) =>
  received.filter(({ isRepeat }) => !isRepeat).map(({ payload }) => payload.toString('latin1', 0, 8).trim());

async function connected(t: Test, clientId: string, filter: string, qos: Qos): Promise<MqttClient> {
  const client = new MqttClient(t, { clientId, version: 5, clean: false });
  await client.connect(other.port);
  await client.subscribe(filter, qos);
  return client;
}

for (const point of ['publish/enqueued', 'publish/committed'] as const) {
  for (const qos of [1, 2] as const) {
    t.test(
      `between commit and ack, and nothing more is published: ${point}, QoS ${qos}`,
      ASIDE,
      async (t) => {
        const name = `${point.replace('/', '-')}-${qos}`;
        const receiver = await connected(t, `${name}-receiver`, name, qos);
        const victim = await startVictim(t, { point });
        const publisher = new MqttClient(t, { clientId: `${name}-publisher`, version: 5, clean: false });
        await publisher.connect(victim.port);
        const answered = publisher.publish(name, 'only', { qos });
        await victim.ended();
        const diedAt = performance.now();
        await eventually('it comes all the same', () => receiver.received.length > 0, PATIENCE_MS);
        const after = receiver.received[0]!.at - diedAt;
        t.comment(`${after.toFixed(0)} ms after the death, lease ${LEASE_MS} ms`);
        t.equal(publisher.outgoing.size, 1, 'it was not acknowledged');
        await publisher.connect(other.port);
        t.ok((await answered) < 0x80, 'the repetition is');
        await publisher.publish(name, 'next', { qos });
        await eventually('the next one comes', () => texts(receiver.received).includes('next'));
        const expected = qos === 2 ? ['only', 'next'] : ['only', 'only', 'next'];
        t.same(texts(receiver.received), expected, 'at QoS 2 once');
      },
    );
  }
}

for (const acks of ['never', 'auto'] as const) {
  for (const qos of [1, 2] as const) {
    t.test(`in the middle of a resume: QoS ${qos}, acknowledged ${acks}`, ASIDE, async (t) => {
      const name = `resume-${acks}-${qos}`;
      const client = new MqttClient(t, { clientId: name, version: 5, clean: false, acks });
      await client.connect(other.port);
      await client.subscribe(name, qos);
      await client.disconnect();
      const publisher = new MqttClient(t, { clientId: `${name}-publisher` });
      await publisher.connect(other.port);
      const sent = Array.from({ length: 30 }, (_none, seq) => `m${seq}`);
      await Promise.all(sent.map((text) => publisher.publish(name, text.padEnd(10_000), { qos })));

      // A pull brings six of them.
      const victim = await startVictim(t, { point: 'resume/pulled', nth: 3 });
      await client.connect(victim.port);
      await victim.ended();
      await eventually('the client knows', () => !client.isConnected);
      const before = [...client.received];
      t.ok(before.length > 0 && before.length < sent.length, `${before.length} had come`);
      await client.connect(other.port);
      t.ok(client.connections.at(-1)!.sessionPresent, 'session present');
      await eventually('all come', () => new Set(texts(client.received)).size === sent.length);
      const again = client.received.slice(before.length);
      const ids = new Map(again.map(({ payload, packetId }) => [payload.toString(), packetId]));
      const repeated = before.filter(({ payload }) => ids.has(payload.toString()));
      t.ok(
        repeated.every(({ payload, packetId }) => ids.get(payload.toString()) === packetId),
        `${repeated.length} came again, under the same packet identifiers`,
      );
      t.ok(
        again.every(({ dup, payload }) => dup || !repeated.some((one) => one.payload.equals(payload))),
        'with DUP',
      );
      if (acks === 'never') t.equal(repeated.length, before.length, 'the whole window comes again');
      const fresh = texts(again);
      t.same(fresh, sent.slice(-fresh.length), 'in order, to the end');
      if (qos === 2 && acks === 'auto') t.same(texts(client.received), sent, 'each once');
    });
  }
}

const CLAIM_POINTS: readonly StopPoint[] = ['claim/done', 'claim/noticed', 'connect/before-connack'];
for (const [version, point] of CLAIM_POINTS.flatMap((one) =>
  [4, 5].map((version) => [version, one] as const),
)) {
  t.test(`in a takeover, and the client does not come back: ${point}, MQTT ${version}`, ASIDE, async (t) => {
    const name = `takeover-${point.replace('/', '-')}-${version}`;
    const options = { clientId: name, version: version as 4 | 5, clean: false } as const;
    const client = new MqttClient(t, options);
    await client.connect(other.port);
    await client.subscribe(name, 1);
    const victim = await startVictim(t, { point });
    const successor = new MqttClient(t, options);
    const refused = t.rejects(successor.connect(victim.port), 'no CONNACK leaves');
    await victim.ended();
    const diedAt = performance.now();
    await refused;
    await eventually('the old connection ends', () => !client.isConnected, PATIENCE_MS);
    t.comment(`${(client.connections[0]!.closedAt! - diedAt).toFixed(0)} ms after the death`);
    if (version === 5) t.equal(client.connections[0]!.disconnectCode, 0x8e, 'session taken over');
    const publisher = new MqttClient(t, { clientId: `${name}-publisher` });
    await publisher.connect(other.port);
    await publisher.publish(name, 'meanwhile', { qos: 1 });
    await successor.connect(other.port);
    t.ok(successor.connections[0]!.sessionPresent, 'the session is there');
    await eventually('and what was queued', () => successor.received.length === 1);
  });
}

t.test('frozen before the enqueues while its publisher goes on elsewhere', ASIDE, async (t) => {
  const receiver = await connected(t, 'frozen-receiver', 'frozen', 2);
  const victim = await startVictim(t, { point: 'publish/recorded', action: 'pause' });
  const publisher = new MqttClient(t, { clientId: 'frozen-publisher', version: 5, clean: false });
  await publisher.connect(victim.port);
  const first = publisher.publish('frozen', 'first', { qos: 2 });
  await frozen(victim);
  publisher.leaveOpen();
  await publisher.connect(other.port, { withinMs: PATIENCE_MS });
  t.equal(await first, 0, 'the repetition is acknowledged');
  await publisher.publish('frozen', 'second', { qos: 2 });
  victim.sigcont();
  // It finds its tombstone, or its claim gone; what it had prepared is refused either way.
  const late = new MqttClient(t, { clientId: 'frozen-late' });
  await eventually('the thawed node serves', () => late.connect(victim.port), 20_000);
  await late.publish('frozen', 'third', { qos: 2 });
  await eventually('all come', () => texts(receiver.received).includes('third'));
  t.same(texts(receiver.received), ['first', 'second', 'third'], 'each once');
});

t.test('frozen with a claim that it has not told of', ASIDE, async (t) => {
  const client = await connected(t, 'frozen-claim', 'claim', 1);
  const old = client.leaveOpen();
  const victim = await startVictim(t, { point: 'claim/done', action: 'pause' });
  await t.rejects(client.connect(victim.port, { withinMs: 500 }), 'no CONNACK leaves');
  await frozen(victim);
  await client.connect(other.port, { withinMs: PATIENCE_MS });
  await eventually('the oldest connection is closed', () => old.closedAt !== undefined);
  victim.sigcont();
  const publisher = new MqttClient(t, { clientId: 'claim-publisher' });
  await eventually('the thawed node serves', () => publisher.connect(victim.port), 20_000);
  await publisher.publish('claim', 'x', { qos: 1 });
  await eventually('the session is served where it is', () => client.received.length === 1);
  t.ok(client.isConnected, 'and was not taken back');
});
