// PUBACK, PUBREC, PUBREL and PUBCOMP: read in place into one reader's fields, written as four bytes (five with a reason
// code that is not success). Also the ready-made PINGRESP. No reason strings or user properties are ever sent in acks.

import { Buffer } from 'node:buffer';
import { malformed, protocolError, readUint16, readVarint, varintSize } from './bytes.ts';
import { PacketType, type ProtocolVersion } from './packet-type.ts';
import { checkProperties } from './properties.ts';
import { ReasonCode } from './reason-code.ts';

export type AckType =
  | typeof PacketType.PUBACK
  | typeof PacketType.PUBREC
  | typeof PacketType.PUBREL
  | typeof PacketType.PUBCOMP;

/** The answer to PINGREQ. Shared: not to be changed. */
export const PINGRESP: Buffer = Buffer.of(PacketType.PINGRESP << 4, 0);

/** Reason codes of PUBACK and PUBREC [MQTT5-3.4.2-1], [MQTT5-3.5.2-1]. */
const PUBLISH_REASONS = reasonTable([
  ReasonCode.SUCCESS,
  ReasonCode.NO_MATCHING_SUBSCRIBERS,
  ReasonCode.UNSPECIFIED_ERROR,
  ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
  ReasonCode.NOT_AUTHORIZED,
  ReasonCode.TOPIC_NAME_INVALID,
  ReasonCode.PACKET_IDENTIFIER_IN_USE,
  ReasonCode.QUOTA_EXCEEDED,
  ReasonCode.PAYLOAD_FORMAT_INVALID,
]);
/** Reason codes of PUBREL and PUBCOMP [MQTT5-3.6.2-1], [MQTT5-3.7.2-1]. */
const RELEASE_REASONS = reasonTable([ReasonCode.SUCCESS, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND]);

function reasonTable(codes: readonly number[]): Uint8Array {
  const table = new Uint8Array(256);
  for (const code of codes) table[code] = 1;
  return table;
}

/** One reader serves a process: `read` overwrites its fields. */
export class AckReader {
  packetId = 0;
  /** 0 before MQTT 5. */
  reasonCode = 0;

  /**
   * Reads the ack that a framer cut (its flags are checked there). Throws SWARMQ_ERR_PACKET_MALFORMED (0x81) or
   * SWARMQ_ERR_PACKET_PROTOCOL (0x82): packet identifier 0, a reason code that this ack cannot have, wrong properties.
   */
  read(version: ProtocolVersion, buf: Buffer, start: number, bodyStart: number, end: number): void {
    const bytes = end - bodyStart;
    if (bytes < 2 || (bytes > 2 && version !== 5)) throw malformed(`ack of ${bytes} bytes`);
    this.packetId = readUint16(buf, bodyStart);
    this.reasonCode = 0;
    if (this.packetId === 0) throw protocolError('packet identifier 0 [MQTT-2.3.1-1]');
    if (bytes === 2) return;
    const type = buf[start] >> 4;
    const reasonCode = buf[bodyStart + 2];
    const isOfPublish = type === PacketType.PUBACK || type === PacketType.PUBREC;
    if ((isOfPublish ? PUBLISH_REASONS : RELEASE_REASONS)[reasonCode] === 0) {
      throw protocolError(`reason code 0x${reasonCode.toString(16)} in an ack of type ${type}`);
    }
    this.reasonCode = reasonCode;
    if (bytes === 3) return;
    const propsBytes = readVarint(buf, bodyStart + 3, end);
    const propsStart = bodyStart + 3 + varintSize(propsBytes);
    if (propsBytes < 0 || propsStart + propsBytes !== end) throw malformed('length of properties');
    checkProperties(type, buf, propsStart, end);
  }
}

/** Bytes of the ack that writeAck writes. */
export function ackSize(version: ProtocolVersion, reasonCode: number): number {
  return version === 5 && reasonCode !== 0 ? 5 : 4;
}

/** Writes an ack to `target` at `at`, where ackSize bytes are free; answers the offset behind it. */
export function writeAck(
  target: Buffer,
  at: number,
  type: AckType,
  version: ProtocolVersion,
  packetId: number,
  reasonCode: number,
): number {
  const size = ackSize(version, reasonCode);
  // PUBREL has the flag bits 0010 [MQTT-3.6.1-1].
  target[at] = type === PacketType.PUBREL ? 0x62 : type << 4;
  target[at + 1] = size - 2;
  target[at + 2] = packetId >>> 8;
  target[at + 3] = packetId & 255;
  if (size === 5) target[at + 4] = reasonCode;
  return at + size;
}

/** An ack as a packet of its own. The reason code is left out before MQTT 5, which has none, and where it is success. */
export function encodeAck(type: AckType, version: ProtocolVersion, packetId: number, reasonCode = 0): Buffer {
  const packet = Buffer.allocUnsafe(ackSize(version, reasonCode));
  writeAck(packet, 0, type, version, packetId, reasonCode);
  return packet;
}
