// CONNACK and DISCONNECT that we write ourselves, when Aedes does not: a refusal, a takeover, a protocol error, a drain.

import { varintSize, writeVarint } from './bytes.ts';
import { PacketType, type ProtocolVersion } from './packet-type.ts';
import { buildProperties, Property, type PropertyValue } from './properties.ts';
import { connackReturnCodeOf, ReasonCode } from './reason-code.ts';

export interface AnswerProperties {
  /** For people, not for programs; left out where empty. The client may have asked for none. */
  reasonString?: string;
  /** Where to go instead, with 0x9C and 0x9D. */
  serverReference?: string;
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

/** DISCONNECT of the server; MQTT 5 only, before it a server just closes [MQTT5-3.14.0-1]. */
export function encodeDisconnect(reasonCode: number, answer: AnswerProperties = {}): Buffer {
  const props = propertiesOf(answer);
  if (props.length === 0) return Buffer.of(PacketType.DISCONNECT << 4, 1, reasonCode);
  return packetOf(PacketType.DISCONNECT, [reasonCode], props);
}
