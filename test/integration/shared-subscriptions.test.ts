// Shared subscriptions on the wire: one member gets each message, whichever store and nodes there are [MQTT5-4.8.2].

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(240_000);

const FAST = 'cluster:\n  lease: 1s\n  renewEvery: 200ms\n';

type Clients = readonly MqttClient[];
const total = (clients: Clients) => clients.reduce((sum, { received }) => sum + received.length, 0);
const texts = (clients: Clients) =>
  clients.flatMap(({ received }) => received.map(({ payload }) => payload.toString())).sort();
const numbers = (count: number, from = 0) =>
  Array.from({ length: count }, (_none, index) => String(from + index)).sort();

async function quiet(clients: Clients, count: number): Promise<void> {
  await eventually(`${count} messages, ${total(clients)} so far`, () => total(clients) >= count);
  await new Promise((resolve) => setTimeout(resolve, 100));
}

async function suite(t: Test, nodes: SwarmqNode[]): Promise<void> {
  const nodeAt = (index: number) => nodes[index % nodes.length]!.port;

  for (const version of [4, 5] as const) {
    for (const clean of [true, false]) {
      for (const qos of [0, 1, 2] as const) {
        await t.test(`MQTT ${version}, clean ${clean}, QoS ${qos}`, async (t) => {
          const name = `v${version}c${clean}q${qos}`;
          const members = [0, 1, 2].map(
            (i) => new MqttClient(t, { clientId: `${name}-${i}`, version, clean }),
          );
          for (const [i, member] of members.entries()) {
            await member.connect(nodeAt(i));
            t.same(await member.subscribe(`$share/g/${name}/+`, qos), [qos]);
          }
          const other = new MqttClient(t, { clientId: `${name}-other`, version });
          await other.connect(nodeAt(1));
          await other.subscribe(`${name}/#`, qos);
          const publisher = new MqttClient(t, { clientId: `${name}-p`, version });
          await publisher.connect(nodeAt(0));
          for (let n = 0; n < 30; n++) await publisher.publish(`${name}/${n % 4}`, String(n), { qos });
          await quiet(members, 30);
          t.same(texts(members), numbers(30), 'each once');
          t.same(
            members.map(({ received }) => received.length),
            [10, 10, 10],
            'in turn',
          );
          await quiet([other], 30);
          t.equal(other.received.length, 30);
          for (const one of [...members, other, publisher]) await one.disconnect();
        });
      }
    }
  }

  await t.test('members that are away are passed over while another is there', async (t) => {
    const members = [0, 1].map((i) => new MqttClient(t, { clientId: `away-${i}`, clean: false }));
    for (const [i, member] of members.entries()) {
      await member.connect(nodeAt(i));
      await member.subscribe('$share/g/away', 1);
    }
    const publisher = new MqttClient(t, { clientId: 'away-p' });
    await publisher.connect(nodeAt(2));
    await members[0]!.disconnect();
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (let n = 0; n < 10; n++) await publisher.publish('away', String(n), { qos: 1 });
    await quiet(members, 10);
    t.same(
      members.map(({ received }) => received.length),
      [0, 10],
    );
    await members[1]!.disconnect();
    await new Promise((resolve) => setTimeout(resolve, 300));
    for (let n = 10; n < 20; n++) await publisher.publish('away', String(n), { qos: 1 });
    for (const [i, member] of members.entries()) {
      const { sessionPresent } = await member.connect(nodeAt(i + 1));
      t.ok(sessionPresent);
    }
    await quiet(members, 20);
    t.same(texts(members), numbers(20), 'what came while all were away waited');
    for (let n = 20; n < 26; n++) await publisher.publish('away', String(n), { qos: 1 });
    await quiet(members, 26);
    t.equal(total(members), 26, 'a resumed session is a member still');
  });

  for (const clean of [true, false]) {
    await t.test(`what a session leaves goes to another member, clean ${clean}`, async (t) => {
      const name = `left${clean}`;
      const holder = new MqttClient(t, { clientId: `${name}-holder`, clean, acks: 'never' });
      await holder.connect(nodeAt(0));
      await holder.subscribe(`$share/g/${name}`, 1);
      const publisher = new MqttClient(t, { clientId: `${name}-p` });
      await publisher.connect(nodeAt(1));
      for (let n = 0; n < 300; n++) void publisher.publish(name, String(n), { qos: 1 });
      await eventually('the window is full', () => holder.received.length === 128);
      await eventually('all acknowledged', () => publisher.outgoing.size === 0);
      const heir = new MqttClient(t, { clientId: `${name}-heir` });
      await heir.connect(nodeAt(2));
      await heir.subscribe(`$share/g/${name}`, 1);
      if (clean) holder.cut();
      else {
        await holder.disconnect();
        await holder.connect(nodeAt(1), { clean: true });
      }
      await quiet([heir], 300);
      t.same(texts([heir]), numbers(300));
    });
  }
}

t.test('two nodes on Redis', async (t) => {
  const redis = await startRedis(t);
  await suite(t, await startNodes(t, 2, { redis: redis.url, config: FAST }));
});

t.test('the embedded store', async (t) => {
  await suite(t, [await startNode(t, { config: FAST })]);
});
