// CONNECT and CONNACK: what is refused with which code, what is agreed on, and what the session and its will get.

import t, { type Test } from 'tap';
import type { ConnectionLimits } from '../../src/connection/ports.ts';
import { type ControlPacket, generatePacket, parsePacket } from '../../src/mqtt/codec.ts';
import { BodyView } from '../../src/mqtt/message.ts';
import type { ProtocolVersion } from '../../src/session/link.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import { type Bench, type MemoryStream, openBench } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';

type Connack = Extract<ControlPacket, { cmd: 'connack' }>;

async function bench(test: Test, ...options: Parameters<typeof openBench>): Promise<Bench> {
  const made = await openBench(...options);
  test.teardown(() => made.close());
  return made;
}

/** CONNECT by hand: what mqtt-packet would not write must be sent too. */
function connectBytes(
  level: number,
  options: {
    name?: string;
    flags?: number;
    keepAlive?: number;
    props?: string;
    clientId?: string;
    rest?: string;
  },
): Buffer {
  const { name = level === 3 || level === 0x83 ? 'MQIsdp' : 'MQTT', flags = 2, keepAlive = 0 } = options;
  const field = (text: string) => Buffer.concat([Buffer.of(0, Buffer.byteLength(text)), Buffer.from(text)]);
  const props = Buffer.from(options.props ?? '', 'hex');
  const body = Buffer.concat([
    field(name),
    Buffer.of(level, flags, keepAlive >> 8, keepAlive & 255),
    (level & 127) >= 5 ? Buffer.of(props.length) : Buffer.alloc(0),
    props,
    field(options.clientId ?? 'c1'),
    Buffer.from(options.rest ?? '', 'hex'),
  ]);
  return Buffer.concat([Buffer.of(0x10, body.length), body]);
}

async function answerTo(made: Bench, bytes: Buffer): Promise<MemoryStream> {
  const stream = made.connect();
  stream.feed(bytes);
  await eventually('an answer or the end', () => stream.writes.length > 0 || stream.isClosed);
  return stream;
}

async function connackOf(made: Bench, version: ProtocolVersion, packet: object): Promise<Connack> {
  const connect = {
    cmd: 'connect',
    protocolVersion: version,
    clientId: 'c1',
    clean: true,
    keepalive: 0,
    ...packet,
  };
  const stream = await answerTo(made, generatePacket(connect as ControlPacket, version));
  return parsePacket(version, stream.output) as Connack;
}

/** The CONNACK of MQTT 5 that refuses with these words, in hex. */
function refusal(code: number, text: string): string {
  const words = Buffer.concat([Buffer.of(0x1f, 0, text.length), Buffer.from(text)]);
  return Buffer.concat([Buffer.of(0x20, words.length + 3, 0, code, words.length), words]).toString('hex');
}

const NO_ID = 'the client id is not allowed here';
const NO_TOPIC = 'not a topic name, or longer or deeper than allowed';
const BROKEN = 'a packet is malformed: ';
const FORBIDDEN = 'a packet breaks the protocol: ';

// Name, CONNECT, CONNACK in hex ('' for none).
const REFUSED: readonly (readonly [string, Buffer, string])[] = [
  ['no client id, 3.1', connectBytes(3, { clientId: '' }), '20020002'],
  ['no client id for a session to keep, 3.1.1', connectBytes(4, { flags: 0, clientId: '' }), '20020002'],
  ['client id too long, 3.1.1', connectBytes(4, { clientId: 'x'.repeat(65) }), '20020002'],
  ['client id too long, 5', connectBytes(5, { clientId: 'ü'.repeat(33) }), refusal(0x85, NO_ID)],
  ['level 2', connectBytes(2, {}), '20020001'],
  ['level 6', connectBytes(6, {}), refusal(0x84, 'MQTT 3.1, 3.1.1 and 5 are spoken here')],
  ['another protocol', connectBytes(4, { name: 'HTTP' }), ''],
  ['reserved flag, 3.1.1', connectBytes(4, { flags: 3 }), ''],
  [
    'reserved flag, 5',
    connectBytes(5, { flags: 3 }),
    refusal(0x81, `${BROKEN}reserved connect flag is set [MQTT-3.1.2-3]`),
  ],
  [
    'cut off, 5',
    connectBytes(5, { clientId: 'x' }).fill(9, 14, 15),
    refusal(0x81, `${BROKEN}client identifier cut off`),
  ],
  ['properties cut off', connectBytes(5, {}).fill(99, 12, 13), refusal(0x81, `${BROKEN}properties cut off`)],
  [
    'will QoS 3',
    connectBytes(5, { flags: 0x1e, rest: '00' + '0001770000' }),
    refusal(0x81, `${BROKEN}will QoS 3 [MQTT-3.1.2-14]`),
  ],
  [
    'wildcard in the will topic, 5',
    connectBytes(5, { flags: 6, rest: '00' + '00012b0000' }),
    refusal(0x90, NO_TOPIC),
  ],
  [
    'a will that is not the text it is said to be',
    connectBytes(5, { flags: 6, rest: '020101' + '0001770001ff' }),
    refusal(0x99, 'the payload is not UTF-8 as its format indicator says'),
  ],
  ['wildcard in the will topic, 3.1.1', connectBytes(4, { flags: 6, rest: '00012b0000' }), ''],
  ['password without user name, 3.1.1', connectBytes(4, { flags: 0x42, rest: '000170' }), ''],
  [
    'receive maximum 0',
    connectBytes(5, { props: '210000' }),
    refusal(0x82, `${FORBIDDEN}property 0x21 is 0`),
  ],
  [
    'a property twice',
    connectBytes(5, { props: '11000000011100000001' }),
    refusal(0x82, `${FORBIDDEN}property 0x11 twice`),
  ],
  [
    'a method that is not offered',
    connectBytes(5, { props: '150001' + '41' }),
    refusal(0x8c, 'this authentication method is not offered'),
  ],
  [
    'authentication data without method',
    connectBytes(5, { props: '16000141' }),
    refusal(0x82, `${FORBIDDEN}authentication data without a method [MQTT5-3.1.2.11.10]`),
  ],
];

t.test('what is refused', async (test) => {
  const made = await bench(test, {}, undefined, { checkPayloadFormat: true });
  for (const [name, bytes, expected] of REFUSED) {
    const stream = await answerTo(made, bytes);
    test.equal(stream.output.toString('hex'), expected, name);
    await eventually(`${name}: closed`, () => stream.isClosed);
  }
  test.same(made.log, [], 'no session was claimed');
});

t.test('a refusal has no words for who wants none, or where they would not fit', async (test) => {
  const made = await bench(test);
  const long = 'x'.repeat(65);
  const cases: [string, Buffer, string][] = [
    ['no problem information: client id', connectBytes(5, { props: '1700', clientId: long }), '2003008500'],
    ['level 6', connectBytes(6, { props: '1700' }), '2003008400'],
    ['reserved flag', connectBytes(5, { flags: 3, props: '1700' }), '2003008100'],
    ['behind what is twice', connectBytes(5, { props: '11000000011100000001' + '1700' }), '2003008200'],
    ['receive maximum 0', connectBytes(5, { props: '210000' + '1700' }), '2003008200'],
    ['will topic', connectBytes(5, { flags: 6, props: '1700', rest: '00' + '00012b0000' }), '2003009000'],
    ['a method that is not offered', connectBytes(5, { props: '170015000141' }), '2003008c00'],
    ['no room: client id', connectBytes(5, { props: '2700000005', clientId: long }), '2003008500'],
    ['no room at all', connectBytes(5, { props: '2700000004', clientId: long }), ''],
    ['reserved flag, no room', connectBytes(5, { flags: 3, props: '2700000005' }), '2003008100'],
    ['a maximum of 0 is none', connectBytes(5, { props: '1700' + '2700000000' }), '2003008200'],
  ];
  for (const [name, bytes, expected] of cases) {
    const stream = await answerTo(made, bytes);
    test.equal(stream.output.toString('hex'), expected, name);
    await eventually(`${name}: closed`, () => stream.isClosed);
  }
});

t.test('what is accepted', async (test) => {
  const made = await bench(test);
  const cases: [string, Buffer, string][] = [
    ['3.1', connectBytes(3, {}), '20020000'],
    ['3.1.1', connectBytes(4, {}), '20020000'],
    ['no client id, 3.1.1', connectBytes(4, { clientId: '' }), '20020000'],
    ['a bridge, 3.1.1', connectBytes(0x84, {}), '20020000'],
    ['a bridge, 3.1', connectBytes(0x83, {}), '20020000'],
    ['user name and password', connectBytes(4, { flags: 0xc2, rest: '0001750000' }), '20020000'],
    ['password without user name, 5', connectBytes(5, { flags: 0x42, rest: '0000' }), ''],
  ];
  for (const [name, bytes, expected] of cases) {
    const stream = await answerTo(made, bytes);
    test.equal(stream.output.subarray(0, 4).toString('hex'), expected || '20160000', name);
    stream.hangUp();
  }
  made.sessions.isPresent = true;
  const expected = ['20020000', '20020100'];
  for (const level of [3, 4]) {
    const stream = await answerTo(made, connectBytes(level, { flags: 0 }));
    test.equal(stream.output.toString('hex'), expected[level - 3], `session present, level ${level}`);
  }
  test.equal((await connackOf(made, 5, {})).sessionPresent, true);
});

t.test('CONNACK of MQTT 5 tells what the client cannot know', async (test) => {
  const made = await bench(test, { maxKeepAliveMs: 60_000 });
  const always = {
    receiveMaximum: 100,
    maximumPacketSize: 65_536,
    topicAliasMaximum: 10,
    retainAvailable: true,
    wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: true,
    sharedSubscriptionAvailable: true,
  };
  const modest = await connackOf(made, 5, { keepalive: 60, properties: { sessionExpiryInterval: 3600 } });
  test.same(modest.properties, always);
  const greedy = await connackOf(made, 5, {
    clientId: '',
    keepalive: 0,
    properties: { sessionExpiryInterval: 0xffffffff },
  });
  test.match(greedy.properties, {
    ...always,
    serverKeepAlive: 60,
    sessionExpiryInterval: 3600,
    assignedClientIdentifier: /^auto-[0-9a-z]{20}$/,
  });
  const claims = made.sessions.claims;
  test.equal(claims[1].clientId, greedy.properties?.assignedClientIdentifier);
  test.equal(claims[1].expirySec, 3600);
});

t.test('what the claim is given', async (test) => {
  const limits: Partial<ConnectionLimits> = { maxSessionExpiryMs: Number.POSITIVE_INFINITY };
  const made = await bench(test, limits);
  const cases: [ProtocolVersion, object, object][] = [
    [4, { clean: true }, { version: 4, cleanStart: true, expirySec: 0, will: null }],
    [4, { clean: false }, { cleanStart: false, expirySec: 0xffffffff }],
    [3, { clean: false, protocolId: 'MQIsdp' }, { version: 3, cleanStart: false, expirySec: 0xffffffff }],
    [5, { clean: false }, { version: 5, cleanStart: false, expirySec: 0 }],
    [5, { properties: { sessionExpiryInterval: 9 } }, { cleanStart: true, expirySec: 9 }],
    [5, { clientId: '__proto__' }, { clientId: '__proto__' }],
  ];
  for (const [version, packet, expected] of cases) {
    await connackOf(made, version, packet);
    test.match(made.sessions.claims.at(-1), expected);
  }
});

t.test('the will is kept as it came', async (test) => {
  const made = await bench(test);
  // Message expiry 16, user property b=1, will delay 5, user property a=2, user property b=1.
  const props =
    '0200000010' + '260001620001' + '31' + '1800000005' + '2600016100' + '0132' + '26000162000131';
  const will = Buffer.concat([Buffer.of(props.length / 2), Buffer.from(`${props}000177000268ff`, 'hex')]);
  await answerTo(made, connectBytes(5, { flags: 0x36, rest: will.toString('hex') }));
  const stored = made.sessions.claims[0].will!;
  test.match(stored, { qos: 2, retain: true, delaySec: 5 });
  const view = new BodyView().read(stored.body);
  test.equal(view.topic(stored.body), 'w');
  test.equal(
    stored.body.toString('hex', view.propsStart, view.propsEnd),
    props.replace('1800000005', ''),
    'order and repetitions',
  );
  test.equal(stored.body.toString('hex', view.payloadStart), '68ff');
  await connackOf(made, 4, { will: { topic: 'w/4', payload: 'gone', qos: 1, retain: false } });
  const older = made.sessions.claims[1].will!;
  test.match(older, { qos: 1, retain: false, delaySec: 0 });
  test.equal(view.read(older.body).topic(older.body), 'w/4');
  const deep = await connackOf(made, 5, {
    will: { topic: 'x/'.repeat(30), payload: '', qos: 0, retain: false },
  });
  test.equal(deep.reasonCode, 0x90);
});

t.test('authentication and claim decide', async (test) => {
  const seen: unknown[] = [];
  const made = await bench(
    test,
    {},
    {
      async authenticate({ clientId, username, password, version, remoteAddress }) {
        seen.push([clientId, username, password?.toString(), version, remoteAddress]);
        return username === 'root' ? 0x86 : username === 'banned' ? 0x8a : 0;
      },
      mechanism: () => undefined,
    },
  );
  test.equal(
    (await connackOf(made, 5, { username: 'root', password: Buffer.from('toor') })).reasonCode,
    0x86,
  );
  test.equal((await connackOf(made, 4, { username: 'root', password: Buffer.from('toor') })).returnCode, 4);
  test.equal((await connackOf(made, 4, { username: 'banned' })).returnCode, 5);
  test.same(made.log, []);
  test.same(seen[0], ['c1', 'root', 'toor', 5, '10.0.0.1']);
  test.equal((await connackOf(made, 5, { username: 'me' })).reasonCode, 0);
  test.equal(made.stats.authenticationsRefused, 3);
  made.sessions.fault = new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'over');
  test.equal((await connackOf(made, 5, {})).reasonCode, 0x88);
  test.equal((await connackOf(made, 4, {})).returnCode, 3);
  made.sessions.fault = new SwarmqError('SWARMQ_ERR_SESSION_FENCED', 'c1', { reasonCode: 0x8e });
  const overtaken = await connackOf(made, 5, {});
  test.equal(overtaken.reasonCode, 0x80, 'a code that CONNACK may have');
  test.equal(overtaken.properties?.reasonString, 'a newer connection has the same client id');
});

t.test('clients that gave up waiting leave a bounded number of claims', async (test) => {
  const made = await bench(test, { maxConnections: 3 });
  made.sessions.gate = new Promise(() => {});
  for (let index = 0; index < 3; index++) {
    const stream = made.connect();
    stream.feed(connectBytes(5, { clientId: `c${index}` }));
    await eventually('claim', () => made.sessions.claims.length === index + 1);
    stream.hangUp();
  }
  test.equal((await connackOf(made, 5, {})).reasonCode, 0x89);
  test.equal(made.sessions.claims.length, 3);
});

t.test('a client that takes only small packets is not sent a larger answer', async (test) => {
  const made = await bench(test);
  const stream = await answerTo(made, connectBytes(5, { props: '270000000a' }));
  await eventually('closed', () => stream.isClosed);
  test.equal(stream.output.toString('hex'), '2003009500', 'and no packet before CONNACK');
  const tiny = await answerTo(made, connectBytes(5, { props: '2700000004' }));
  await eventually('closed', () => tiny.isClosed);
  test.equal(tiny.output.length, 0);
});
