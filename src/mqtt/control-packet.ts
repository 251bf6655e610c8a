// Checks the other packets that a client may send besides CONNECT, PUBLISH and acks, field by field, before mqtt-packet
// makes objects of them: it reads past cut-off fields, takes any bytes for text, and turns repeated properties into
// arrays. SUBSCRIBE and UNSUBSCRIBE, whose filters may be very many, are read here for good. Whether a filter's wildcards
// are in place is not asked: that has an answer of its own in SUBACK.

import { isText, malformed, protocolError, readUint16, readVarint, varintSize } from './bytes.ts';
import { readConnect } from './connect-packet.ts';
import { PacketType, type ProtocolVersion } from './packet-type.ts';
import { checkProperties, findProperty, Property } from './properties.ts';
import { ReasonCode } from './reason-code.ts';

/** Reason codes of a DISCONNECT from a client [MQTT5-3.14.2-1]. */
const CLIENT_DISCONNECT_REASONS: ReadonlySet<number> = new Set([
  ReasonCode.NORMAL_DISCONNECTION,
  ReasonCode.DISCONNECT_WITH_WILL,
  ReasonCode.UNSPECIFIED_ERROR,
  ReasonCode.MALFORMED_PACKET,
  ReasonCode.PROTOCOL_ERROR,
  ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
  ReasonCode.TOPIC_NAME_INVALID,
  ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
  ReasonCode.TOPIC_ALIAS_INVALID,
  ReasonCode.PACKET_TOO_LARGE,
  ReasonCode.MESSAGE_RATE_TOO_HIGH,
  ReasonCode.QUOTA_EXCEEDED,
  ReasonCode.ADMINISTRATIVE_ACTION,
  ReasonCode.PAYLOAD_FORMAT_INVALID,
]);

/** Bits of the subscription options [MQTT5-3.8.3.1]. */
export const NO_LOCAL = 4;
export const RETAIN_AS_PUBLISHED = 8;
const SHARE_PREFIX = Buffer.from('$share/');

/**
 * Checks the packet buf[start, end), cut by a framer, whose variable header begins at `bodyStart`. Throws
 * SWARMQ_ERR_PACKET_MALFORMED (0x81) or SWARMQ_ERR_PACKET_PROTOCOL (0x82) for what a client of this version may not
 * send, packets of the server's included.
 */
export function checkControlPacket(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  bodyStart: number,
  end: number,
): void {
  const type = buf[start] >> 4;
  switch (type) {
    case PacketType.CONNECT:
      readConnect(buf, bodyStart, end);
      return;
    case PacketType.SUBSCRIBE:
    case PacketType.UNSUBSCRIBE:
      readFilters(type, version, buf, bodyStart, end);
      return;
    case PacketType.PINGREQ:
      if (end !== bodyStart) throw malformed('PINGREQ with a body');
      return;
    case PacketType.DISCONNECT:
      checkDisconnect(version, buf, bodyStart, end);
      return;
    case PacketType.AUTH:
      checkAuth(version, buf, bodyStart, end);
      return;
    default:
      throw protocolError(`packet of type ${type} from a client`);
  }
}

/** What SUBSCRIBE or UNSUBSCRIBE asks for. */
export interface FilterList {
  readonly packetId: number;
  /** 0 is none. */
  readonly subscriptionId: number;
  readonly filters: string[];
  /** The options byte of each filter; empty for UNSUBSCRIBE. */
  readonly options: number[];
}

/**
 * Reads the SUBSCRIBE or UNSUBSCRIBE buf[.., end) whose variable header begins at `bodyStart`. Throws as
 * checkControlPacket does. A packet may hold some 100,000 filters: each costs no more than its text.
 */
export function readFilters(
  type: number,
  version: ProtocolVersion,
  buf: Buffer,
  bodyStart: number,
  end: number,
): FilterList {
  if (bodyStart + 2 > end) throw malformed('packet identifier cut off');
  const packetId = readUint16(buf, bodyStart);
  if (packetId === 0) throw protocolError('packet identifier 0 [MQTT-2.3.1-1]');
  let at = bodyStart + 2;
  let subscriptionId = 0;
  if (version === 5) {
    const propsStart = at + varintSize(readVarint(buf, at, end));
    at = checkPropertyList(type, buf, at, end);
    const idAt = findProperty(buf, propsStart, at, Property.SUBSCRIPTION_IDENTIFIER);
    if (idAt >= 0) subscriptionId = readVarint(buf, idAt + 1, at);
  }
  if (at === end) throw protocolError('no topic filter [MQTT-3.8.3-3], [MQTT-3.10.3-2]');
  const list: FilterList = { packetId, subscriptionId, filters: [], options: [] };
  while (at < end) {
    if (at + 2 > end) throw malformed('topic filter cut off');
    const filter = at + 2;
    at = filter + readUint16(buf, at);
    if (at > end || !isText(buf, filter, at)) throw malformed('topic filter is not whole UTF-8 text');
    list.filters.push(buf.toString('utf8', filter, at));
    if (type === PacketType.UNSUBSCRIBE) continue;
    if (at + 1 > end) throw malformed('subscription options cut off');
    checkOptions(version, buf[at], buf.subarray(filter, at));
    list.options.push(buf[at]);
    at++;
  }
  return list;
}

function checkOptions(version: ProtocolVersion, options: number, filter: Buffer): void {
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) {
    throw malformed('reserved subscription options [MQTT-3.8.3-4], [MQTT5-3.8.3-5]');
  }
  if ((options & 3) === 3) throw malformed('subscription with QoS 3 [MQTT-3.8.3-4]');
  if (version !== 5) return;
  if (((options >> 4) & 3) === 3) throw protocolError('retain handling 3 [MQTT5-3.8.3.1]');
  if ((options & NO_LOCAL) !== 0 && filter.subarray(0, SHARE_PREFIX.length).equals(SHARE_PREFIX)) {
    throw protocolError('no local on a shared subscription [MQTT5-3.8.3-4]');
  }
}

function checkDisconnect(version: ProtocolVersion, buf: Buffer, bodyStart: number, end: number): void {
  if (bodyStart === end) return;
  if (version !== 5) throw malformed('DISCONNECT with a body');
  if (!CLIENT_DISCONNECT_REASONS.has(buf[bodyStart])) {
    throw protocolError(`DISCONNECT with reason code 0x${buf[bodyStart].toString(16)}`);
  }
  checkLastProperties(PacketType.DISCONNECT, buf, bodyStart + 1, end);
}

function checkAuth(version: ProtocolVersion, buf: Buffer, bodyStart: number, end: number): void {
  if (version !== 5) throw malformed('AUTH before MQTT 5');
  const reasonCode = bodyStart === end ? ReasonCode.SUCCESS : buf[bodyStart];
  if (reasonCode !== ReasonCode.CONTINUE_AUTHENTICATION && reasonCode !== ReasonCode.REAUTHENTICATE) {
    throw protocolError(`AUTH of a client with reason code 0x${reasonCode.toString(16)}`);
  }
  checkLastProperties(PacketType.AUTH, buf, bodyStart + 1, end);
}

/** Properties that may be left out with their length, and end the packet. */
function checkLastProperties(type: number, buf: Buffer, at: number, end: number): void {
  if (at < end && checkPropertyList(type, buf, at, end) !== end)
    throw malformed('bytes behind the properties');
}

/** Checks the properties whose length stands at `at`; answers the offset behind them. */
function checkPropertyList(type: number, buf: Buffer, at: number, end: number): number {
  const bytes = readVarint(buf, at, end);
  if (bytes < 0) throw malformed('length of properties');
  const propsStart = at + varintSize(bytes);
  if (propsStart + bytes > end) throw malformed('properties cut off');
  checkProperties(type, buf, propsStart, propsStart + bytes);
  return propsStart + bytes;
}
