// The only door to mqtt-packet: whole control packets to objects and back, for packets that are rare (CONNECT,
// SUBSCRIBE and the like). Its parser is fed nothing that our own checks have not passed, one packet at a time with a
// fresh parser, so that no state of a broken packet meets the next one. Its user properties are grouped by name:
// PUBLISH and wills do not go this way.

import * as mqttPacket from 'mqtt-packet';
import { SwarmqError } from '../util/errors.ts';
import { malformed } from './bytes.ts';
import { checkControlPacket } from './control-packet.ts';
import { PacketType, type ProtocolVersion } from './packet-type.ts';
import { ReasonCode } from './reason-code.ts';

// Else its first packet makes 65,536 buffers of every number there is: the first client of a node would wait for them.
mqttPacket.writeToStream.cacheNumbers = false;

export type ControlPacket = mqttPacket.Packet;

const AUTH_WITHOUT_BODY = Buffer.of(PacketType.AUTH << 4, 2, 0, 0);

/**
 * Parses one whole packet that a client sent: CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT or AUTH. Throws
 * SWARMQ_ERR_PACKET_MALFORMED or SWARMQ_ERR_PACKET_PROTOCOL with the MQTT 5 reason code. Buffers in the answer are
 * slices of `bytes`.
 */
export function parseClientPacket(version: ProtocolVersion, bytes: Buffer): ControlPacket {
  const bodyStart = bodyStartOf(bytes);
  checkControlPacket(version, bytes, 0, bodyStart, bytes.length);
  return parsePacket(version, bytes);
}

/**
 * Parses one whole packet of either side by mqtt-packet's rules alone, which are loose: for packets that Aedes or we
 * wrote. Throws SWARMQ_ERR_PACKET_MALFORMED (0x81) where it is not exactly one packet.
 */
export function parsePacket(version: ProtocolVersion, bytes: Buffer): ControlPacket {
  if (bodyStartOf(bytes) > bytes.length) throw malformed('packet cut off');
  const isAuthWithoutBody = bytes.length === 2 && bytes[0] >> 4 === PacketType.AUTH;
  const packets: ControlPacket[] = [];
  const parser = mqttPacket.parser({ protocolVersion: version });
  let fault: Error | null = null;
  parser.on('packet', (packet) => packets.push(packet));
  parser.on('error', (error: Error) => {
    fault = error;
  });
  let rest: number;
  try {
    // It wants a reason code where the standard lets an AUTH with success be empty.
    rest = parser.parse(isAuthWithoutBody ? AUTH_WITHOUT_BODY : bytes);
  } catch (cause) {
    throw unreadable('control packet', cause);
  }
  if (fault !== null) throw unreadable('control packet', fault);
  if (packets.length !== 1 || rest !== 0) throw malformed('not exactly one whole packet');
  return packets[0];
}

/**
 * The bytes of a packet. mqtt-packet answers some faults with an exception and some with too few bytes; both are
 * SWARMQ_ERR_PACKET_MALFORMED here.
 */
export function generatePacket(packet: ControlPacket, version: ProtocolVersion): Buffer {
  let bytes: Buffer;
  try {
    bytes = mqttPacket.generate(packet, { protocolVersion: version });
  } catch (cause) {
    throw unreadable(`${packet.cmd} to be written`, cause);
  }
  if (bytes.length < 2 || packetBytes(bytes) !== bytes.length) {
    throw malformed(`${packet.cmd} to be written has ${bytes.length} bytes`);
  }
  return bytes;
}

/** Offset of the variable header; beyond the end where the fixed header is cut off. */
function bodyStartOf(bytes: Buffer): number {
  let at = 1;
  while (at < 4 && bytes[at] > 127) at++;
  return at + 1;
}

/** Length of the packet as its fixed header says. */
function packetBytes(bytes: Buffer): number {
  const bodyStart = bodyStartOf(bytes);
  let remaining = 0;
  for (let at = bodyStart - 1; at > 0; at--) remaining = remaining * 128 + (bytes[at] & 127);
  return bodyStart + remaining;
}

function unreadable(what: string, cause: unknown): SwarmqError {
  const detail = `${what}: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new SwarmqError('SWARMQ_ERR_PACKET_MALFORMED', detail, {
    reasonCode: ReasonCode.MALFORMED_PACKET,
    cause,
  });
}
