// Control packets: acks, CONNECT, the checks in front of mqtt-packet, and what goes back through it.

import fc from 'fast-check';
import type * as mqttPacket from 'mqtt-packet';
import t from 'tap';
import { AckReader, ackSize, encodeAck, PINGRESP, writeAck } from '../../src/mqtt/ack.ts';
import { encodeConnack, encodeDisconnect } from '../../src/mqtt/answers.ts';
import { generatePacket, parseClientPacket, parsePacket } from '../../src/mqtt/codec.ts';
import { readConnect } from '../../src/mqtt/connect-packet.ts';
import { BodyView } from '../../src/mqtt/message.ts';
import { PACKET_TYPE_NAMES, PacketType, type ProtocolVersion } from '../../src/mqtt/packet-type.ts';
import {
  buildProperties,
  checkProperties,
  findProperty,
  Property,
  type PropertyValue,
  removeProperties,
} from '../../src/mqtt/properties.ts';
import {
  connackReturnCodeOf,
  isFailure,
  ReasonCode,
  reasonCodeOfReturnCode,
} from '../../src/mqtt/reason-code.ts';
import { SwarmqError } from '../../src/util/errors.ts';

const ACK_TYPES = [PacketType.PUBACK, PacketType.PUBREC, PacketType.PUBREL, PacketType.PUBCOMP] as const;
const MALFORMED = 'MALFORMED 0x81';
const PROTOCOL = 'PROTOCOL 0x82';

/** Code and reason of the SwarmqError that `run` throws, short; 'accepted' where it throws none. */
function faultOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (!(error instanceof SwarmqError)) throw error;
    return `${error.code.replace('SWARMQ_ERR_PACKET_', '')} 0x${error.reasonCode?.toString(16)}`;
  }
  return 'accepted';
}

function field(text: string | Buffer): Buffer {
  const bytes = Buffer.from(text as string);
  return Buffer.concat([Buffer.of(bytes.length >> 8, bytes.length & 255), bytes]);
}

function packet(first: number, ...parts: (Buffer | number)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)));
  const head = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Buffer.of(first, ...head), body]);
}

t.test('acks are written as mqtt-packet reads them, and read back', async (t) => {
  const reader = new AckReader();
  for (const version of [3, 4, 5] as ProtocolVersion[]) {
    for (const type of ACK_TYPES) {
      for (const reasonCode of [0, 0x92, 0x10]) {
        const isOfPublish = type === PacketType.PUBACK || type === PacketType.PUBREC;
        if ((reasonCode === 0x92 && isOfPublish) || (reasonCode === 0x10 && !isOfPublish)) continue;
        const bytes = encodeAck(type, version, 51_966, reasonCode);
        const seen = parsePacket(version, bytes) as mqttPacket.IPubackPacket;
        t.equal(seen.cmd, PACKET_TYPE_NAMES[type]);
        t.equal(seen.messageId, 51_966);
        t.equal(bytes.length, version === 5 && reasonCode !== 0 ? 5 : 4);
        if (version === 5) t.equal(seen.reasonCode, reasonCode);
        const target = Buffer.alloc(20, 0xff);
        t.equal(writeAck(target, 3, type, version, 51_966, reasonCode), 3 + ackSize(version, reasonCode));
        reader.read(version, target, 3, 5, 3 + bytes.length);
        t.equal(reader.packetId, 51_966);
        t.equal(reader.reasonCode, version === 5 ? reasonCode : 0);
      }
    }
  }
  t.equal(parsePacket(4, PINGRESP).cmd, 'pingresp');
});

t.test('acks that are refused', async (t) => {
  const read = (version: ProtocolVersion, bytes: number[]) => {
    const buf = Buffer.from([...bytes, 0, 1, 2, 3]);
    return faultOf(() => new AckReader().read(version, buf, 0, 2, bytes.length));
  };
  t.equal(read(4, [0x40, 1, 0]), MALFORMED);
  t.equal(read(4, [0x40, 3, 0, 1, 0]), MALFORMED);
  t.equal(read(4, [0x40, 2, 0, 0]), PROTOCOL);
  t.equal(read(5, [0x40, 3, 0, 1, 0x92]), PROTOCOL, 'a reason of PUBREL in PUBACK');
  t.equal(read(5, [0x62, 3, 0, 1, 0x10]), PROTOCOL, 'a reason of PUBACK in PUBREL');
  t.equal(read(5, [0x40, 4, 0, 1, 0, 1]), MALFORMED, 'properties cut off');
  t.equal(read(5, [0x40, 5, 0, 1, 0, 0, 9]), MALFORMED, 'bytes behind the properties');
  t.equal(read(5, [0x40, 6, 0, 1, 0, 2, 0x01, 1]), PROTOCOL, 'a property of PUBLISH');
  t.equal(read(5, [0x40, 4, 0, 1, 0, 0]), 'accepted');
  t.equal(read(5, [0x40, 8, 0, 1, 0, 4, 0x1f, 0, 1, 0x61]), 'accepted', 'a reason string');
});

t.test('a CONNECT of each version, written by mqtt-packet', async (t) => {
  for (const version of [3, 4, 5] as ProtocolVersion[]) {
    const bytes = generatePacket(
      {
        cmd: 'connect',
        protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
        protocolVersion: version,
        clientId: '__proto__',
        clean: false,
        keepalive: 30,
        username: 'üser',
        password: Buffer.from([0, 1, 255]),
        will: {
          topic: 'will/t',
          payload: Buffer.from('gone'),
          qos: 2,
          retain: true,
          ...(version === 5 ? { properties: { willDelayInterval: 5, contentType: 'text' } } : {}),
        },
        ...(version === 5 ? { properties: { sessionExpiryInterval: 0xffffffff, receiveMaximum: 7 } } : {}),
      },
      version,
    );
    const parts = readConnect(bytes, 2, bytes.length);
    t.match(parts, { version, clientId: '__proto__', cleanStart: false, keepAliveSec: 30, username: 'üser' });
    t.match(parts.will, { topic: 'will/t', qos: 2, retain: true, delaySec: version === 5 ? 5 : 0 });
    t.same([...parts.password!], [0, 1, 255]);
    t.equal(parts.sessionExpirySec, version === 5 ? 0xffffffff : 0);
    t.equal(parts.receiveMaximum, version === 5 ? 7 : 65_535);
    const body = parts.will!.body;
    const view = new BodyView().read(body);
    t.equal(view.topic(body), 'will/t');
    t.equal(body.toString('utf8', view.payloadStart), 'gone');
    t.same([...parts.will!.props], version === 5 ? [...buildProperties([[3, 'text']])] : []);
    t.equal((parseClientPacket(version, bytes) as mqttPacket.IConnectPacket).clientId, '__proto__');
  }
});

t.test('CONNECTs that are refused, and odd ones that are not', async (t) => {
  const head = (level: number, flags: number, name = 'MQTT') =>
    Buffer.concat([field(name), Buffer.of(level, flags, 0, 60)]);
  const connect = (...parts: (Buffer | number)[]) => {
    const bytes = packet(0x10, ...parts);
    return faultOf(() => readConnect(bytes, bytes[1] < 128 ? 2 : 3, bytes.length));
  };
  const props = (...list: PropertyValue[]) => {
    const bytes = buildProperties(list);
    return Buffer.concat([Buffer.of(bytes.length), bytes]);
  };
  const id = field('c');
  t.equal(connect(head(4, 2), id), 'accepted');
  t.equal(connect(head(0x84, 2), id), 'accepted', 'a bridge');
  t.equal(connect(head(3, 0xc2, 'MQIsdp'), id), 'accepted', '3.1 may leave out what its flags promise');
  t.equal(connect(head(4, 0xc2), id), MALFORMED, '3.1.1 may not');
  t.equal(connect(head(4, 2, 'MQTX'), id), MALFORMED);
  t.equal(connect(head(6, 2), id), 'PROTOCOL 0x84');
  t.equal(connect(head(3, 2), id), 'PROTOCOL 0x84');
  t.equal(connect(head(4, 3), id), MALFORMED, 'reserved flag');
  t.equal(connect(head(4, 0x0a), id), MALFORMED, 'will QoS without a will');
  t.equal(connect(head(4, 0x22), id), MALFORMED, 'will retain without a will');
  t.equal(connect(head(4, 0x1e), id, field('t'), field('m')), MALFORMED, 'will QoS 3');
  t.equal(connect(head(4, 0x42), id, field('p')), MALFORMED, 'password alone');
  t.equal(connect(head(5, 0x42), 0, id, field('p')), 'accepted', 'MQTT 5 allows it');
  t.equal(connect(head(4, 2), id, 0), MALFORMED, 'a byte too many');
  t.equal(connect(head(4, 2), field('a\0')), MALFORMED);
  t.equal(connect(head(4, 2), field(Buffer.of(0xff))), MALFORMED);
  t.equal(connect(head(4, 6), id, field('a/#'), field('m')), 'PROTOCOL 0x90');
  t.equal(connect(head(4, 6), id, field(''), field('m')), 'PROTOCOL 0x90');
  t.equal(connect(head(5, 2), props([0x21, 0]), id), PROTOCOL, 'receive maximum 0');
  t.equal(connect(head(5, 2), props([0x27, 0]), id), PROTOCOL, 'maximum packet size 0');
  t.equal(connect(head(5, 2), props([0x11, 1], [0x11, 1]), id), PROTOCOL, 'expiry twice');
  t.equal(connect(head(5, 2), props([0x17, 2]), id), PROTOCOL, 'neither 0 nor 1');
  t.equal(connect(head(5, 2), props([0x16, 'data']), id), PROTOCOL, 'data without a method');
  t.equal(connect(head(5, 2), props([0x18, 1]), id), PROTOCOL, 'will delay outside the will');
  t.equal(
    connect(head(5, 6), 0, id, props([0x11, 1]), field('t'), field('m')),
    PROTOCOL,
    'expiry in the will',
  );
  t.equal(connect(head(5, 6), 0, id, props([0x08, 'a/+']), field('t'), field('m')), PROTOCOL);
  t.equal(connect(head(5, 2), Buffer.of(5, 0x11, 0), id), MALFORMED);
  const whole = packet(
    0x10,
    head(5, 0xc6),
    props([0x21, 9]),
    id,
    props([0x18, 1]),
    field('t'),
    field('m'),
    field('u'),
    field('p'),
  );
  for (let end = 2; end < whole.length; end++) {
    if (faultOf(() => readConnect(whole, 2, end)) === 'accepted') t.fail(`cut at ${end} was accepted`);
  }
  t.equal(
    faultOf(() => readConnect(whole, 2, whole.length)),
    'accepted',
  );
});

t.test('SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and AUTH that are refused, and some that are not', async (t) => {
  const cases: [ProtocolVersion, string, Buffer, string][] = [
    [4, 'plain', packet(0x82, 0, 1, field('a/#'), 1), 'accepted'],
    [4, 'two filters', packet(0x82, 0, 1, field('a'), 0, field('__proto__'), 2), 'accepted'],
    [4, 'id 0', packet(0x82, 0, 0, field('a'), 1), PROTOCOL],
    [4, 'no filter', packet(0x82, 0, 1), PROTOCOL],
    [4, 'no options', packet(0x82, 0, 1, field('a')), MALFORMED],
    [4, 'filter cut off', packet(0x82, 0, 1, 0, 5, 0x61), MALFORMED],
    [4, 'filter not text', packet(0x82, 0, 1, field(Buffer.of(0xed, 0xa0, 0x80)), 0), MALFORMED],
    [4, 'filter with U+0000', packet(0x82, 0, 1, field('a\0'), 0), MALFORMED],
    [4, 'QoS 3', packet(0x82, 0, 1, field('a'), 3), MALFORMED],
    [4, 'reserved bits', packet(0x82, 0, 1, field('a'), 4), MALFORMED],
    [5, 'options of 5', packet(0x82, 0, 1, 0, field('a'), 0x2d), 'accepted'],
    [5, 'reserved bits of 5', packet(0x82, 0, 1, 0, field('a'), 0x40), MALFORMED],
    [5, 'retain handling 3', packet(0x82, 0, 1, 0, field('a'), 0x31), PROTOCOL],
    [5, 'no local, shared', packet(0x82, 0, 1, 0, field('$share/g/a'), 5), PROTOCOL],
    [5, 'subscription id', packet(0x82, 0, 1, 2, 0x0b, 7, field('a'), 0), 'accepted'],
    [5, 'subscription id 0', packet(0x82, 0, 1, 2, 0x0b, 0, field('a'), 0), PROTOCOL],
    [5, 'subscription id twice', packet(0x82, 0, 1, 4, 0x0b, 7, 0x0b, 7, field('a'), 0), PROTOCOL],
    [5, 'properties cut off', packet(0x82, 0, 1, 9, 0x0b, 7), MALFORMED],
    [4, 'unsubscribe', packet(0xa2, 0, 1, field('a')), 'accepted'],
    [4, 'unsubscribe nothing', packet(0xa2, 0, 1), PROTOCOL],
    [5, 'unsubscribe', packet(0xa2, 0, 1, 0, field('a')), 'accepted'],
    [4, 'disconnect', packet(0xe0), 'accepted'],
    [4, 'disconnect with a body', packet(0xe0, 0), MALFORMED],
    [5, 'disconnect', packet(0xe0), 'accepted'],
    [5, 'disconnect with reason', packet(0xe0, 4), 'accepted'],
    [5, 'disconnect with expiry', packet(0xe0, 0, 5, 0x11, 0, 0, 0, 9), 'accepted'],
    [5, 'disconnect with a server reason', packet(0xe0, 0x8e), PROTOCOL],
    [5, 'disconnect with more', packet(0xe0, 0, 0, 0), MALFORMED],
    [5, 'auth', packet(0xf0, 0x18, 0), 'accepted'],
    [5, 'auth with success', packet(0xf0), PROTOCOL],
    [4, 'auth before 5', packet(0xf0, 0x18, 0), MALFORMED],
    [4, 'pingreq', packet(0xc0), 'accepted'],
    [4, 'pingreq with a body', packet(0xc0, 0), MALFORMED],
    [4, 'a packet of the server', packet(0x20, 0, 0), PROTOCOL],
  ];
  for (const [version, name, bytes, expected] of cases) {
    t.equal(
      faultOf(() => parseClientPacket(version, bytes)),
      expected,
      `${name} (${version})`,
    );
  }
});

t.test('any bytes are parsed or refused with a coded error', async (t) => {
  const firsts = [0x10, 0x20, 0x82, 0x90, 0xa2, 0xb0, 0xe0, 0xf0];
  fc.assert(
    fc.property(
      fc.constantFrom<ProtocolVersion>(3, 4, 5),
      fc.constantFrom(...firsts),
      fc.uint8Array({ maxLength: 40 }),
      (version, first, body) => {
        const bytes = packet(first, Buffer.from(body));
        faultOf(() => parsePacket(version, bytes));
        faultOf(() => parseClientPacket(version, bytes));
        faultOf(() => parsePacket(version, bytes.subarray(0, bytes.length - 1)));
        return true;
      },
    ),
    { numRuns: 3000 },
  );
  t.equal(
    faultOf(() => parsePacket(4, Buffer.concat([PINGRESP, PINGRESP]))),
    MALFORMED,
    'two packets',
  );
  t.equal(
    faultOf(() => parsePacket(4, Buffer.of(0x90, 5, 0, 1))),
    MALFORMED,
    'a part of a packet',
  );
  t.equal(parsePacket(5, Buffer.of(0xf0, 0)).cmd, 'auth', 'an AUTH with success may be empty');
});

t.test('what cannot be written is a coded error, never too few bytes', async (t) => {
  const suback = { cmd: 'suback', messageId: 1, granted: [0, 0x8f] } as mqttPacket.ISubackPacket;
  t.same([...generatePacket(suback, 4)], [0x90, 4, 0, 1, 0, 0x8f]);
  const broken = { cmd: 'suback', messageId: 'x', granted: [0] } as unknown as mqttPacket.ISubackPacket;
  t.equal(
    faultOf(() => generatePacket(broken, 4)),
    MALFORMED,
  );
  const unknown = { cmd: 'nothing' } as unknown as mqttPacket.ISubackPacket;
  t.equal(
    faultOf(() => generatePacket(unknown, 4)),
    MALFORMED,
  );
});

t.test('properties: found, removed, order kept', async (t) => {
  const list: PropertyValue[] = [
    [Property.USER_PROPERTY, ['z', '1']],
    [Property.TOPIC_ALIAS, 258],
    [Property.USER_PROPERTY, ['__proto__', '2']],
    [Property.SUBSCRIPTION_IDENTIFIER, 200],
    [Property.USER_PROPERTY, ['z', '3']],
  ];
  const bytes = buildProperties(list);
  t.equal(findProperty(bytes, 0, bytes.length, Property.TOPIC_ALIAS), 7);
  t.equal(findProperty(bytes, 0, bytes.length, Property.CONTENT_TYPE), -1);
  const kept = removeProperties(bytes, 0, bytes.length, [
    Property.TOPIC_ALIAS,
    Property.SUBSCRIPTION_IDENTIFIER,
  ]);
  t.ok(kept.equals(buildProperties(list.filter(([id]) => id === Property.USER_PROPERTY))));
  t.equal(
    faultOf(() => checkProperties(PacketType.PUBLISH, bytes, 0, bytes.length)),
    'accepted',
  );
  t.equal(
    faultOf(() => checkProperties(PacketType.SUBACK, bytes, 0, bytes.length)),
    PROTOCOL,
  );
});

t.test('own CONNACK and DISCONNECT', async (t) => {
  t.same([...encodeConnack(4, true, 0)], [0x20, 2, 1, 0]);
  t.same([...encodeConnack(3, true, 0)], [0x20, 2, 0, 0]);
  t.same([...encodeConnack(4, true, ReasonCode.NOT_AUTHORIZED)], [0x20, 2, 0, 5]);
  t.match(parsePacket(5, encodeConnack(5, true, 0)), { sessionPresent: true, reasonCode: 0 });
  const refusal = encodeConnack(5, true, ReasonCode.SERVER_BUSY, { reasonString: 'later' });
  t.match(parsePacket(5, refusal), {
    sessionPresent: false,
    reasonCode: 0x89,
    properties: { reasonString: 'later' },
  });
  t.same([...encodeDisconnect(0x8e)], [0xe0, 1, 0x8e]);
  const moved = encodeDisconnect(ReasonCode.USE_ANOTHER_SERVER, {
    serverReference: 'h:1883',
    reasonString: 'x'.repeat(200),
  });
  t.match(parsePacket(5, moved), { reasonCode: 0x9c, properties: { serverReference: 'h:1883' } });
});

t.test('return codes of CONNACK and reason codes', async (t) => {
  for (let code = 0; code <= 5; code++) t.equal(connackReturnCodeOf(reasonCodeOfReturnCode(code)), code);
  t.equal(connackReturnCodeOf(ReasonCode.BANNED), 5);
  t.equal(reasonCodeOfReturnCode(99), ReasonCode.UNSPECIFIED_ERROR);
  t.ok(isFailure(0x80) && !isFailure(0x19));
});
