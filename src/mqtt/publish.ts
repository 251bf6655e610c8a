// Reads PUBLISH packets where they lie. One reader serves a whole process: `read` overwrites its fields, so nothing is
// made per packet, and whoever needs a field later copies it. All that the standard asks of a client's PUBLISH is
// checked here, except what depends on the connection (which aliases are known, which QoS and sizes are allowed).
// Invariant: after `read` returned, all offsets lie in order between `start` and `end`.

import { malformed, protocolError, readUint16, readVarint, varintSize } from './bytes.ts';
import type { ProtocolVersion, QoS } from './packet-type.ts';
import { Property, propertyEnd } from './properties.ts';
import { ReasonCode } from './reason-code.ts';
import type { TopicCache } from './topic-cache.ts';

/** Stands for "this property was not given". */
export const NO_EXPIRY = -1;

const PLUS = 43;
const HASH = 35;

/** Bytes of payload of a whole PUBLISH in the form of this version, which we wrote: nothing is checked. */
export function payloadBytesOf(version: ProtocolVersion, packet: Buffer): number {
  let at = 1;
  while (packet[at++] > 127);
  at += 2 + readUint16(packet, at);
  if ((packet[0] & 6) !== 0) at += 2;
  if (version === 5) {
    const bytes = readVarint(packet, at, packet.length);
    at += varintSize(bytes) + bytes;
  }
  return packet.length - at;
}

export class PublishReader {
  version: ProtocolVersion = 4;
  /** The packet is buf[start, end); its variable header begins at bodyStart. */
  start = 0;
  bodyStart = 0;
  end = 0;
  qos: QoS = 0;
  retain = false;
  dup = false;
  /** 0 at QoS 0. */
  packetId = 0;
  /** The topic as it stands in the packet: empty where an alias replaces it. */
  topic = '';
  /** Levels of `topic`; 0 where it is empty. */
  topicLevels = 0;
  topicStart = 0;
  topicEnd = 0;
  /** Properties without the length in front of them; an empty range before MQTT 5. */
  propsStart = 0;
  propsEnd = 0;
  /** The payload is buf[payloadStart, end). */
  payloadStart = 0;
  /** Topic Alias, or 0. */
  topicAlias = 0;
  /** Offset of the Topic Alias property (3 bytes), or -1. */
  aliasAt = -1;
  /** Message Expiry Interval in seconds, or NO_EXPIRY. */
  messageExpirySec = NO_EXPIRY;
  /** Offset of the Message Expiry Interval property (5 bytes), or -1. */
  expiryAt = -1;
  /** Payload Format Indicator: 1 where the payload is said to be UTF-8. */
  payloadFormat = 0;

  readonly #topics: TopicCache;

  constructor(topics: TopicCache) {
    this.#topics = topics;
  }

  /** End of the payload, which is the packet's. */
  get payloadEnd(): number {
    return this.end;
  }

  /**
   * Reads the PUBLISH that a framer cut. Throws SWARMQ_ERR_PACKET_MALFORMED (0x81) or SWARMQ_ERR_PACKET_PROTOCOL (0x82,
   * 0x90 for a topic with wildcards, 0x94 for alias 0); the fields are worthless then.
   */
  read(version: ProtocolVersion, buf: Buffer, start: number, bodyStart: number, end: number): void {
    const first = buf[start];
    const qos = (first >> 1) & 3;
    if (qos === 3) throw malformed('QoS 3 [MQTT-3.3.1-4]');
    const dup = (first & 8) !== 0;
    if (dup && qos === 0) throw malformed('DUP at QoS 0 [MQTT-3.3.1-2]');
    this.version = version;
    this.start = start;
    this.bodyStart = bodyStart;
    this.end = end;
    this.qos = qos as QoS;
    this.retain = (first & 1) !== 0;
    this.dup = dup;

    const topicStart = bodyStart + 2;
    if (topicStart > end) throw malformed('no topic');
    const topicEnd = topicStart + readUint16(buf, bodyStart);
    let at = topicEnd + (qos === 0 ? 0 : 2);
    if (at > end) throw malformed('topic or packet identifier cut off');
    const topic = this.#topics.find(buf, topicStart, topicEnd);
    if (topic === 'text') throw malformed('topic is not UTF-8 text [MQTT-1.5.3-1]');
    if (topic === 'wildcard') {
      throw protocolError('wildcard in a topic name [MQTT-3.3.2-2]', ReasonCode.TOPIC_NAME_INVALID);
    }
    this.topic = topic.text;
    this.topicLevels = topic.levels;
    this.topicStart = topicStart;
    this.topicEnd = topicEnd;

    this.packetId = 0;
    if (qos !== 0) {
      this.packetId = readUint16(buf, topicEnd);
      if (this.packetId === 0) throw protocolError('packet identifier 0 [MQTT-2.3.1-1]');
    }

    this.topicAlias = 0;
    this.aliasAt = -1;
    this.messageExpirySec = NO_EXPIRY;
    this.expiryAt = -1;
    this.payloadFormat = 0;
    this.propsStart = at;
    this.propsEnd = at;
    if (version === 5) at = this.#readProperties(buf, at, end);
    if (topicEnd === topicStart && this.topicAlias === 0) {
      throw protocolError('neither topic nor topic alias [MQTT-4.7.3-1]');
    }
    this.payloadStart = at;
  }

  /** Reads the properties whose length stands at `at`; answers where the payload begins. */
  #readProperties(buf: Buffer, at: number, end: number): number {
    const bytes = readVarint(buf, at, end);
    if (bytes < 0) throw malformed('length of properties');
    const propsStart = at + varintSize(bytes);
    const propsEnd = propsStart + bytes;
    if (propsEnd > end) throw malformed('properties cut off');
    this.propsStart = propsStart;
    this.propsEnd = propsEnd;
    let seen = 0;
    let property = propsStart;
    while (property < propsEnd) {
      const id = buf[property];
      const next = propertyEnd(buf, property, propsEnd, true);
      if (next < 0) throw malformed(`property 0x${id.toString(16)}`);
      if (id !== Property.USER_PROPERTY) seen = this.#readProperty(id, buf, property, next, seen);
      property = next;
    }
    return propsEnd;
  }

  /** Takes one whole property that may stand once; `seen` has a bit per kind, and is answered with this one's. */
  #readProperty(id: number, buf: Buffer, at: number, next: number, seen: number): number {
    let bit: number;
    switch (id) {
      case Property.PAYLOAD_FORMAT_INDICATOR:
        bit = 1;
        this.payloadFormat = buf[at + 1];
        if (this.payloadFormat > 1) throw protocolError('payload format indicator above 1');
        break;
      case Property.MESSAGE_EXPIRY_INTERVAL:
        bit = 2;
        this.messageExpirySec = buf.readUInt32BE(at + 1);
        this.expiryAt = at;
        break;
      case Property.CONTENT_TYPE:
        bit = 4;
        break;
      case Property.RESPONSE_TOPIC:
        bit = 8;
        for (let index = at + 3; index < next; index++) {
          if (buf[index] === PLUS || buf[index] === HASH) {
            throw protocolError('wildcard in the response topic [MQTT5-3.3.2-14]');
          }
        }
        break;
      case Property.CORRELATION_DATA:
        bit = 16;
        break;
      case Property.TOPIC_ALIAS:
        bit = 32;
        this.topicAlias = readUint16(buf, at + 1);
        this.aliasAt = at;
        if (this.topicAlias === 0) {
          throw protocolError('topic alias 0 [MQTT5-3.3.2-8]', ReasonCode.TOPIC_ALIAS_INVALID);
        }
        break;
      default:
        // Also the subscription identifier, which only a server sends [MQTT5-3.3.4-6].
        throw protocolError(`property 0x${id.toString(16)} in a PUBLISH of a client`);
    }
    if ((seen & bit) !== 0) throw protocolError(`property 0x${id.toString(16)} twice`);
    return seen | bit;
  }
}
