// What MQTT 5 gives to clients of running nodes, on the embedded store and on two nodes with Redis, where every
// connection of a client goes to the other node: Receive Maximum, Maximum Packet Size, topic aliases, expiry, properties.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient, type Received } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNodes } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const CONFIG = `
limits:
  receiveMaximum: 4
  maxQueuedMessages: 20
  maxInflightMessages: 2
  queueFullPolicy: reject
connection:
  topicAliasMaximum: 3
  checkPayloadFormat: true
`;

type Options = Partial<ConstructorParameters<typeof MqttClient>[1]>;

/** Nodes, and clients whose connections go to one after the other. */
class Bed {
  readonly nodes: SwarmqNode[];
  #turn = 0;
  constructor(nodes: SwarmqNode[]) {
    this.nodes = nodes;
  }

  get port(): number {
    return this.nodes[this.#turn++ % this.nodes.length]!.port;
  }

  async client(t: Test, clientId: string, options: Options = {}): Promise<MqttClient> {
    const client = new MqttClient(t, { clientId, version: 5, ...options });
    await client.connect(this.port);
    return client;
  }

  async dropped(reason: string): Promise<number> {
    let total = 0;
    for (const node of this.nodes) {
      total += (await node.metric('swarmq_messages_dropped_total', `reason="${reason}"`)) ?? 0;
    }
    return total;
  }
}

const payloads = (client: MqttClient) => client.received.map(({ payload }) => String(payload));
/** What came through its queue. */
const queued = (client: MqttClient) => client.received.filter(({ qos }) => qos > 0);
const userProperties = (message: Received) => message.properties?.userProperties;

function scenarios(t: Test, bed: Bed): void {
  t.test('Receive Maximum of the node counts QoS 1 and 2 together, anew on each connection', async (t) => {
    const client = await bed.client(t, 'quota', { clean: false, acks: 'never' });
    t.equal(client.connack?.properties?.receiveMaximum, 4);
    // PUBREC comes, and no PUBREL goes.
    let received = 0;
    let completed = 0;
    client.onPacket = (packet) => {
      if (packet.cmd === 'pubrec') received++;
      if (packet.cmd === 'pubcomp') completed++;
      return packet.cmd === 'pubrec';
    };
    const publish = (qos: 1 | 2) => client.publishThen('quota/x', 'x', { qos }, () => {});
    for (let index = 0; index < 4; index++) publish(2);
    await eventually('all are there', () => received === 4);
    client.cut();
    const forgotten = [...client.outgoing.keys()];
    client.outgoing.clear();
    await client.connect(bed.port);
    for (let index = 0; index < 3; index++) publish(2);
    t.equal(
      await client.publish('quota/x', 'x', { qos: 1 }),
      0x10,
      'what an earlier connection left does not count',
    );
    for (const messageId of forgotten) client.send({ cmd: 'pubrel', messageId });
    await eventually('the old exchanges end', () => completed === 4);
    publish(2);
    publish(2);
    await eventually('taken', () => received === 9);
    t.ok(client.isConnected, 'each end of an old exchange made room for a new one');
    for (let index = 0; index < 8; index++) publish(index % 2 === 0 ? 1 : 2);
    await eventually('too many', () => !client.isConnected);
    t.equal(client.connections.at(-1)!.disconnectCode, 0x93);
  });

  t.test('a refused QoS 2 message frees its packet identifier at once', async (t) => {
    const away = await bed.client(t, 'full', { clean: false });
    await away.subscribe('full/#', 2);
    await away.disconnect();
    const publisher = await bed.client(t, 'filler', { clean: false });
    for (let index = 0; index < 20; index++) {
      t.equal(await publisher.publish('full/x', `m${index}`, { qos: 2 }), 0);
    }
    let refusals = 0;
    publisher.onPacket = (packet) => {
      if (packet.cmd !== 'pubrec') return undefined;
      t.equal(packet.reasonCode, 0x97);
      t.type(packet.properties?.reasonString, 'string', 'it says why');
      refusals++;
      // Again with the same identifier, in the same turn.
      if (refusals < 5) publisher.send({ ...packetOf(packet.messageId!) });
      return true;
    };
    const packetOf = (messageId: number) => ({
      cmd: 'publish' as const,
      topic: 'full/x',
      payload: `again ${refusals}`,
      qos: 2 as const,
      messageId,
      dup: false,
      retain: false,
    });
    publisher.send(packetOf(77));
    await eventually('each is answered', () => refusals === 5);
    await away.connect(bed.port);
    await eventually('what was taken arrives', () => away.received.length === 20);
    t.notOk(payloads(away).some((payload) => payload.startsWith('again')));
  });

  t.test('Receive Maximum of the client holds on every node', async (t) => {
    const options: Options = { clean: false, acks: 'manual', properties: { receiveMaximum: 1 } };
    const client = await bed.client(t, 'slow', options);
    await client.subscribe('slow/#', 1);
    const publisher = await bed.client(t, 'slow-publisher');
    for (let index = 0; index < 3; index++) await publisher.publish('slow/x', `m${index}`, { qos: 1 });
    await eventually('the first', () => queued(client).length === 1);
    client.cut();
    await client.connect(bed.port);
    await eventually('the first again', () => queued(client).length === 2);
    await eventually('QoS 0 is not held up', async () => {
      await publisher.publish('slow/y', 'other', { qos: 0 });
      return client.received.length > 2;
    });
    const [first, again] = queued(client) as [Received, Received];
    t.same([String(again.payload), again.dup, again.packetId], ['m0', true, first.packetId]);
    client.ack(again);
    await eventually('the next', () => queued(client).length === 3);
    client.ack(queued(client)[2]!);
    await eventually('the last', () => queued(client).length === 4);
    t.same(
      queued(client).map(({ payload }) => String(payload)),
      ['m0', 'm0', 'm1', 'm2'],
    );
  });

  t.test('a message too large for the client is dropped as if delivered, and counted', async (t) => {
    const before = await bed.dropped('client_packet_size');
    const client = await bed.client(t, 'small', { clean: false, properties: { maximumPacketSize: 60 } });
    await client.subscribe('small/#', 2);
    const publisher = await bed.client(t, 'small-publisher');
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish('small/x', 'x'.repeat(100), { qos });
      await publisher.publish('small/x', `m${qos}`, { qos });
    }
    await eventually('what is small enough', () => client.received.length === 3);
    t.same(payloads(client), ['m0', 'm1', 'm2']);
    await eventually('counted', async () => (await bed.dropped('client_packet_size')) === before + 3);
    client.cut();
    await client.connect(bed.port);
    await publisher.publish('small/x', 'last', { qos: 1 });
    await eventually('nothing of it is left', () => payloads(client).includes('last'));
    t.equal(client.received.length, 4);
  });

  t.test('topic aliases towards the client, at any QoS, beside clients without', async (t) => {
    const options: Options = { clean: false, properties: { topicAliasMaximum: 2 } };
    const client = await bed.client(t, 'alias', options);
    const plain = await bed.client(t, 'plain');
    const old = await bed.client(t, 'old', { version: 4 });
    for (const one of [client, plain, old]) await one.subscribe('alias/#', 2);
    const publisher = await bed.client(t, 'alias-publisher');
    const round = async () => {
      for (const qos of [0, 1, 2] as const) {
        await publisher.publish('alias/first', `a${qos}`, { qos });
        await publisher.publish('alias/second', `b${qos}`, { qos });
      }
    };
    await round();
    const seen = () => client.received.map(({ topic, properties }) => [topic, properties?.topicAlias]);
    await eventually('all', () => [client, plain, old].every(({ received }) => received.length === 6));
    const whole = [
      ['alias/first', 1],
      ['alias/second', 2],
    ];
    // QoS 0 may overtake what goes through the queue, so only the numbers tell the topics apart.
    t.same(seen().slice(0, 2), whole);
    const others = client.received.slice(2).filter(({ qos }) => qos < 2);
    t.ok(others.every(({ topic }) => topic === ''));
    for (const { topic, payload, qos, properties } of client.received) {
      const alias = String(payload)[0] === 'a' ? 1 : 2;
      t.equal(properties?.topicAlias, qos === 2 ? undefined : alias, `${topic} ${payload}`);
      if (qos === 2) t.equal(topic, whole[alias - 1]![0], 'QoS 2 carries its topic');
    }
    t.ok(plain.received.every(({ topic, properties }) => topic !== '' && !properties?.topicAlias));
    t.ok(old.received.every(({ topic }) => topic !== ''));
    await publisher.publish('alias/third', 'c', { qos: 0 });
    await publisher.publish('alias/first', 'a', { qos: 0 });
    await eventually('both', () => client.received.length === 8);
    t.same(seen().slice(6), [
      ['alias/third', 1],
      ['alias/first', 2],
    ]);
    client.cut();
    await client.connect(bed.port);
    client.received.length = 0;
    await round();
    // Those of QoS 0 may be missing: other nodes hear of the connection a moment later.
    await eventually('the queued ones again', () => queued(client).length === 4);
    const firsts = new Map<number | undefined, string>();
    for (const { topic, properties } of client.received) {
      if (properties?.topicAlias && !firsts.has(properties.topicAlias))
        firsts.set(properties?.topicAlias, topic);
    }
    t.same(
      [...firsts].map(String).sort(),
      whole.map(([topic, alias]) => `${alias},${topic}`),
      'another connection knows no aliases',
    );
  });

  t.test('overlapping subscriptions: one message, all identifiers, the highest QoS', async (t) => {
    const client = await bed.client(t, 'overlap', { clean: false });
    await client.subscribe('over/+/x', { qos: 1, identifier: 7 });
    await client.subscribe('over/#', { qos: 2, identifier: 300_000 });
    await client.subscribe('over/lap/x', { qos: 0 });
    client.cut();
    const publisher = await bed.client(t, 'overlap-publisher');
    t.equal(await publisher.publish('over/lap/x', 'm', { qos: 2 }), 0);
    await client.connect(bed.port);
    // A connection that goes on with a session is known to other nodes a moment later, at QoS 0.
    await eventually('both', async () => {
      await publisher.publish('over/lap/x', 'live', { qos: 0 });
      return client.received.length >= 2;
    });
    for (const { payload, qos, properties } of client.received) {
      t.equal(qos, String(payload) === 'm' ? 2 : 0);
      t.same([properties?.subscriptionIdentifier].flat().sort(), [300_000, 7]);
    }
  });

  t.test('expiry is counted down in the queue, and over in it', async (t) => {
    const client = await bed.client(t, 'expiry', { clean: false });
    await client.subscribe('exp/#', 1);
    client.cut();
    const publisher = await bed.client(t, 'expiry-publisher');
    const send = (payload: string, messageExpiryInterval: number) =>
      publisher.publish('exp/x', payload, { qos: 1, properties: { messageExpiryInterval } });
    await send('short', 1);
    await send('long', 100);
    await new Promise((resolve) => setTimeout(resolve, 2100));
    await client.connect(bed.port);
    await eventually('the long one', () => client.received.length === 1);
    const [long] = client.received;
    t.equal(String(long!.payload), 'long');
    const left = long!.properties!.messageExpiryInterval!;
    t.ok(left >= 90 && left <= 98, `${left} s are left`);
  });

  t.test('user properties keep order and repetitions, those of a will too', async (t) => {
    const client = await bed.client(t, 'props', { clean: false });
    await client.subscribe('props/#', 1);
    const properties = {
      userProperties: { b: ['1', '2'], a: '3', __proto__: null } as unknown as Record<string, string[]>,
      contentType: 'text/plain',
      responseTopic: 'answers/to',
      correlationData: Buffer.from('0102', 'hex'),
      payloadFormatIndicator: true,
    };
    const will = {
      topic: 'props/will',
      payload: Buffer.from('w'),
      qos: 1 as const,
      retain: false,
      properties,
    };
    const publisher = await bed.client(t, 'props-publisher', {
      will,
      properties: { userProperties: { who: 'me' } },
    });
    await publisher.publish('props/x', 'm', { qos: 1, properties });
    publisher.cut();
    await eventually('both', () => client.received.length === 2);
    for (const message of client.received) {
      t.match(message.properties, { contentType: 'text/plain', responseTopic: 'answers/to' });
      t.same(message.properties?.correlationData, properties.correlationData);
      t.same({ ...userProperties(message) }, { b: ['1', '2'], a: '3' });
    }
  });

  t.test('payloads that are said to be UTF-8', async (t) => {
    const client = await bed.client(t, 'format');
    await client.subscribe('format/#', 2);
    const broken = Buffer.of(0x61, 0xff);
    const properties = { payloadFormatIndicator: true };
    for (const qos of [1, 2] as const) {
      t.equal(await client.publish('format/x', broken, { qos, properties }), 0x99);
      t.equal(await client.publish('format/x', 'ü', { qos, properties }), 0);
      t.equal(await client.publish('format/x', broken, { qos }), 0, 'not said, not looked at');
    }
    await client.publish('format/x', broken, { qos: 0, properties });
    await client.publish('format/x', 'last', { qos: 0 });
    await eventually('all', () => client.received.some(({ payload }) => String(payload) === 'last'));
    await eventually('all', () => client.received.length === 5);
  });

  t.test('session expiry changed at DISCONNECT', async (t) => {
    const client = await bed.client(t, 'leaver', { clean: true });
    client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 10 } });
    await eventually('closed', () => !client.isConnected);
    t.equal(client.connections[0]!.disconnectCode, 0x82, 'it was 0 before');
    const keeper = await bed.client(t, 'keeper', { clean: false });
    await keeper.subscribe('keep/x', 1);
    // Nothing answers DISCONNECT: who is at once at another node may be there before the end is known in the store.
    await eventually('the session ends with its connection', async () => {
      await keeper.disconnect({ sessionExpirySeconds: 0 });
      return !(await keeper.connect(bed.port)).sessionPresent;
    });
  });

  t.test('PUBACK and PUBREC tell that nobody matched', async (t) => {
    const client = await bed.client(t, 'lonely');
    const codes: (number | undefined)[] = [];
    client.onPacket = (packet) => {
      if (packet.cmd === 'puback' || packet.cmd === 'pubrec') codes.push(packet.reasonCode);
      return undefined;
    };
    await client.publish('nobody/here', 'x', { qos: 1 });
    await client.publish('nobody/here', 'x', { qos: 2 });
    await client.subscribe('nobody/#', 0);
    await client.publish('nobody/here', 'x', { qos: 1 });
    t.same(codes, [0x10, 0x10, 0]);
  });
}

t.test('one node, embedded store', async (t) => {
  scenarios(t, new Bed(await startNodes(t, 1, { config: CONFIG })));
});

t.test('two nodes, Redis', async (t) => {
  const redis = await startRedis(t);
  scenarios(t, new Bed(await startNodes(t, 2, { config: CONFIG, redis: redis.url })));
});

t.test('a node that stops sends its clients to the server of the reference', async (t) => {
  const serverReference = 'other.example:1883';
  const [node] = await startNodes(t, 1, { config: `connection: { serverReference: '${serverReference}' }` });
  const client = new MqttClient(t, { clientId: 'sent-away', version: 5 });
  await client.connect(node!.port);
  const told: unknown[] = [];
  client.onPacket = (packet) => {
    if (packet.cmd === 'disconnect') told.push(packet.reasonCode, packet.properties?.serverReference);
    return undefined;
  };
  t.equal(await node!.stop(), 0);
  await eventually('closed', () => !client.isConnected);
  t.same(told, [0x9c, serverReference]);
});
