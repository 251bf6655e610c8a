// What MQTT 5 clients are told: reason strings and who gets none, Response Information, and the server to go to instead.

import t, { type Test } from 'tap';
import { type ControlPacket, generatePacket, parsePacket } from '../../src/mqtt/codec.ts';
import { Framer } from '../../src/mqtt/framer.ts';
import { type Bench, type MemoryStream, openBench } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';

type Policy = Parameters<typeof openBench>[2];

async function bench(test: Test, policy: Policy = {}): Promise<Bench> {
  const made = await openBench({}, undefined, policy);
  test.teardown(() => made.close());
  return made;
}

const CONNECT = { cmd: 'connect', clientId: 'c1', clean: true, keepalive: 0 };

function connect(made: Bench, version: 3 | 4 | 5, properties: object = {}): MemoryStream {
  const stream = made.connect();
  const protocolId = version === 3 ? 'MQIsdp' : 'MQTT';
  const packet = { ...CONNECT, protocolId, protocolVersion: version, properties };
  stream.feed(generatePacket(packet as ControlPacket, version));
  return stream;
}

/** All packets written so far. */
// biome-ignore lint/suspicious/noExplicitAny: packets of any type are compared by their fields
function packetsOf(stream: MemoryStream): any[] {
  const packets: ControlPacket[] = [];
  const framer = new Framer(
    { onPacket: (buf, start, _body, end) => void packets.push(parsePacket(5, buf.subarray(start, end))) },
    Number.POSITIVE_INFINITY,
  );
  framer.push(Buffer.from(stream.output));
  return packets;
}

async function untilPackets(stream: MemoryStream, count: number) {
  await eventually(`${count} packets`, () => packetsOf(stream).length >= count);
  return packetsOf(stream);
}

t.test('answers that refuse say why, unless the client asked for no problem information', async (test) => {
  const made = await bench(test);
  const bad = Buffer.from('820a0001000003612f2300820a', 'hex');
  for (const wants of [true, false]) {
    const stream = connect(made, 5, wants ? {} : { requestProblemInformation: false });
    await untilPackets(stream, 1);
    const subscribe = { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#/a', qos: 0 }] };
    stream.feed(generatePacket(subscribe as ControlPacket, 5));
    stream.feed(
      generatePacket({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a/#/b'] } as ControlPacket, 5),
    );
    stream.feed(bad.subarray(0, 2));
    stream.feed(Buffer.from('0000', 'hex'));
    stream.feed(Buffer.alloc(8));
    const [, suback, unsuback, disconnect] = await untilPackets(stream, 4);
    test.match(suback, { cmd: 'suback', granted: [0x8f] });
    test.match(unsuback, { cmd: 'unsuback', granted: [0x8f] });
    test.match(disconnect, { cmd: 'disconnect', reasonCode: 0x82 });
    for (const packet of [suback, unsuback, disconnect]) {
      test.equal(typeof packet.properties?.reasonString, wants ? 'string' : 'undefined', packet.cmd);
    }
    if (wants) test.match(disconnect.properties.reasonString, /packet identifier 0/);
    await eventually('closed', () => stream.isClosed);
  }
});

t.test('a reason string that makes an answer larger than the client takes is left out', async (test) => {
  const made = await bench(test);
  const stream = connect(made, 5, { maximumPacketSize: 40 });
  await untilPackets(stream, 1);
  const subscribe = { cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '#/a', qos: 0 }] };
  stream.feed(generatePacket(subscribe as ControlPacket, 5));
  await untilPackets(stream, 2);
  stream.feed(Buffer.from('c00100', 'hex'));
  const [, suback, disconnect] = await untilPackets(stream, 3);
  test.same([suback.granted, suback.properties?.reasonString], [[0x8f], undefined]);
  test.same([disconnect.reasonCode, disconnect.properties?.reasonString], [0x81, undefined]);
});

t.test('Response Information for who asks', async (test) => {
  const made = await bench(test, { responseInformation: 'replies/here' });
  const asks = connect(made, 5, { requestResponseInformation: true });
  const [told] = await untilPackets(asks, 1);
  test.equal(told.properties.responseInformation, 'replies/here');
  asks.hangUp();
  const doesNot = connect(made, 5);
  const [untold] = await untilPackets(doesNot, 1);
  test.equal(untold.properties.responseInformation, undefined);
});

t.test('a node that redirects', async (test) => {
  const serverReference = 'other.example:1883';
  for (const [redirect, code] of [
    ['temporary', 0x9c],
    ['permanent', 0x9d],
  ] as const) {
    const made = await bench(test, { redirect, serverReference });
    const five = connect(made, 5);
    await eventually('closed', () => five.isClosed);
    test.match(packetsOf(five), [{ cmd: 'connack', reasonCode: code, properties: { serverReference } }]);
    const four = connect(made, 4);
    await eventually('closed', () => four.isClosed);
    test.equal(four.output.toString('hex'), '20020003', 'server unavailable');
    test.same(made.log, []);
  }
});

t.test('a node that stops names the server to go to, also to a client that is connecting', async (test) => {
  const serverReference = 'other.example:1883';
  const made = await bench(test, { serverReference });
  const open = connect(made, 5);
  await untilPackets(open, 1);
  made.sessions.gate = new Promise(() => {});
  const waiting = connect(made, 5);
  const old = connect(made, 4);
  await eventually('claims', () => made.sessions.claims.length === 3);
  await made.connections.closeAll(0x9c);
  test.match(packetsOf(open).slice(1), [
    { cmd: 'disconnect', reasonCode: 0x9c, properties: { serverReference } },
  ]);
  test.match(packetsOf(waiting), [{ cmd: 'connack', reasonCode: 0x9c, properties: { serverReference } }]);
  test.equal(old.output.toString('hex'), '20020003');
});

t.test('without a server to go to it says that it stops', async (test) => {
  const made = await bench(test);
  const open = connect(made, 5);
  await untilPackets(open, 1);
  made.sessions.gate = new Promise(() => {});
  const waiting = connect(made, 5);
  await eventually('claims', () => made.sessions.claims.length === 2);
  await made.connections.closeAll(0x8b);
  const [, disconnect] = packetsOf(open);
  test.match(disconnect, { cmd: 'disconnect', reasonCode: 0x8b });
  test.equal(disconnect.properties.serverReference, undefined);
  test.match(packetsOf(waiting), [
    {
      cmd: 'connack',
      reasonCode: 0x88, // 0x8B is none of CONNACK's
      properties: { reasonString: 'the node stops: connect to another one' },
    },
  ]);
});

t.test('a will that is not the text it is said to be', async (test) => {
  const will = {
    topic: 'w',
    payload: Buffer.of(0xff),
    qos: 0,
    retain: false,
    properties: { payloadFormatIndicator: true },
  };
  for (const [checkPayloadFormat, code] of [
    [true, 0x99],
    [false, 0],
  ] as const) {
    const made = await bench(test, { checkPayloadFormat });
    const stream = made.connect();
    stream.feed(generatePacket({ ...CONNECT, protocolVersion: 5, will } as ControlPacket, 5));
    const [connack] = await untilPackets(stream, 1);
    test.equal(connack.reasonCode, code);
  }
});
