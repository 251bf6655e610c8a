// CONNACK, DISCONNECT and AUTH that we write ourselves, when Aedes does not: a refusal, a takeover, a protocol error, a
// drain, a step of authentication; and the acks that refuse, which alone may carry a reason string.

import { Buffer } from 'node:buffer';
import { type AckType, encodeAck } from './ack.ts';
import { varintSize, writeVarint } from './bytes.ts';
import { PacketType, type ProtocolVersion } from './packet-type.ts';
import { buildProperties, Property, type PropertyValue } from './properties.ts';
import { connackReturnCodeOf, ReasonCode } from './reason-code.ts';
import { reasonTextOf } from './reason-text.ts';

export interface AnswerProperties {
  /** For people, not for programs; left out where empty. The client may have asked for none. */
  reasonString?: string;
  /** Where to go instead, with 0x9C and 0x9D. */
  serverReference?: string | undefined;
}

/** What AUTH and the CONNACK at the end of enhanced authentication say [MQTT5-4.12.0-5]. */
export interface AuthProperties {
  readonly method: string;
  readonly data: Buffer | null;
}

function packetOf(type: number, head: readonly number[], props: Buffer): Buffer {
  const remaining = head.length + varintSize(props.length) + props.length;
  const packet = Buffer.allocUnsafe(1 + varintSize(remaining) + remaining);
  packet[0] = type << 4;
  let at = writeVarint(packet, 1, remaining);
  for (const byte of head) packet[at++] = byte;
  props.copy(packet, writeVarint(packet, at, props.length));
  return packet;
}

function propertiesOf(answer: AnswerProperties): Buffer {
  const list: PropertyValue[] = [];
  if (answer.serverReference) list.push([Property.SERVER_REFERENCE, answer.serverReference]);
  if (answer.reasonString) list.push([Property.REASON_STRING, answer.reasonString]);
  return buildProperties(list);
}

/**
 * CONNACK for a connection of the given version; before MQTT 5 the reason code becomes the nearest return code and the
 * properties are left out. Session present goes only with success [MQTT-3.2.2-4], and not to MQTT 3.1, where that bit
 * is reserved.
 */
export function encodeConnack(
  version: ProtocolVersion,
  isSessionPresent: boolean,
  reasonCode: number,
  answer: AnswerProperties = {},
): Buffer {
  const flags = isSessionPresent && reasonCode === ReasonCode.SUCCESS && version !== 3 ? 1 : 0;
  if (version !== 5) return Buffer.of(PacketType.CONNACK << 4, 2, flags, connackReturnCodeOf(reasonCode));
  return packetOf(PacketType.CONNACK, [flags, reasonCode], propertiesOf(answer));
}

/** AUTH of the server: 0x18 asks the client to go on, 0 ends a re-authentication. */
export function encodeAuth(reasonCode: number, { method, data }: AuthProperties): Buffer {
  const list: PropertyValue[] = [[Property.AUTHENTICATION_METHOD, method]];
  if (data !== null) list.push([Property.AUTHENTICATION_DATA, data]);
  return packetOf(PacketType.AUTH, [reasonCode], buildProperties(list));
}

/** What of its client an answer must heed. */
export interface AnswerReader {
  readonly version: ProtocolVersion;
  readonly maximumPacketBytes: number;
  /** It is of MQTT 5 and has not asked for no problem information [MQTT-3.1.2-29]. */
  readonly wantsReasons: boolean;
}

/**
 * What goes with a reason code of CONNACK or DISCONNECT: `detail`, or else the text of the code, where the client takes
 * it, and the reference for a code that needs one.
 */
export function answerFor(
  reader: AnswerReader,
  reasonCode: number,
  serverReference: string | undefined,
  detail?: string,
): AnswerProperties {
  const isElsewhere = reasonCode === ReasonCode.USE_ANOTHER_SERVER || reasonCode === ReasonCode.SERVER_MOVED;
  return {
    reasonString: reader.wantsReasons ? (detail ?? reasonTextOf(reasonCode)) : '',
    serverReference: isElsewhere ? serverReference : undefined,
  };
}

/** An ack that refuses, to a client of MQTT 5: it says why, if the packet is not too large for the client then. */
export function encodeAnswer(
  reader: AnswerReader,
  type: AckType,
  packetId: number,
  reasonCode: number,
): Buffer {
  const props = propertiesOf({ reasonString: reasonTextOf(reasonCode) });
  const packet = packetOf(type, [packetId >>> 8, packetId & 255, reasonCode], props);
  if (packet.length <= reader.maximumPacketBytes) return packet;
  return encodeAck(type, reader.version, packetId, reasonCode);
}

/** DISCONNECT of the server; MQTT 5 only, before it a server just closes [MQTT5-3.14.0-1]. */
export function encodeDisconnect(reasonCode: number, answer: AnswerProperties = {}): Buffer {
  const props = propertiesOf(answer);
  if (props.length === 0) return Buffer.of(PacketType.DISCONNECT << 4, 1, reasonCode);
  return packetOf(PacketType.DISCONNECT, [reasonCode], props);
}
