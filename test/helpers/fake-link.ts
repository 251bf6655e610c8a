// A connection that only remembers what it was sent: for tests of sessions and delivery without sockets.

import { type AckType, encodeAck } from '../../src/mqtt/ack.ts';
import { encodePublish, type Outbound } from '../../src/mqtt/message.ts';
import type { TopicAliases } from '../../src/mqtt/topic-aliases.ts';
import type { HoldReason, Link, ProtocolVersion } from '../../src/session/link.ts';

export interface SentPacket {
  type: number;
  qos: number;
  dup: boolean;
  retain: boolean;
  packetId: number;
  topic: string;
  payload: string;
}

export class FakeLink implements Link {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  maximumPacketBytes = Number.POSITIVE_INFINITY;
  receiveMaximum = 65_535;
  wantsReasons = false;
  aliases: TopicAliases | null = null;
  readonly sent: SentPacket[] = [];
  readonly holds = new Set<HoldReason>();
  closedWith: number | null = null;
  room = true;
  onSend: (packet: SentPacket) => void = () => {};

  constructor(clientId: string, version: ProtocolVersion = 4) {
    this.clientId = clientId;
    this.version = version;
  }

  send(packet: Buffer): void {
    const parsed = parse(packet, this.version);
    this.sent.push(parsed);
    this.onSend(parsed);
  }

  sendPublish(body: Buffer, outbound: Outbound, start: number, end: number): void {
    this.send(encodePublish(this.version, body, outbound, start, end));
  }

  sendAck(type: AckType, packetId: number, reasonCode = 0): void {
    this.send(encodeAck(type, this.version, packetId, reasonCode));
  }

  hasRoom(): boolean {
    return this.room;
  }

  close(reasonCode: number): void {
    this.closedWith ??= reasonCode;
  }

  hold(reason: HoldReason): void {
    this.holds.add(reason);
  }

  unhold(reason: HoldReason): void {
    this.holds.delete(reason);
  }

  /** Payloads of the PUBLISHes sent so far. */
  payloads(): string[] {
    return this.sent.filter((packet) => packet.type === 3).map((packet) => packet.payload);
  }
}

function parse(packet: Buffer, version: ProtocolVersion): SentPacket {
  const type = packet[0] >> 4;
  const qos = (packet[0] >> 1) & 3;
  let at = 1;
  while (packet[at++] >= 0x80);
  const flags = { type, qos, dup: (packet[0] & 8) !== 0, retain: (packet[0] & 1) !== 0 };
  if (type !== 3) return { ...flags, packetId: packet.readUInt16BE(at), topic: '', payload: '' };
  const topicEnd = at + 2 + packet.readUInt16BE(at);
  const topic = packet.toString('utf8', at + 2, topicEnd);
  let payloadAt = topicEnd;
  const packetId = qos > 0 ? packet.readUInt16BE(topicEnd) : 0;
  if (qos > 0) payloadAt += 2;
  // Test messages have no more than 127 bytes of properties.
  if (version === 5) payloadAt += 1 + packet[payloadAt];
  return { ...flags, packetId, topic, payload: packet.toString('utf8', payloadAt) };
}
