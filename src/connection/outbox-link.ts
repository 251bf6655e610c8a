// The sending half of a Link: what session and delivery send goes into the outbox of their connection, whose other half,
// its states, is in connection.ts.

import type { AckType } from '../mqtt/ack.ts';
import type { Outbound } from '../mqtt/message.ts';
import type { Outbox } from './outbox.ts';

export abstract class OutboxLink {
  protected abstract readonly outbox: Outbox;

  send(packet: Buffer): void {
    this.outbox.send(packet);
  }

  sendPublish(bytes: Buffer, outbound: Outbound, start: number, end: number): void {
    this.outbox.sendPublish(bytes, outbound, start, end);
  }

  sendAck(type: AckType, packetId: number, reasonCode = 0): void {
    this.outbox.sendAck(type, packetId, reasonCode);
  }

  hasRoom(): boolean {
    return this.outbox.hasRoom();
  }
}
