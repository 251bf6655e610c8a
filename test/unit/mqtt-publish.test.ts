// PUBLISH in place: what is read, what is refused and why, and the bodies and outbound packets made from it, compared
// with mqtt-packet as a second opinion.

import fc from 'fast-check';
import * as mqttPacket from 'mqtt-packet';
import t from 'tap';
import { Framer } from '../../src/mqtt/framer.ts';
import {
  BodyView,
  buildBody,
  copyInbound,
  encodeBody,
  encodePublish,
  hasOutboundForm,
  isReusableAsIs,
  type Outbound,
  packetIdOffset,
  patchPacketId,
  payloadSize,
  publishSize,
  qos0Packet,
  writePublish,
} from '../../src/mqtt/message.ts';
import type { ProtocolVersion, QoS } from '../../src/mqtt/packet-type.ts';
import { buildProperties, Property, type PropertyValue } from '../../src/mqtt/properties.ts';
import { PublishReader } from '../../src/mqtt/publish.ts';
import { TopicCache } from '../../src/mqtt/topic-cache.ts';
import { SwarmqError } from '../../src/util/errors.ts';

const VERSIONS: ProtocolVersion[] = [3, 4, 5];
const reader = new PublishReader(new TopicCache());

interface Parts {
  version: ProtocolVersion;
  topic: string | Buffer;
  payload: Buffer;
  qos?: QoS;
  retain?: boolean;
  dup?: boolean;
  packetId?: number;
  props?: Buffer;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 127) | (rest > 127 ? 128 : 0));
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** A PUBLISH by the letter of the standard, independent of the code under test. */
function packetOf(parts: Parts): Buffer {
  const topic = Buffer.from(parts.topic as string);
  const qos = parts.qos ?? 0;
  const pieces: Buffer[] = [Buffer.of(topic.length >> 8, topic.length & 255), topic];
  if (qos > 0) pieces.push(Buffer.of((parts.packetId ?? 1) >> 8, (parts.packetId ?? 1) & 255));
  if (parts.version === 5) pieces.push(varint(parts.props?.length ?? 0), parts.props ?? Buffer.alloc(0));
  pieces.push(parts.payload);
  const rest = Buffer.concat(pieces);
  const first = 0x30 | (parts.dup ? 8 : 0) | (qos << 1) | (parts.retain ? 1 : 0);
  return Buffer.concat([Buffer.of(first), varint(rest.length), rest]);
}

/** Reads a packet that lies between other bytes, so that an offset beyond its end would be seen. */
function read(version: ProtocolVersion, packet: Buffer): Buffer {
  const chunk = Buffer.concat([Buffer.from('before'), packet, Buffer.alloc(300, 0x2b)]);
  const bodyStart = packet[1] < 128 ? 2 : packet[2] < 128 ? 3 : packet[3] < 128 ? 4 : 5;
  reader.read(version, chunk, 6, 6 + bodyStart, 6 + packet.length);
  return chunk;
}

function outbound(changes: Partial<Outbound> = {}): Outbound {
  return {
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    subscriptionIds: null,
    expirySec: -1,
    ...changes,
  };
}

const topicText = fc
  .array(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 5 })
  .map((levels) => levels.join('/').replace(/[+#\0]/g, '_'));
const propertyList = fc.array(
  fc.oneof(
    fc.tuple(fc.constant(Property.USER_PROPERTY), fc.tuple(safeText(), safeText())),
    fc.tuple(fc.constant(Property.MESSAGE_EXPIRY_INTERVAL), fc.nat(0xffffffff)),
    fc.tuple(fc.constant(Property.CONTENT_TYPE), safeText()),
    fc.tuple(
      fc.constant(Property.CORRELATION_DATA),
      fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b)),
    ),
    fc.tuple(fc.constant(Property.PAYLOAD_FORMAT_INDICATOR), fc.nat(1)),
    fc.tuple(fc.constant(Property.TOPIC_ALIAS), fc.integer({ min: 1, max: 65535 })),
  ),
  { maxLength: 8 },
);
const payloadBytes = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));

function safeText() {
  return fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => text.replaceAll('\0', ''));
}

/** Each property but user properties once. */
function distinct(list: PropertyValue[]): PropertyValue[] {
  const seen = new Set<number>();
  return list.filter(([id]) => id === Property.USER_PROPERTY || (!seen.has(id) && seen.add(id)));
}

t.test('what was written is read, and bodies and outbound packets say the same', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...VERSIONS),
      fc.constantFrom(...VERSIONS),
      topicText,
      payloadBytes,
      fc.constantFrom<QoS>(0, 1, 2),
      fc.boolean(),
      propertyList,
      (version, toVersion, topic, payload, qos, retain, list) => {
        const properties = version === 5 ? distinct(list as PropertyValue[]) : [];
        const props = buildProperties(properties);
        const packet = packetOf({ version, topic, payload, qos, retain, packetId: 777, props });
        const chunk = read(version, packet);
        const alias = properties.find(([id]) => id === Property.TOPIC_ALIAS)?.[1] ?? 0;
        const expiry = properties.find(([id]) => id === Property.MESSAGE_EXPIRY_INTERVAL)?.[1] ?? -1;
        if (reader.topic !== topic || reader.qos !== qos || reader.retain !== retain) return false;
        if (reader.packetId !== (qos === 0 ? 0 : 777) || reader.topicAlias !== alias) return false;
        if (reader.messageExpirySec !== expiry) return false;
        if (!chunk.subarray(reader.propsStart, reader.propsEnd).equals(props)) return false;
        if (!chunk.subarray(reader.payloadStart, reader.payloadEnd).equals(payload)) return false;

        const kept = buildProperties(properties.filter(([id]) => id !== Property.TOPIC_ALIAS));
        const body = encodeBody(reader, topic, chunk);
        const expected = packetOf({ version: 5, topic, payload, props: kept });
        if (!body.equals(expected.subarray(packetHead(expected)))) return false;
        if (!body.equals(buildBody(topic, payload, kept))) return false;
        const view = new BodyView().read(body);
        if (view.topic(body) !== topic || view.expirySec(body) !== expiry) return false;
        if (!body.subarray(view.payloadStart).equals(payload)) return false;

        const options = outbound({ qos, retain, packetId: 9, dup: qos > 0 });
        const sent = encodePublish(toVersion, body, options);
        const [around, behind] = [Buffer.concat([expected, body, expected]), expected.length + body.length];
        const wanted = packetOf({ ...options, version: toVersion, topic, payload, props: kept });
        const target = Buffer.alloc(sent.length + 10);
        return (
          sent.equals(wanted) &&
          publishSize(toVersion, body, options) === sent.length &&
          publishSize(toVersion, around, options, expected.length, behind) === sent.length &&
          encodePublish(toVersion, around, options, expected.length, behind).equals(sent) &&
          payloadSize(around, expected.length, behind) === payload.length &&
          writePublish(target, 5, toVersion, body, options) === sent.length + 5 &&
          target.subarray(5, sent.length + 5).equals(sent) &&
          writePublish(target, 3, toVersion, around, options, expected.length, behind) === sent.length + 3 &&
          target.subarray(3, sent.length + 3).equals(sent) &&
          qos0Packet(toVersion, body, retain).equals(encodePublish(toVersion, body, outbound({ retain })))
        );
      },
    ),
    { numRuns: 1000 },
  );
  t.pass('1,000 runs');
});

function packetHead(packet: Buffer): number {
  let at = 1;
  while (packet[at] > 127) at++;
  return at + 1;
}

t.test('mqtt-packet reads an outbound packet with all that MQTT 5 adds', async (t) => {
  const props = buildProperties([
    [Property.USER_PROPERTY, ['b', '1']],
    [Property.MESSAGE_EXPIRY_INTERVAL, 100],
    [Property.USER_PROPERTY, ['a', '2']],
  ]);
  const body = buildBody('a/b', Buffer.from('hello'), props);
  const options = outbound({
    qos: 1,
    packetId: 65_535,
    subscriptionIds: [1, 268_435_455],
    expirySec: 42,
    topicAlias: 7,
  });
  const packet = encodePublish(5, body, options);
  t.equal(publishSize(5, body, options), packet.length);
  const parser = mqttPacket.parser({ protocolVersion: 5 });
  let seen: mqttPacket.IPublishPacket | undefined;
  parser.on('packet', (one) => {
    seen = one as mqttPacket.IPublishPacket;
  });
  parser.parse(packet);
  t.equal(seen?.topic, 'a/b');
  t.equal(seen?.messageId, 65_535);
  t.equal(seen?.properties?.messageExpiryInterval, 42);
  t.equal(seen?.properties?.topicAlias, 7);
  t.same(seen?.properties?.subscriptionIdentifier, [1, 268_435_455]);
  t.equal(new BodyView().read(body).expirySec(body), 100, 'the body is not changed');
  const userProps = packet.indexOf(Buffer.from([0x26, 0, 1, 0x62]));
  t.ok(
    userProps > 0 && packet.indexOf(Buffer.from([0x26, 0, 1, 0x61])) > userProps,
    'user properties in order',
  );

  // By another node's clock there may be more left than there was.
  for (const expirySec of [101, 2 ** 32]) {
    const late = encodePublish(5, body, { ...options, expirySec });
    parser.parse(late);
    t.equal(seen?.properties?.messageExpiryInterval, 100, 'never more than the publisher gave');
  }

  const short = encodePublish(5, body, { ...options, isTopicOmitted: true });
  t.equal(packet.length - short.length, 3, 'the topic is left out');
  t.equal(publishSize(5, body, { ...options, isTopicOmitted: true }), short.length);
  t.same([...encodePublish(4, body, options).subarray(-5)], [...Buffer.from('hello')]);
});

t.test('an alias takes the place of the topic', async (t) => {
  const props = buildProperties([
    [Property.TOPIC_ALIAS, 3],
    [Property.CONTENT_TYPE, 'x'],
  ]);
  const chunk = read(5, packetOf({ version: 5, topic: '', payload: Buffer.from('p'), props }));
  t.equal(reader.topic, '');
  t.equal(reader.topicAlias, 3);
  const body = encodeBody(reader, 'über/topic', chunk);
  t.ok(
    body.equals(buildBody('über/topic', Buffer.from('p'), buildProperties([[Property.CONTENT_TYPE, 'x']]))),
  );
});

t.test('packets that leave as they came', async (t) => {
  const payload = Buffer.from('payload');
  const plain = { version: 4 as ProtocolVersion, topic: 'a/b', payload };
  read(4, packetOf(plain));
  t.ok(isReusableAsIs(reader, 4) && isReusableAsIs(reader, 3));
  t.notOk(isReusableAsIs(reader, 5));
  read(4, packetOf({ ...plain, retain: true }));
  t.notOk(isReusableAsIs(reader, 4), 'the retain flag is not passed on');
  read(4, packetOf({ ...plain, qos: 1 }));
  t.notOk(isReusableAsIs(reader, 4));
  read(5, packetOf({ ...plain, version: 5, props: buildProperties([[Property.CONTENT_TYPE, 'x']]) }));
  t.ok(isReusableAsIs(reader, 5));
  read(5, packetOf({ ...plain, version: 5, props: buildProperties([[Property.TOPIC_ALIAS, 1]]) }));
  t.notOk(hasOutboundForm(reader, 5), 'aliases of two connections differ');
  const padded = packetOf(plain);
  read(4, Buffer.concat([Buffer.of(padded[0], padded[1] | 128, 0), padded.subarray(2)]));
  t.notOk(isReusableAsIs(reader, 4), 'a padded length is not passed on');
  t.equal(reader.topic, 'a/b');

  const inbound = packetOf({ ...plain, qos: 2, dup: true, retain: true, packetId: 5 });
  const chunk = read(4, inbound);
  t.ok(hasOutboundForm(reader, 3));
  const copy = copyInbound(reader, chunk, false, false, 4660);
  t.ok(copy.equals(packetOf({ ...plain, qos: 2, packetId: 4660 })));
  patchPacketId(copy, packetIdOffset(reader), 22_136);
  t.ok(copy.equals(packetOf({ ...plain, qos: 2, packetId: 22_136 })));
  t.ok(chunk.subarray(6, 6 + inbound.length).equals(inbound), 'the inbound bytes are as they were');
});

t.test('what a client may not send', async (t) => {
  const payload = Buffer.from('x');
  const base = { version: 5 as ProtocolVersion, topic: 't', payload };
  const withProps = (...list: PropertyValue[]) => packetOf({ ...base, props: buildProperties(list) });
  const MALFORMED = ['SWARMQ_ERR_PACKET_MALFORMED', 0x81];
  const PROTOCOL = ['SWARMQ_ERR_PACKET_PROTOCOL', 0x82];
  const cases: [string, Buffer, (string | number)[]][] = [
    ['QoS 3', Buffer.concat([Buffer.of(0x36), packetOf(base).subarray(1)]), MALFORMED],
    ['DUP at QoS 0', packetOf({ ...base, dup: true }), MALFORMED],
    ['packet id 0', packetOf({ ...base, qos: 1, packetId: 0 }), PROTOCOL],
    ['no topic', Buffer.of(0x30, 1, 0), MALFORMED],
    ['topic cut off', Buffer.of(0x30, 4, 0, 5, 0x61, 0x62), MALFORMED],
    ['packet id cut off', Buffer.of(0x32, 4, 0, 1, 0x61, 0), MALFORMED],
    ['U+0000', packetOf({ ...base, topic: 'a\0b' }), MALFORMED],
    ['surrogate', packetOf({ ...base, topic: Buffer.of(0x61, 0xed, 0xa0, 0x80) }), MALFORMED],
    ['overlong form', packetOf({ ...base, topic: Buffer.of(0xc0, 0xaf) }), MALFORMED],
    ['beyond Unicode', packetOf({ ...base, topic: Buffer.of(0xf4, 0x90, 0x80, 0x80) }), MALFORMED],
    ['+ in topic', packetOf({ ...base, topic: 'a/+/b' }), ['SWARMQ_ERR_PACKET_PROTOCOL', 0x90]],
    ['# in topic', packetOf({ ...base, topic: '#' }), ['SWARMQ_ERR_PACKET_PROTOCOL', 0x90]],
    ['empty topic without alias', packetOf({ ...base, topic: '' }), PROTOCOL],
    ['length of properties missing', Buffer.of(0x30, 3, 0, 1, 0x61), MALFORMED],
    ['properties cut off', Buffer.of(0x30, 5, 0, 1, 0x61, 9, 1), MALFORMED],
    ['length of properties padded', Buffer.of(0x30, 5, 0, 1, 0x61, 0x80, 0), MALFORMED],
    ['unknown property', packetOf({ ...base, props: Buffer.of(0x7f, 1) }), MALFORMED],
    ['property with a high identifier', packetOf({ ...base, props: Buffer.of(0xff, 1) }), MALFORMED],
    ['property cut off', packetOf({ ...base, props: Buffer.of(0x02, 0, 0, 1) }), MALFORMED],
    ['property text not UTF-8', packetOf({ ...base, props: Buffer.of(0x03, 0, 1, 0xff) }), MALFORMED],
    ['user property with U+0000', packetOf({ ...base, props: Buffer.of(0x26, 0, 1, 0, 0, 0) }), MALFORMED],
    ['property twice', withProps([Property.CONTENT_TYPE, 'a'], [Property.CONTENT_TYPE, 'a']), PROTOCOL],
    ['expiry twice', withProps([2, 1], [2, 1]), PROTOCOL],
    ['subscription identifier', withProps([Property.SUBSCRIPTION_IDENTIFIER, 1]), PROTOCOL],
    ['property of another packet', withProps([Property.RECEIVE_MAXIMUM, 1]), PROTOCOL],
    ['payload format 2', withProps([Property.PAYLOAD_FORMAT_INDICATOR, 2]), PROTOCOL],
    ['response topic with wildcard', withProps([Property.RESPONSE_TOPIC, 'a/+']), PROTOCOL],
    ['alias 0', withProps([Property.TOPIC_ALIAS, 0]), ['SWARMQ_ERR_PACKET_PROTOCOL', 0x94]],
  ];
  for (const [name, packet, expected] of cases) {
    try {
      read(5, packet);
      t.fail(`${name}: was accepted`);
    } catch (error) {
      if (!(error instanceof SwarmqError)) throw error;
      t.same([error.code, error.reasonCode], expected, name);
    }
  }
  for (const version of [3, 4] as const) {
    t.throws(() => read(version, packetOf({ ...base, version, topic: '' })), {
      code: 'SWARMQ_ERR_PACKET_PROTOCOL',
    });
  }
});

t.test('any bytes are read or refused, never worse', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...VERSIONS),
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(15),
      (version, bytes, flags) => {
        const packet = Buffer.concat([Buffer.of(0x30 | flags, bytes.length), bytes]);
        try {
          const chunk = read(version, packet);
          const body = encodeBody(reader, reader.topic || 'alias', chunk);
          new BodyView().read(body);
          return reader.payloadStart <= reader.end;
        } catch (error) {
          return error instanceof SwarmqError;
        }
      },
    ),
    { numRuns: 5000 },
  );
  t.pass('5,000 runs');
});

t.test('topics of all kinds are decoded, and repeated ones are the same string', async (t) => {
  const topics = [
    'a',
    '/',
    '//',
    'a/[b]/*?\\^$',
    '__proto__',
    'constructor',
    ' ',
    '日本/ü',
    '\ufeffbom',
    '\u{1f600}',
    'x'.repeat(65_535),
  ];
  const cache = new TopicCache();
  for (let round = 0; round < 2; round++) {
    for (const topic of topics) {
      const bytes = Buffer.from(topic);
      const entry = cache.find(bytes, 0, bytes.length);
      if (typeof entry === 'string') throw new Error(entry);
      if (entry.text !== topic) t.fail(`decoded ${entry.text.slice(0, 20)}`);
      t.equal(entry.levels, topic.split('/').length);
    }
  }
  const many = Array.from({ length: 20_000 }, (_, index) => `dev/${index}/state`);
  for (const topic of many) {
    const bytes = Buffer.from(`..${topic}..`);
    const entry = cache.find(bytes, 2, bytes.length - 2);
    if (typeof entry === 'string' || entry.text !== topic) t.fail(topic);
  }
});

t.test('a body that is none is a coded error', async (t) => {
  for (const bytes of [[], [0], [0, 1], [0, 1, 97], [0, 1, 97, 5], [0, 9, 97, 0], [0, 1, 97, 0x80]]) {
    t.throws(() => new BodyView().read(Buffer.from(bytes)), { code: 'SWARMQ_ERR_RECORD_CORRUPT' });
  }
});

t.test('framer and reader together on one stream', async (t) => {
  const seen: string[] = [];
  const framer = new Framer(
    {
      onPacket(buf, start, bodyStart, end) {
        reader.read(4, buf, start, bodyStart, end);
        seen.push(`${reader.topic}:${buf.toString('utf8', reader.payloadStart, end)}`);
      },
    },
    1000,
  );
  const stream = Buffer.concat(
    Array.from({ length: 5 }, (_, index) =>
      packetOf({ version: 4, topic: `t/${index}`, payload: Buffer.from(`p${index}`) }),
    ),
  );
  for (const byte of stream) framer.push(Buffer.of(byte));
  t.same(seen, ['t/0:p0', 't/1:p1', 't/2:p2', 't/3:p3', 't/4:p4']);
});
