// The limits on what one client may send, each exceeded on a running node: the client is told so, the metric rises, and a
// bystander on the same node notices nothing.

import mqtt from 'mqtt-packet';
import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { ConnectRefused, MqttClient } from '../helpers/mqtt-client.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(120_000);

const CONFIG = `
limits:
  maxPacketSize: 4KB
  maxTopicLength: 64
  maxTopicLevels: 5
  maxClientIdLength: 23
  maxSubscriptionsPerSession: 3
  maxInflightMessages: 4
  receiveMaximum: 5
  topicAliasMaximum: 2
  maxKeepAlive: 2s
  maxSessionExpiry: 10s
`;

let node: SwarmqNode;
let bystander: MqttClient;
let rounds = 0;

t.before(async () => {
  node = await startNode(t, { config: CONFIG });
  bystander = new MqttClient(t, { clientId: 'bystander', version: 5 });
  await bystander.connect(node.port);
  await bystander.subscribe('by/#', 1);
});

t.afterEach(async () => {
  // By its payload: what a test has published may still be on its way to the bystander.
  const payload = `round ${++rounds}`;
  await bystander.publish('by/stander', payload, { qos: 1 });
  await eventually('the bystander is served', () =>
    bystander.received.some((message) => message.payload.toString() === payload),
  );
});

const rejections = async (limit: string) =>
  (await node.metric('swarmq_limit_rejections_total', `limit="${limit}"`)) ?? 0;

/** Runs `exceed` and asserts that the limit was counted `times` more. */
async function counted(t: Test, limit: string, times: number, exceed: () => Promise<void>): Promise<void> {
  const before = await rejections(limit);
  await exceed();
  await eventually(`${limit} is counted`, async () => (await rejections(limit)) >= before + times);
  t.equal(await rejections(limit), before + times, `${limit} is counted`);
}

async function connected(
  t: Test,
  version: 3 | 4 | 5,
  options: Partial<ConstructorParameters<typeof MqttClient>[1]> = {},
): Promise<MqttClient> {
  const client = new MqttClient(t, { clientId: `client-${version}`, version, ...options });
  await client.connect(node.port);
  return client;
}

/** The end of the client's connection, and the reason code that came with it. */
async function closedWith(client: MqttClient): Promise<number | undefined> {
  await eventually('the connection is closed', () => !client.isConnected);
  return client.connections.at(-1)!.disconnectCode;
}

t.test('packet size', async (t) => {
  for (const version of [5, 4] as const) {
    const client = await connected(t, version);
    if (version === 5) t.equal(client.connack?.properties?.maximumPacketSize, 4096, 'CONNACK tells it');
    await client.publish('by/large', 'x'.repeat(4000), { qos: 1 });
    await counted(t, 'packet_size', 1, async () => {
      // The length alone is enough: nothing of the packet is waited for.
      client.sendBytes(Buffer.from([0x30, 0x80, 0x80, 0x80, 0x01]));
      t.equal(await closedWith(client), version === 5 ? 0x95 : undefined);
    });
  }
});

t.test('length and levels of topics', async (t) => {
  const long = 'x'.repeat(65);
  const deep = '1/2/3/4/5/6';
  for (const [topic, limit] of [
    [long, 'topic_length'],
    [deep, 'topic_levels'],
  ] as const) {
    const subscriber = await connected(t, 5, { clientId: 's5' });
    const old = await connected(t, 4, { clientId: 's4' });
    await counted(t, limit, 2, async () => {
      t.same(await subscriber.subscribe([topic, 'fine'], 1), [0x8f, 1], 'the other filter is granted');
      t.same(await old.subscribe([topic, 'fine'], 1), [0x80, 1]);
    });
    await counted(t, limit, 1, async () => {
      t.same(await subscriber.unsubscribe([topic, 'fine']), [0x8f, 0]);
    });
    for (const version of [5, 4] as const) {
      const publisher = await connected(t, version);
      await counted(t, limit, 1, async () => {
        publisher.publishThen(topic, 'x', { qos: 1 }, () => {});
        t.equal(await closedWith(publisher), version === 5 ? 0x90 : undefined);
      });
    }
    await counted(t, limit, 1, async () => {
      const will = { topic, payload: Buffer.from('x'), qos: 0 as const, retain: false };
      await t.rejects(connected(t, 5, { clientId: 'w', will }), { code: 0x90 });
    });
  }
  const edge = await connected(t, 5, { clientId: 'edge' });
  t.same(await edge.subscribe(['x'.repeat(64), '1/2/3/4/5'], 1), [1, 1], 'what is within is granted');
});

t.test('length of client ids', async (t) => {
  for (const [version, code] of [
    [5, 0x85],
    [4, 2],
    [3, 2],
  ] as const) {
    await counted(t, 'client_id_length', 1, async () => {
      const error = await connected(t, version, { clientId: 'x'.repeat(24) }).catch(
        (cause: unknown) => cause,
      );
      t.ok(error instanceof ConnectRefused && error.code === code, `MQTT ${version}: ${String(error)}`);
    });
  }
  // Bytes are counted, not characters.
  await t.rejects(connected(t, 5, { clientId: 'ä'.repeat(12) }), { code: 0x85 });
  await connected(t, 5, { clientId: 'x'.repeat(23) });
});

t.test('subscriptions of a session', async (t) => {
  const client = await connected(t, 5, { clean: false });
  t.same(await client.subscribe(['1', '2'], 1), [1, 1]);
  await counted(t, 'subscriptions_per_session', 1, async () => {
    t.same(await client.subscribe(['3', '4', '1'], 1), [1, 0x97, 1], 'one it has is granted again');
  });
  await client.unsubscribe('1');
  t.same(await client.subscribe('4', 1), [1], 'there is room again');
  await client.disconnect();
  await client.connect(node.port);
  t.same(await client.subscribe('5', 1), [0x97], 'those of the stored session count');
  await counted(t, 'subscriptions_per_session', 2, async () => {
    t.same(await client.subscribe(['a', '2', 'b', '3', '4'], 0), [0x97, 0, 0x97, 0, 0], 'filter by filter');
  });
  t.same(await client.unsubscribe(['a', '2', 'b', '3', '4']), [0x11, 0, 0x11, 0, 0]);
  const old = await connected(t, 4);
  t.same(await old.subscribe(['1', '2', '3', '4'], 0), [0, 0, 0, 0x80]);
  t.same(await old.subscribe(['4'], 0), [0x80]);
  await old.unsubscribe(['1', '2', '3', '4']);
  t.ok(old.isConnected && client.isConnected, 'the connection stays');
});

t.test('the in-flight window', async (t) => {
  for (const clean of [true, false]) {
    for (const [receiveMaximum, expected] of [
      [undefined, 4],
      [2, 2],
    ] as const) {
      const subscriber = new MqttClient(t, {
        clientId: `window-${clean}-${expected}`,
        version: 5,
        clean,
        acks: 'manual',
        properties: receiveMaximum === undefined ? {} : { receiveMaximum },
      });
      await subscriber.connect(node.port);
      const topic = `window/${clean}/${expected}`;
      await subscriber.subscribe(topic, 2);
      for (let index = 0; index < 10; index++) await bystander.publish(topic, `${index}`, { qos: 1 });
      await eventually('the window is full', () => subscriber.received.length >= expected);
      await subscriber.subscribe('barrier', 0);
      t.equal(subscriber.received.length, expected, 'and no more than that is sent');
      for (let index = 0; index < 10; index++) {
        await eventually('the next comes with an ack', () => subscriber.received.length > index);
        subscriber.ack(subscriber.received[index]!);
      }
      t.same(
        subscriber.received.map(({ payload }) => payload.toString()),
        [...'0123456789'],
      );
      subscriber.cut();
    }
  }
});

t.test('Receive Maximum of the node', async (t) => {
  const client = await connected(t, 5);
  t.equal(client.serverReceiveMaximum, 5, 'CONNACK tells it');
  const packets = Array.from({ length: 6 }, (_none, index) =>
    mqtt.generate(
      {
        cmd: 'publish',
        topic: 'by/burst',
        payload: 'x',
        qos: 2,
        messageId: index + 1,
        dup: false,
        retain: false,
      },
      { protocolVersion: 5 },
    ),
  );
  // PUBREC comes, and no PUBREL goes: all of them stay open.
  client.onPacket = (packet) => packet.cmd === 'pubrec';
  await counted(t, 'receive_maximum', 1, async () => {
    client.sendBytes(Buffer.concat(packets));
    t.equal(await closedWith(client), 0x93);
  });
});

t.test('topic aliases', async (t) => {
  const client = await connected(t, 5);
  t.equal(client.connack?.properties?.topicAliasMaximum, 2);
  await client.publish('by/alias', 'x', { qos: 1, properties: { topicAlias: 2 } });
  await client.publish('', 'x', { qos: 1, properties: { topicAlias: 2 } });
  await counted(t, 'topic_alias', 1, async () => {
    client.publishThen('by/alias', 'x', { qos: 1, properties: { topicAlias: 3 } }, () => {});
    t.equal(await closedWith(client), 0x94);
  });
});

t.test('keep-alive', async (t) => {
  for (const keepAliveSeconds of [0, 60]) {
    const client = await connected(t, 5, { keepAliveSeconds });
    t.equal(client.connack?.properties?.serverKeepAlive, 2, `${keepAliveSeconds} s are more than allowed`);
    client.cut();
  }
  const shorter = await connected(t, 5, { keepAliveSeconds: 1 });
  t.equal(shorter.connack?.properties?.serverKeepAlive, undefined);
  // It asks for a second and keeps silent from now on.
  shorter.send = () => {};
  const since = performance.now();
  t.equal(await closedWith(shorter), 0x8d, 'a silent client is told why it goes');
  const waited = performance.now() - since;
  t.ok(waited > 1200 && waited < 4000, `after one and a half times as long: ${waited.toFixed(0)} ms`);
});

t.test('session expiry', async (t) => {
  const client = await connected(t, 5, { clean: false, sessionExpirySeconds: 3600 });
  t.equal(client.connack?.properties?.sessionExpiryInterval, 10, 'CONNACK tells what is granted');
  client.cut();
  const less = await connected(t, 5, { clean: false, sessionExpirySeconds: 5 });
  t.equal(less.connack?.properties?.sessionExpiryInterval, undefined);
});
