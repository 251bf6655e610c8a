// Reads CONNECT by our own hand, strictly, before anything else of a connection is believed. mqtt-packet would do most
// of it, but groups user properties by name and checks neither text nor properties; a will must be passed on as the
// bytes it came in. What depends on configuration (client id length, who may connect) is not judged here.

import type { AnswerReader } from './answers.ts';
import { isText, malformed, protocolError, readUint16, readVarint, varintSize } from './bytes.ts';
import { buildBody } from './message.ts';
import type { ProtocolVersion, QoS } from './packet-type.ts';
import { checkProperties, findProperty, Property, removeProperties, WILL_PROPERTIES } from './properties.ts';
import { ReasonCode } from './reason-code.ts';
import { hasWildcard } from './topic.ts';

export interface ConnectWill {
  topic: string;
  qos: QoS;
  retain: boolean;
  payload: Buffer;
  /** Will properties as they came, without the Will Delay Interval. */
  props: Buffer;
  /** Will Delay Interval in seconds. */
  delaySec: number;
  /** The will as a message body (message.ts). */
  body: Buffer;
}

export interface ConnectParts {
  version: ProtocolVersion;
  /** True where the client said it is a bridge (top bit of the level, mosquitto's extension to 3.1 and 3.1.1). */
  isBridge: boolean;
  cleanStart: boolean;
  keepAliveSec: number;
  clientId: string;
  username: string | null;
  password: Buffer | null;
  will: ConnectWill | null;
  /** Properties as they came; empty before MQTT 5. */
  props: Buffer;
  /** From here on MQTT 5's, at their defaults where absent. Session expiry in seconds; 0xFFFFFFFF is "never". */
  sessionExpirySec: number;
  receiveMaximum: number;
  /** Largest packet the client takes, in bytes; 0 where it named no limit. */
  maximumPacketBytes: number;
  topicAliasMaximum: number;
  wantsResponseInformation: boolean;
  wantsProblemInformation: boolean;
  authenticationMethod: string | null;
  authenticationData: Buffer | null;
}

const FLAG_RESERVED = 1;
const FLAG_CLEAN = 2;
const FLAG_WILL = 4;
const FLAG_WILL_RETAIN = 32;
const FLAG_PASSWORD = 64;
const FLAG_USERNAME = 128;
const BRIDGE_BIT = 128;
const NO_BYTES = Buffer.alloc(0);

/** Walks the fields; every read is checked against the end of the packet. */
class Fields {
  readonly buf: Buffer;
  readonly end: number;
  at: number;

  constructor(buf: Buffer, at: number, end: number) {
    this.buf = buf;
    this.at = at;
    this.end = end;
  }

  byte(what: string): number {
    if (this.at + 1 > this.end) throw malformed(`${what} cut off`);
    return this.buf[this.at++];
  }

  uint16(what: string): number {
    if (this.at + 2 > this.end) throw malformed(`${what} cut off`);
    this.at += 2;
    return readUint16(this.buf, this.at - 2);
  }

  binary(what: string): Buffer {
    const bytes = this.uint16(what);
    if (this.at + bytes > this.end) throw malformed(`${what} cut off`);
    this.at += bytes;
    return this.buf.subarray(this.at - bytes, this.at);
  }

  text(what: string): string {
    const bytes = this.binary(what);
    if (!isText(bytes, 0, bytes.length)) throw malformed(`${what} is not UTF-8 text [MQTT-1.5.3-1]`);
    return bytes.toString('utf8');
  }

  properties(packetType: number): Buffer {
    const bytes = readVarint(this.buf, this.at, this.end);
    if (bytes < 0) throw malformed('length of properties');
    const start = this.at + varintSize(bytes);
    if (start + bytes > this.end) throw malformed('properties cut off');
    checkProperties(packetType, this.buf, start, start + bytes);
    this.at = start + bytes;
    return this.buf.subarray(start, this.at);
  }
}

/**
 * Reads the CONNECT whose variable header is buf[bodyStart, end). Buffers in the answer are slices of `buf`, but for
 * `will.body`. Throws SWARMQ_ERR_PACKET_MALFORMED (0x81) or SWARMQ_ERR_PACKET_PROTOCOL: 0x84 for a protocol level that
 * we do not speak [MQTT-3.1.2-2], 0x90 for a will topic with wildcards, 0x82 for the rest.
 */
export function readConnect(buf: Buffer, bodyStart: number, end: number): ConnectParts {
  const fields = new Fields(buf, bodyStart, end);
  const name = fields.text('protocol name');
  const level = fields.byte('protocol level');
  const version = versionOf(name, level & ~BRIDGE_BIT);
  const flags = fields.byte('connect flags');
  checkFlags(version, flags);
  const keepAliveSec = fields.uint16('keep-alive');
  const props = version === 5 ? fields.properties(1) : NO_BYTES;
  const clientId = fields.text('client identifier');
  const will = (flags & FLAG_WILL) === 0 ? null : readWill(fields, version, flags);
  // MQTT 3.1 allows for a length that ends before fields that the flags promise.
  const mayBeMissing = version === 3;
  const hasUsername = (flags & FLAG_USERNAME) !== 0 && !(mayBeMissing && fields.at === end);
  const username = hasUsername ? fields.text('user name') : null;
  const hasPassword = (flags & FLAG_PASSWORD) !== 0 && !(mayBeMissing && fields.at === end);
  const password = hasPassword ? fields.binary('password') : null;
  if (fields.at !== end) throw malformed('bytes behind the last field of CONNECT');
  return {
    version,
    isBridge: level >= BRIDGE_BIT,
    cleanStart: (flags & FLAG_CLEAN) !== 0,
    keepAliveSec,
    clientId,
    username,
    password,
    will,
    props,
    ...readConnectProperties(props),
  };
}

function versionOf(name: string, level: number): ProtocolVersion {
  if (name !== 'MQTT' && name !== 'MQIsdp') throw malformed('protocol name [MQTT-3.1.2-1]');
  if (name === 'MQIsdp' && level === 3) return 3;
  if (name === 'MQTT' && (level === 4 || level === 5)) return level;
  throw protocolError(`protocol level ${level} of ${name}`, ReasonCode.UNSUPPORTED_PROTOCOL_VERSION);
}

/**
 * How a CONNECT that could not be read wants to be answered, or null where its version cannot be told. A level that we do
 * not know is answered as the nearest one that we do [MQTT-3.1.2-2]. Of its properties those count that stand before
 * whatever is broken: who asks for small packets or for no words there gets no others.
 */
export function readerOfBroken(buf: Buffer, bodyStart: number, end: number): AnswerReader | null {
  const levelAt = bodyStart + 2 + (bodyStart + 2 <= end ? readUint16(buf, bodyStart) : 0);
  if (levelAt >= end) return null;
  const name = buf.latin1Slice(bodyStart + 2, levelAt);
  const level = buf[levelAt] & ~BRIDGE_BIT;
  const version = name === 'MQIsdp' ? 3 : name !== 'MQTT' ? null : level >= 5 ? 5 : 4;
  if (version === null) return null;
  if (version !== 5) return { version, maximumPacketBytes: Number.POSITIVE_INFINITY, wantsReasons: false };
  // Behind the level: flags and keep-alive, three bytes.
  const lengthAt = levelAt + 4;
  const bytes = readVarint(buf, lengthAt, end);
  const start = lengthAt + varintSize(bytes);
  const props = bytes < 0 ? NO_BYTES : buf.subarray(start, Math.min(start + bytes, end));
  const problemAt = valueOffset(props, Property.REQUEST_PROBLEM_INFORMATION);
  const maximumAt = valueOffset(props, Property.MAXIMUM_PACKET_SIZE);
  const maximum = maximumAt < 0 || maximumAt + 4 > props.length ? 0 : props.readUInt32BE(maximumAt);
  return {
    version,
    maximumPacketBytes: maximum === 0 ? Number.POSITIVE_INFINITY : maximum,
    wantsReasons: problemAt < 0 || props[problemAt] !== 0,
  };
}

function checkFlags(version: ProtocolVersion, flags: number): void {
  if ((flags & FLAG_RESERVED) !== 0) throw malformed('reserved connect flag is set [MQTT-3.1.2-3]');
  const willQos = (flags >> 3) & 3;
  if (willQos === 3) throw malformed('will QoS 3 [MQTT-3.1.2-14]');
  if ((flags & FLAG_WILL) === 0 && (willQos !== 0 || (flags & FLAG_WILL_RETAIN) !== 0)) {
    throw malformed('will flags without a will [MQTT-3.1.2-13]');
  }
  if (version !== 5 && (flags & (FLAG_USERNAME | FLAG_PASSWORD)) === FLAG_PASSWORD) {
    throw malformed('password without user name [MQTT-3.1.2-22]');
  }
}

function readWill(fields: Fields, version: ProtocolVersion, flags: number): ConnectWill {
  const all = version === 5 ? fields.properties(WILL_PROPERTIES) : NO_BYTES;
  const topic = fields.text('will topic');
  const payload = fields.binary('will payload');
  if (topic === '') throw protocolError('empty will topic [MQTT-4.7.3-1]', ReasonCode.TOPIC_NAME_INVALID);
  if (hasWildcard(topic)) throw protocolError('wildcard in the will topic', ReasonCode.TOPIC_NAME_INVALID);
  const response = valueOffset(all, Property.RESPONSE_TOPIC);
  if (
    response >= 0 &&
    hasWildcard(all.toString('utf8', response + 2, response + 2 + readUint16(all, response)))
  ) {
    throw protocolError('wildcard in the response topic [MQTT5-3.3.2-14]');
  }
  const delay = valueOffset(all, Property.WILL_DELAY_INTERVAL);
  const props = delay < 0 ? all : removeProperties(all, 0, all.length, [Property.WILL_DELAY_INTERVAL]);
  return {
    topic,
    qos: ((flags >> 3) & 3) as QoS,
    retain: (flags & FLAG_WILL_RETAIN) !== 0,
    payload,
    props,
    delaySec: delay < 0 ? 0 : all.readUInt32BE(delay),
    body: buildBody(topic, payload, props),
  };
}

/** Offset of a property's value in checked bytes, or -1. */
function valueOffset(props: Buffer, id: number): number {
  const at = findProperty(props, 0, props.length, id);
  return at < 0 ? -1 : at + 1;
}

function readConnectProperties(props: Buffer) {
  const uint16 = (id: number, absent: number) => {
    const at = valueOffset(props, id);
    return at < 0 ? absent : readUint16(props, at);
  };
  const uint32 = (id: number) => {
    const at = valueOffset(props, id);
    return at < 0 ? 0 : props.readUInt32BE(at);
  };
  const binary = (id: number) => {
    const at = valueOffset(props, id);
    return at < 0 ? null : props.subarray(at + 2, at + 2 + readUint16(props, at));
  };
  const method = binary(Property.AUTHENTICATION_METHOD);
  const authenticationData = binary(Property.AUTHENTICATION_DATA);
  if (method === null && authenticationData !== null) {
    throw protocolError('authentication data without a method [MQTT5-3.1.2.11.10]');
  }
  const responseAt = valueOffset(props, Property.REQUEST_RESPONSE_INFORMATION);
  const problemAt = valueOffset(props, Property.REQUEST_PROBLEM_INFORMATION);
  return {
    sessionExpirySec: uint32(Property.SESSION_EXPIRY_INTERVAL),
    receiveMaximum: uint16(Property.RECEIVE_MAXIMUM, 65_535),
    maximumPacketBytes: uint32(Property.MAXIMUM_PACKET_SIZE),
    topicAliasMaximum: uint16(Property.TOPIC_ALIAS_MAXIMUM, 0),
    wantsResponseInformation: responseAt >= 0 && props[responseAt] === 1,
    wantsProblemInformation: problemAt < 0 || props[problemAt] === 1,
    authenticationMethod: method === null ? null : method.toString('utf8'),
    authenticationData,
  };
}
