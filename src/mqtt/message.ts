// An application message as one run of bytes, its **body**: exactly what follows the fixed header in an MQTT 5 PUBLISH
// at QoS 0, without topic alias and subscription identifiers: u16 length and topic, variable length and properties in
// their original order, payload. Bodies are what is queued, sent between nodes and retained; the outbound packet of any
// version is made from one in one allocation. Where a packet may leave as it came in, the second half of this file
// tells, so that not even the body is made. Invariant: a body is never changed.

import { Buffer } from 'node:buffer';
import { assert } from '../util/assert.ts';
import { copyBytes } from '../util/copy-bytes.ts';
import { SwarmqError } from '../util/errors.ts';
import { readUint16, readVarint, varintSize, writeUint16, writeVarint } from './bytes.ts';
import type { ProtocolVersion, QoS } from './packet-type.ts';
import { findProperty, Property } from './properties.ts';
import { NO_EXPIRY, type PublishReader } from './publish.ts';

const PUBLISH_BYTE = 0x30;
const TOPIC_BYTES_MAX = 65_535;
const ALIAS_PROPERTY_BYTES = 3;

/** How a body leaves as a PUBLISH. Keep one object and change its fields: nothing here holds on to it. */
export interface Outbound {
  qos: QoS;
  retain: boolean;
  dup: boolean;
  /** 1 to 65,535; not looked at for QoS 0. */
  packetId: number;
  /** Identifiers of all matching subscriptions, or null; MQTT 5 only. */
  subscriptionIds: readonly number[] | null;
  /** Seconds to put in place of a given Message Expiry Interval; NO_EXPIRY leaves it as it is. */
  expirySec: number;
  /** Outbound Topic Alias, 0 or absent for none; MQTT 5 only. */
  topicAlias?: number;
  /** True where the alias is known to the client, so that the topic is left out. */
  isTopicOmitted?: boolean;
}

/** Where the parts of a body lie. One view is used for many bodies: `read` overwrites it. */
export class BodyView {
  /** The body is bytes[start, end). */
  start = 0;
  end = 0;
  topicEnd = 0;
  propsStart = 0;
  propsEnd = 0;

  /** Topic bytes are bytes[topicStart, topicEnd). */
  get topicStart(): number {
    return this.start + 2;
  }

  /** The payload is bytes[payloadStart, end). */
  get payloadStart(): number {
    return this.propsEnd;
  }

  /** Finds the parts of the body bytes[start, end). Throws SWARMQ_ERR_RECORD_CORRUPT where the bytes are no body. */
  read(bytes: Buffer, start = 0, end = bytes.length): this {
    const topicEnd = end - start < 2 ? end + 1 : start + 2 + readUint16(bytes, start);
    const propsBytes = topicEnd < end ? readVarint(bytes, topicEnd, end) : -1;
    const propsStart = topicEnd + varintSize(propsBytes);
    if (propsBytes < 0 || propsStart + propsBytes > end) {
      throw new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', `message body of ${end - start} bytes`);
    }
    this.start = start;
    this.end = end;
    this.topicEnd = topicEnd;
    this.propsStart = propsStart;
    this.propsEnd = propsStart + propsBytes;
    return this;
  }

  topic(body: Buffer): string {
    return body.toString('utf8', this.topicStart, this.topicEnd);
  }

  /** Message Expiry Interval in seconds, as the publisher gave it, or NO_EXPIRY. */
  expirySec(body: Buffer): number {
    const at = findProperty(body, this.propsStart, this.propsEnd, Property.MESSAGE_EXPIRY_INTERVAL);
    return at < 0 ? NO_EXPIRY : body.readUInt32BE(at + 1);
  }
}

const view = new BodyView();

/**
 * The body of the packet that `reader` has just read from `buf`, as a copy of its own. `topic` is what the message is
 * published to: the reader's own topic, or the one that the alias stands for.
 */
export function encodeBody(reader: PublishReader, topic: string, buf: Buffer): Buffer {
  if (reader.aliasAt >= 0 || topic !== reader.topic) return encodeBodyByParts(reader, topic, buf);
  // Two runs of bytes: the topic with its length, and all behind the packet identifier (before MQTT 5 there are no
  // properties, so their length, 0, comes between).
  const { bodyStart, topicEnd, end } = reader;
  const hasProps = reader.version === 5;
  const tail = reader.qos === 0 ? topicEnd : topicEnd + 2;
  const body = Buffer.allocUnsafe(topicEnd - bodyStart + (hasProps ? 0 : 1) + end - tail);
  let at = copyBytes(buf, bodyStart, topicEnd, body, 0);
  if (!hasProps) body[at++] = 0;
  copyBytes(buf, tail, end, body, at);
  return body;
}

function encodeBodyByParts(reader: PublishReader, topic: string, buf: Buffer): Buffer {
  const { propsStart, propsEnd, aliasAt, payloadStart, end } = reader;
  const topicBytes = Buffer.byteLength(topic);
  assert(topicBytes > 0 && topicBytes <= TOPIC_BYTES_MAX, 'a message body has a topic');
  const propsBytes = propsEnd - propsStart - (aliasAt < 0 ? 0 : ALIAS_PROPERTY_BYTES);
  const body = Buffer.allocUnsafe(2 + topicBytes + varintSize(propsBytes) + propsBytes + end - payloadStart);
  let at = writeUint16(body, 0, topicBytes);
  at += body.write(topic, at);
  at = writeVarint(body, at, propsBytes);
  if (aliasAt < 0) {
    at = copyBytes(buf, propsStart, propsEnd, body, at);
  } else {
    at = copyBytes(buf, propsStart, aliasAt, body, at);
    at = copyBytes(buf, aliasAt + ALIAS_PROPERTY_BYTES, propsEnd, body, at);
  }
  copyBytes(buf, payloadStart, end, body, at);
  return body;
}

/** A body from its parts: for wills, `$SYS` and messages of our own. `props` are checked property bytes, if any. */
export function buildBody(topic: string, payload: Buffer, props: Buffer | null = null): Buffer {
  const topicBytes = Buffer.byteLength(topic);
  assert(topicBytes > 0 && topicBytes <= TOPIC_BYTES_MAX, 'a message body has a topic');
  const propsBytes = props === null ? 0 : props.length;
  const body = Buffer.allocUnsafe(2 + topicBytes + varintSize(propsBytes) + propsBytes + payload.length);
  let at = writeUint16(body, 0, topicBytes);
  at += body.write(topic, at);
  at = writeVarint(body, at, propsBytes);
  if (props !== null) at = copyBytes(props, 0, propsBytes, body, at);
  copyBytes(payload, 0, payload.length, body, at);
  return body;
}

/** Bytes of properties in front of the body's own: topic alias and subscription identifiers. */
function extraPropertyBytes(outbound: Outbound): number {
  let bytes = outbound.topicAlias ? ALIAS_PROPERTY_BYTES : 0;
  const ids = outbound.subscriptionIds;
  if (ids !== null) for (let index = 0; index < ids.length; index++) bytes += 1 + varintSize(ids[index]);
  return bytes;
}

/** Remaining length of the outbound packet of the body body[start, end), which `view` has read then. */
function remainingBytes(
  version: ProtocolVersion,
  body: Buffer,
  outbound: Outbound,
  start: number,
  end: number,
): number {
  const { topicEnd, propsStart, propsEnd } = view.read(body, start, end);
  const idBytes = outbound.qos === 0 ? 0 : 2;
  if (version !== 5) return topicEnd - start + idBytes + end - propsEnd;
  const propsBytes = propsEnd - propsStart + extraPropertyBytes(outbound);
  const topicBytes = outbound.isTopicOmitted ? 2 : topicEnd - start;
  return topicBytes + idBytes + varintSize(propsBytes) + propsBytes + end - propsEnd;
}

/**
 * Bytes of the packet that `encodePublish` would make, to compare with the client's Maximum Packet Size. Here and below
 * the body is body[start, end).
 */
export function publishSize(
  version: ProtocolVersion,
  body: Buffer,
  outbound: Outbound,
  start = 0,
  end = body.length,
): number {
  const remaining = remainingBytes(version, body, outbound, start, end);
  return 1 + varintSize(remaining) + remaining;
}

/** Bytes of the payload of a body. */
export function payloadSize(body: Buffer, start = 0, end = body.length): number {
  return end - view.read(body, start, end).payloadStart;
}

/** The outbound PUBLISH for a connection of the given version. Before MQTT 5 properties are left out. */
export function encodePublish(
  version: ProtocolVersion,
  body: Buffer,
  outbound: Outbound,
  start = 0,
  end = body.length,
): Buffer {
  const remaining = remainingBytes(version, body, outbound, start, end);
  const packet = Buffer.allocUnsafe(1 + varintSize(remaining) + remaining);
  fillPublish(packet, 0, version, body, outbound, remaining);
  return packet;
}

/**
 * The same, written to `target` at `at`, where publishSize bytes are free; answers the offset behind the packet. For an
 * outbox that gathers the packets of one tick in one buffer.
 */
export function writePublish(
  target: Buffer,
  at: number,
  version: ProtocolVersion,
  body: Buffer,
  outbound: Outbound,
  start = 0,
  end = body.length,
): number {
  const remaining = remainingBytes(version, body, outbound, start, end);
  return fillPublish(target, at, version, body, outbound, remaining);
}

/** Writes the packet; `view` has read `body`. */
function fillPublish(
  target: Buffer,
  from: number,
  version: ProtocolVersion,
  body: Buffer,
  outbound: Outbound,
  remaining: number,
): number {
  const { start, end, topicEnd, propsStart, propsEnd } = view;
  target[from] = PUBLISH_BYTE | (outbound.dup ? 8 : 0) | (outbound.qos << 1) | (outbound.retain ? 1 : 0);
  let at = writeVarint(target, from + 1, remaining);
  if (version === 5 && outbound.isTopicOmitted) at = writeUint16(target, at, 0);
  else at = copyBytes(body, start, topicEnd, target, at);
  if (outbound.qos !== 0) at = writeUint16(target, at, outbound.packetId);
  if (version === 5) {
    const extraBytes = extraPropertyBytes(outbound);
    at = writeVarint(target, at, propsEnd - propsStart + extraBytes);
    if (extraBytes > 0) at = writeExtraProperties(target, at, outbound);
    const ownProps = at;
    at = copyBytes(body, propsStart, propsEnd, target, at);
    if (outbound.expirySec !== NO_EXPIRY) replaceExpiry(target, ownProps, at, outbound.expirySec);
  }
  return copyBytes(body, propsEnd, end, target, at);
}

function writeExtraProperties(target: Buffer, start: number, outbound: Outbound): number {
  let at = start;
  if (outbound.topicAlias) {
    target[at] = Property.TOPIC_ALIAS;
    at = writeUint16(target, at + 1, outbound.topicAlias);
  }
  const ids = outbound.subscriptionIds;
  if (ids === null) return at;
  for (let index = 0; index < ids.length; index++) {
    target[at] = Property.SUBSCRIPTION_IDENTIFIER;
    at = writeVarint(target, at + 1, ids[index]);
  }
  return at;
}

/**
 * Puts the seconds that are left in place of the publisher's [MQTT5-3.3.2-6]; a message without any gets none. Never more
 * than the publisher's: by a node's estimate of the store's time the message may be younger than it is.
 */
function replaceExpiry(target: Buffer, start: number, end: number, expirySec: number): void {
  const at = findProperty(target, start, end, Property.MESSAGE_EXPIRY_INTERVAL);
  if (at < 0) return;
  target.writeUInt32BE(Math.min(expirySec, target.readUInt32BE(at + 1)), at + 1);
}

/** The QoS 0 packet of a body, without options: one allocation, for MQTT 5 one header and one copy. */
export function qos0Packet(version: ProtocolVersion, body: Buffer, retain: boolean): Buffer {
  const first = retain ? PUBLISH_BYTE | 1 : PUBLISH_BYTE;
  if (version === 5) {
    const packet = Buffer.allocUnsafe(1 + varintSize(body.length) + body.length);
    packet[0] = first;
    copyBytes(body, 0, body.length, packet, writeVarint(packet, 1, body.length));
    return packet;
  }
  const { topicEnd, propsEnd } = view.read(body);
  const remaining = topicEnd + body.length - propsEnd;
  const packet = Buffer.allocUnsafe(1 + varintSize(remaining) + remaining);
  packet[0] = first;
  const at = copyBytes(body, 0, topicEnd, packet, writeVarint(packet, 1, remaining));
  copyBytes(body, propsEnd, body.length, packet, at);
  return packet;
}

// From here on: packets that leave as they came in.

/**
 * True where the packet just read has, but for flags and packet identifier, the form of an outbound packet of `version`
 * at the same QoS: same kind of version, no topic alias, remaining length in its shortest form.
 */
export function hasOutboundForm(reader: PublishReader, version: ProtocolVersion): boolean {
  return (
    (reader.version === 5) === (version === 5) &&
    reader.aliasAt < 0 &&
    reader.bodyStart - reader.start === 1 + varintSize(reader.end - reader.bodyStart)
  );
}

/** True where the inbound slice itself is the outbound QoS 0 packet without retain flag for clients of `version`. */
export function isReusableAsIs(reader: PublishReader, version: ProtocolVersion): boolean {
  return reader.qos === 0 && !reader.retain && hasOutboundForm(reader, version);
}

/**
 * An outbound packet at the inbound QoS as one patched copy of the inbound one, which must have the outbound form
 * (hasOutboundForm). `packetId` is not looked at for QoS 0.
 */
export function copyInbound(
  reader: PublishReader,
  buf: Buffer,
  retain: boolean,
  dup: boolean,
  packetId: number,
): Buffer {
  const packet = Buffer.allocUnsafe(reader.end - reader.start);
  copyBytes(buf, reader.start, reader.end, packet, 0);
  packet[0] = PUBLISH_BYTE | (dup ? 8 : 0) | (reader.qos << 1) | (retain ? 1 : 0);
  if (reader.qos !== 0) writeUint16(packet, packetIdOffset(reader), packetId);
  return packet;
}

/** Where the packet identifier lies in a copy of the packet just read (QoS 1 and 2). */
export function packetIdOffset(reader: PublishReader): number {
  return reader.topicEnd - reader.start;
}

/** Overwrites the packet identifier at `offset` of a packet that is the caller's own. */
export function patchPacketId(packet: Buffer, offset: number, packetId: number): void {
  packet[offset] = packetId >>> 8;
  packet[offset + 1] = packetId & 255;
}
