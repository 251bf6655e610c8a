// MQTT 5 properties as the bytes they are. A list of properties is checked, searched and shortened in place, so that
// user properties keep their order, repetitions and names whatever these are (mqtt-packet groups them by name). What
// may stand in which packet is one table. Offsets given here never include the length in front of the list.

import { copyBytes } from '../util/copy-bytes.ts';
import {
  isText,
  malformed,
  protocolError,
  readUint16,
  readVarint,
  varintSize,
  writeVarint,
} from './bytes.ts';
import { PacketType } from './packet-type.ts';

/** Identifiers of all properties [MQTT5-2.2.2.2]. */
export const Property = {
  PAYLOAD_FORMAT_INDICATOR: 0x01,
  MESSAGE_EXPIRY_INTERVAL: 0x02,
  CONTENT_TYPE: 0x03,
  RESPONSE_TOPIC: 0x08,
  CORRELATION_DATA: 0x09,
  SUBSCRIPTION_IDENTIFIER: 0x0b,
  SESSION_EXPIRY_INTERVAL: 0x11,
  ASSIGNED_CLIENT_IDENTIFIER: 0x12,
  SERVER_KEEP_ALIVE: 0x13,
  AUTHENTICATION_METHOD: 0x15,
  AUTHENTICATION_DATA: 0x16,
  REQUEST_PROBLEM_INFORMATION: 0x17,
  WILL_DELAY_INTERVAL: 0x18,
  REQUEST_RESPONSE_INFORMATION: 0x19,
  RESPONSE_INFORMATION: 0x1a,
  SERVER_REFERENCE: 0x1c,
  REASON_STRING: 0x1f,
  RECEIVE_MAXIMUM: 0x21,
  TOPIC_ALIAS_MAXIMUM: 0x22,
  TOPIC_ALIAS: 0x23,
  MAXIMUM_QOS: 0x24,
  RETAIN_AVAILABLE: 0x25,
  USER_PROPERTY: 0x26,
  MAXIMUM_PACKET_SIZE: 0x27,
  WILDCARD_SUBSCRIPTION_AVAILABLE: 0x28,
  SUBSCRIPTION_IDENTIFIER_AVAILABLE: 0x29,
  SHARED_SUBSCRIPTION_AVAILABLE: 0x2a,
} as const;

/** The properties of a will inside CONNECT have a place of their own in the tables: type 0 is no packet. */
export const WILL_PROPERTIES = 0;

const BYTE = 1;
const UINT16 = 2;
const UINT32 = 3;
const VARINT = 4;
const TEXT = 5;
const BINARY = 6;
const TEXT_PAIR = 7;

const { CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP } = PacketType;
const { SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH } = PacketType;

/** Identifier, type of value, packets it may stand in. */
const RULES: readonly (readonly [number, number, readonly number[]])[] = [
  [Property.PAYLOAD_FORMAT_INDICATOR, BYTE, [PUBLISH, WILL_PROPERTIES]],
  [Property.MESSAGE_EXPIRY_INTERVAL, UINT32, [PUBLISH, WILL_PROPERTIES]],
  [Property.CONTENT_TYPE, TEXT, [PUBLISH, WILL_PROPERTIES]],
  [Property.RESPONSE_TOPIC, TEXT, [PUBLISH, WILL_PROPERTIES]],
  [Property.CORRELATION_DATA, BINARY, [PUBLISH, WILL_PROPERTIES]],
  [Property.SUBSCRIPTION_IDENTIFIER, VARINT, [PUBLISH, SUBSCRIBE]],
  [Property.SESSION_EXPIRY_INTERVAL, UINT32, [CONNECT, CONNACK, DISCONNECT]],
  [Property.ASSIGNED_CLIENT_IDENTIFIER, TEXT, [CONNACK]],
  [Property.SERVER_KEEP_ALIVE, UINT16, [CONNACK]],
  [Property.AUTHENTICATION_METHOD, TEXT, [CONNECT, CONNACK, AUTH]],
  [Property.AUTHENTICATION_DATA, BINARY, [CONNECT, CONNACK, AUTH]],
  [Property.REQUEST_PROBLEM_INFORMATION, BYTE, [CONNECT]],
  [Property.WILL_DELAY_INTERVAL, UINT32, [WILL_PROPERTIES]],
  [Property.REQUEST_RESPONSE_INFORMATION, BYTE, [CONNECT]],
  [Property.RESPONSE_INFORMATION, TEXT, [CONNACK]],
  [Property.SERVER_REFERENCE, TEXT, [CONNACK, DISCONNECT]],
  [
    Property.REASON_STRING,
    TEXT,
    [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH],
  ],
  [Property.RECEIVE_MAXIMUM, UINT16, [CONNECT, CONNACK]],
  [Property.TOPIC_ALIAS_MAXIMUM, UINT16, [CONNECT, CONNACK]],
  [Property.TOPIC_ALIAS, UINT16, [PUBLISH]],
  [Property.MAXIMUM_QOS, BYTE, [CONNACK]],
  [Property.RETAIN_AVAILABLE, BYTE, [CONNACK]],
  [
    Property.USER_PROPERTY,
    TEXT_PAIR,
    [WILL_PROPERTIES, CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP].concat([
      SUBSCRIBE,
      SUBACK,
      UNSUBSCRIBE,
      UNSUBACK,
      DISCONNECT,
      AUTH,
    ]),
  ],
  [Property.MAXIMUM_PACKET_SIZE, UINT32, [CONNECT, CONNACK]],
  [Property.WILDCARD_SUBSCRIPTION_AVAILABLE, BYTE, [CONNACK]],
  [Property.SUBSCRIPTION_IDENTIFIER_AVAILABLE, BYTE, [CONNACK]],
  [Property.SHARED_SUBSCRIPTION_AVAILABLE, BYTE, [CONNACK]],
];

const PROPERTY_COUNT = 64;
/** Type of value by identifier; 0 where there is no such property. */
const VALUE_TYPES = new Uint8Array(PROPERTY_COUNT);
/** Bit n is set where the property may stand in packets of type n. */
const ALLOWED_IN = new Uint16Array(PROPERTY_COUNT);
for (const [id, type, packets] of RULES) {
  VALUE_TYPES[id] = type;
  for (const packet of packets) ALLOWED_IN[id] |= 1 << packet;
}

/**
 * The offset behind the property at `at`, or -1 where it is unknown, cut off by `end`, or its text is no UTF-8. With
 * `checkText` false only lengths are looked at (for bytes that were checked when they came in).
 */
export function propertyEnd(buf: Buffer, at: number, end: number, checkText: boolean): number {
  const id = buf[at];
  const value = at + 1;
  switch (id < PROPERTY_COUNT ? VALUE_TYPES[id] : 0) {
    case BYTE:
      return value + 1 <= end ? value + 1 : -1;
    case UINT16:
      return value + 2 <= end ? value + 2 : -1;
    case UINT32:
      return value + 4 <= end ? value + 4 : -1;
    case VARINT: {
      const number = readVarint(buf, value, end);
      return number < 0 ? -1 : value + varintSize(number);
    }
    case TEXT:
      return fieldEnd(buf, value, end, checkText);
    case BINARY:
      return fieldEnd(buf, value, end, false);
    case TEXT_PAIR: {
      const nameEnd = fieldEnd(buf, value, end, checkText);
      return nameEnd < 0 ? -1 : fieldEnd(buf, nameEnd, end, checkText);
    }
    default:
      return -1;
  }
}

/** The offset behind a field with a two byte length in front, or -1 where it is cut off or not text as asked for. */
export function fieldEnd(buf: Buffer, at: number, end: number, checkText: boolean): number {
  if (at + 2 > end) return -1;
  const valueEnd = at + 2 + readUint16(buf, at);
  if (valueEnd > end) return -1;
  return checkText && !isText(buf, at + 2, valueEnd) ? -1 : valueEnd;
}

/**
 * Checks the properties in `buf[start, end)` of a packet of the given type (WILL_PROPERTIES for a will's): every one
 * known and whole (else SWARMQ_ERR_PACKET_MALFORMED, 0x81), allowed in this packet, given once unless it is a user
 * property, and within its range (else SWARMQ_ERR_PACKET_PROTOCOL, 0x82). PUBLISH has its own, quicker check.
 */
export function checkProperties(packetType: number, buf: Buffer, start: number, end: number): void {
  let seenLow = 0;
  let seenHigh = 0;
  let at = start;
  while (at < end) {
    const id = buf[at];
    const next = propertyEnd(buf, at, end, true);
    if (next < 0) throw malformed(`property 0x${id.toString(16)}`);
    if ((ALLOWED_IN[id] & (1 << packetType)) === 0) {
      throw protocolError(`property 0x${id.toString(16)} in a packet of type ${packetType}`);
    }
    if (id !== Property.USER_PROPERTY) {
      const bit = 1 << (id & 31);
      const seen = id < 32 ? seenLow : seenHigh;
      if ((seen & bit) !== 0) throw protocolError(`property 0x${id.toString(16)} twice`);
      if (id < 32) seenLow |= bit;
      else seenHigh |= bit;
      checkRange(id, buf, at + 1);
    }
    at = next;
  }
}

function checkRange(id: number, buf: Buffer, value: number): void {
  const isByte = VALUE_TYPES[id] === BYTE;
  if (isByte && buf[value] > 1) throw protocolError(`property 0x${id.toString(16)} is neither 0 nor 1`);
  const mayNotBeZero =
    id === Property.RECEIVE_MAXIMUM ||
    id === Property.MAXIMUM_PACKET_SIZE ||
    id === Property.SUBSCRIPTION_IDENTIFIER;
  if (!mayNotBeZero) return;
  const isZero =
    id === Property.RECEIVE_MAXIMUM
      ? readUint16(buf, value) === 0
      : id === Property.MAXIMUM_PACKET_SIZE
        ? buf.readUInt32BE(value) === 0
        : buf[value] === 0;
  if (isZero) throw protocolError(`property 0x${id.toString(16)} is 0`);
}

/** Offset of the first property `id` in checked bytes (its identifier byte), or -1. */
export function findProperty(buf: Buffer, start: number, end: number, id: number): number {
  let at = start;
  while (at < end) {
    if (buf[at] === id) return at;
    at = propertyEnd(buf, at, end, false);
    if (at < 0) return -1;
  }
  return -1;
}

/** A copy of the checked properties without those whose identifier is in `ids`; the others keep their order. */
export function removeProperties(buf: Buffer, start: number, end: number, ids: readonly number[]): Buffer {
  const kept = Buffer.allocUnsafe(end - start);
  let to = 0;
  let at = start;
  while (at < end) {
    const next = propertyEnd(buf, at, end, false);
    if (next < 0) throw malformed(`property 0x${buf[at].toString(16)}`);
    if (!ids.includes(buf[at])) to = copyBytes(buf, at, next, kept, to);
    at = next;
  }
  return kept.subarray(0, to);
}

/** One property to be built: a number for the numeric types, a string or bytes for text and binary, a pair of strings. */
export type PropertyValue = readonly [
  id: number,
  value: number | string | Buffer | readonly [string, string],
];

/** The bytes of a list of properties, in the given order, without the length in front. */
export function buildProperties(properties: readonly PropertyValue[]): Buffer {
  const parts: Buffer[] = [];
  for (const [id, value] of properties) {
    parts.push(Buffer.of(id));
    if (typeof value === 'number') parts.push(numberBytes(VALUE_TYPES[id], value));
    else if (typeof value === 'string' || Buffer.isBuffer(value)) parts.push(fieldBytes(value));
    else parts.push(fieldBytes(value[0]), fieldBytes(value[1]));
  }
  return Buffer.concat(parts);
}

function numberBytes(type: number, value: number): Buffer {
  if (type === BYTE) return Buffer.of(value);
  if (type === UINT16) return Buffer.of(value >>> 8, value & 255);
  if (type === UINT32) return Buffer.of(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  return varintBytes(value);
}

function varintBytes(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(varintSize(value));
  writeVarint(bytes, 0, value);
  return bytes;
}

/** A text or binary field with its two byte length in front. */
export function fieldBytes(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value;
  return Buffer.concat([Buffer.of(bytes.length >>> 8, bytes.length & 255), bytes]);
}
