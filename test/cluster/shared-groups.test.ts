// Bar: a group of shared subscriptions on three nodes. Shares are even, a topic keeps its member while that lives, and
// nothing that was acknowledged is lost whoever is killed; at QoS 2 nothing comes twice, to whichever members.

import t, { type Test } from 'tap';
import { none, PATIENCE_MS, scale, WIDE_QUEUES } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, describe, readPayload } from '../helpers/history.ts';
import { MqttClient, type Qos, type Received } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(PATIENCE_MS);

const MEMBERS = 8;
const MESSAGES = scale(200_000, 12_000);
const KILLS = scale(10, 3);
const CONFIG = `${WIDE_QUEUES}cluster:\n  lease: 1s\n  renewEvery: 200ms\nsharedSubscriptions:\n  groups:\n    topics:\n      strategy: hash-by-topic\n`;

/** What all of them got, as one receiver. */
class Group {
  readonly members: MqttClient[] = [];
  readonly received: Received[] = [];

  add(member: MqttClient): void {
    this.members.push(member);
    member.onReceived = (message) => this.received.push(message);
  }
}

async function join(t: Test, nodes: SwarmqNode[], name: string, filter: string, qos: Qos): Promise<Group> {
  const group = new Group();
  for (let index = 0; index < MEMBERS; index++) {
    const member = new MqttClient(t, { clientId: `${name}-${index}`, clean: index % 2 === 0 });
    group.add(member);
    await member.connect(nodes[index % nodes.length]!.port);
    await member.subscribe(filter, qos);
  }
  return group;
}

async function publisherAt(t: Test, node: SwarmqNode, clientId: string): Promise<MqttClient> {
  const publisher = new MqttClient(t, { clientId, clean: false });
  await publisher.connect(node.port);
  return publisher;
}

t.test('eight members on three nodes', async (t) => {
  const redis = await startRedis(t, { appendonly: true });
  const nodes = await startNodes(t, 3, {
    ...{ redis: redis.url, config: CONFIG, readyWithinMs: 120_000 },
  });
  const [a, b, c] = nodes as [SwarmqNode, SwarmqNode, SwarmqNode];

  await t.test('shares are even', async (t) => {
    const group = await join(t, nodes, 'even', '$share/g/even/#', 1);
    const streams: StreamPublisher[] = [];
    for (const [index, node] of nodes.entries()) {
      const publisher = await publisherAt(t, node, `even-publisher-${index}`);
      const count = Math.round(MESSAGES / 6);
      streams.push(
        new StreamPublisher(publisher, { publisher: `e${index}`, topic: 'even/x', qos: 1, count }).start(),
      );
    }
    const logs = await Promise.all(streams.map((stream) => stream.completed()));
    const verdict = await awaitDelivery(group, logs);
    t.comment(describe(verdict));
    none(t, 'acknowledged and lost', verdict.lost);
    none(t, 'given twice', verdict.doubled);
    const shares = group.members.map(({ received }) => received.length);
    const fair = group.received.length / MEMBERS;
    t.comment(`shares ${shares.join(' ')}`);
    t.ok(
      shares.every((share) => Math.abs(share - fair) <= fair * 0.05),
      'within 5 % of each other',
    );
    for (const member of group.members) await member.disconnect();
  });

  await t.test('a topic keeps its member while that lives, and its order', async (t) => {
    const topics = 40;
    const group = await join(t, nodes, 'keyed', '$share/topics/keyed/+', 1);
    const publisher = await publisherAt(t, a, 'keyed-publisher');
    const stream = new StreamPublisher(publisher, {
      publisher: 'k',
      topic: (seq) => `keyed/${seq % topics}`,
      qos: 1,
      count: MESSAGES / 4,
      ratePerSecond: 4000,
    }).start();
    await eventually('half of it came', () => group.received.length > MESSAGES / 8, 60_000);
    const dead = group.members[2]!;
    const deadTopics = new Set(dead.received.map(({ topic }) => topic));
    dead.cut();
    const log = await stream.completed();
    const verdict = await awaitDelivery(group, [log]);
    none(t, 'acknowledged and lost', verdict.lost);
    for (const member of group.members) {
      const highest = new Map<string, number>();
      for (const { topic, payload, dup } of member.received) {
        if (deadTopics.has(topic) || dup) continue;
        const { seq } = readPayload(payload);
        if (seq < (highest.get(topic) ?? -1)) t.fail(`${topic}: ${seq} behind ${highest.get(topic)}`);
        highest.set(topic, seq);
      }
    }
    const homes = new Map<string, Set<string>>();
    for (const { options, received } of group.members) {
      for (const { topic } of received) {
        homes.set(topic, (homes.get(topic) ?? new Set()).add(options.clientId));
      }
    }
    const moved = [...homes].filter(([topic, at]) => at.size > 1 && !deadTopics.has(topic));
    t.same(moved, [], 'only topics of the one that died have moved');
    t.ok(deadTopics.size > 0 && deadTopics.size < topics / 2, `it had ${deadTopics.size} topics`);
  });

  for (const qos of [1, 2] as const) {
    await t.test(`members and their nodes are killed, QoS ${qos}`, async (t) => {
      const name = `kill${qos}`;
      const group = new Group();
      const homes = [b, c];
      for (let index = 0; index < MEMBERS; index++) {
        // What a client may have seen at QoS 2 ends with its session: there all of them come back.
        const clean = qos === 1 && index % 2 === 0;
        const member = new MqttClient(t, { clientId: `${name}-${index}`, clean });
        group.add(member);
        const ports = () => (index < 2 ? [a.port] : homes.map(({ port }) => port));
        const join = (): void => {
          if (clean || member.connections.length === 1) {
            member.subscribe(`$share/${name}/${name}/#`, qos).catch(() => {});
          }
        };
        const roaming = keepConnected(member, ports, join);
        await roaming.connected();
        t.teardown(() => roaming.stop());
      }
      const watch = new MqttClient(t, { clientId: `${name}-last` });
      await watch.connect(a.port);
      await watch.subscribe(`$share/${name}/other`, qos);
      const streams = await Promise.all(
        [0, 1].map(async (index) => {
          const publisher = await publisherAt(t, a, `${name}-publisher-${index}`);
          return new StreamPublisher(publisher, {
            publisher: `${name}p${index}`,
            topic: (seq) => `${name}/${seq % 16}`,
            qos,
            count: MESSAGES / 2,
            ratePerSecond: 1500,
          }).start();
        }),
      );
      const sent = () => streams.reduce((sum, { log }) => sum + log.acked, 0);
      for (let kill = 1; kill <= KILLS; kill++) {
        const due = Math.floor((MESSAGES * kill) / (KILLS + 1));
        await eventually(`${due} acknowledged`, () => sent() >= due, 120_000);
        const home = homes[kill % 2]!;
        await home.sigkill();
        group.members[kill % 2]!.cut();
        await home.start();
      }
      const logs = await Promise.all(streams.map((stream) => stream.completed(240_000)));
      const verdict = await awaitDelivery(group, logs, {}, 60_000);
      t.comment(describe(verdict));
      none(t, 'acknowledged and lost', verdict.lost);
      none(t, 'never sent', verdict.unknown);
      if (qos === 2) none(t, 'given twice', verdict.doubled);
    });
  }
});
