// What sessions and delivery need of a client's connection. The connection implements it; so nothing below the
// connection floor knows sockets or Aedes, and tests and the simulation put their own in its place.

import type { AckType } from '../mqtt/ack.ts';
import type { Outbound } from '../mqtt/message.ts';
import type { TopicAliases } from '../mqtt/topic-aliases.ts';

export type ProtocolVersion = 3 | 4 | 5;

export interface Link {
  readonly clientId: string;
  /** MQTT 3.1, 3.1.1 or 5. */
  readonly version: ProtocolVersion;
  /** Largest packet the client takes, in bytes [MQTT-3.1.2-24]; Infinity when it named none. */
  readonly maximumPacketBytes: number;
  /** Unacknowledged QoS 1 and 2 messages the client takes at once [MQTT-3.3.4-9]; 65,535 when it named none. */
  readonly receiveMaximum: number;
  /** Answers that refuse may say why: MQTT 5, unless it asked for no problem information [MQTT-3.1.2-29]. */
  readonly wantsReasons: boolean;
  /** Topic aliases towards the client, null where there are none [MQTT5-3.1.2-27]. */
  readonly aliases: TopicAliases | null;

  /** Appends one packet to what this tick writes. The buffer is not changed afterwards by anyone. */
  send(packet: Buffer): void;
  /** Appends the PUBLISH of the body bytes[start, end), which need not be a packet of its own. Nothing is kept of either. */
  sendPublish(bytes: Buffer, outbound: Outbound, start: number, end: number): void;
  /** Appends an ack without reason string, likewise; the code is left out before MQTT 5. */
  sendAck(type: AckType, packetId: number, reasonCode?: number): void;
  /** False while more bytes wait for the socket than the configured limit: QoS 0 is dropped then, the rest waits. */
  hasRoom(): boolean;
  /** Ends the connection: in MQTT 5 with a DISCONNECT of this reason code, if the connection is established. */
  close(reasonCode: number): void;
  /** Stops and goes on reading from the socket; holds are counted by reason, keep-alive stands still meanwhile. */
  hold(reason: HoldReason): void;
  unhold(reason: HoldReason): void;
}

/**
 * Why a connection is not read: too much of its own is uncommitted, the node or a lane is full, or the will of the
 * connection before may have to be published first.
 */
export type HoldReason = 'uncommitted' | 'node-full' | 'earlier-wills';
