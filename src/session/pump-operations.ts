// What a pump submits to the store: the pull of a part of its queue, the acks that gather until the store takes them, and
// the end of its share in a payload. They carry what the pump needs to go on when the answer comes, and decide nothing.

import type { NodeStats } from '../observability/node-stats.ts';
import { AckOperation, FinishPayloadOperation, type Owner, PullOperation } from '../store/operations.ts';
import { PUBREL_ENTRY } from '../store/records.ts';
import { stopPoint } from '../util/stop-point.ts';

/** The pump, as its operations see it. */
export interface PumpPort {
  /** The store takes the open ack: what comes from now on goes into another one. */
  sealAck(ack: SessionAck): void;
  ackCommitted(ack: SessionAck): void;
  pulled(pull: SessionPull): void;
}

export class SessionAck extends AckOperation {
  readonly finished: { payloadId: string; index: number }[] = [];
  delivered1 = 0;
  delivered2 = 0;
  /** Indexes of DROP_REASONS. */
  readonly dropped: number[] = [];
  /** Of each of `released`: its bytes before, where they are known. */
  readonly sizes: number[] = [];
  readonly #pump: PumpPort;

  constructor(pump: PumpPort, clientId: string, owner: Owner) {
    super(clientId, owner);
    this.#pump = pump;
  }

  /** PUBREC came of a message of so many bytes. */
  release(seq: number, size: number): void {
    this.released.push(seq);
    this.sizes.push(size);
    this.bytes += size - PUBREL_ENTRY.length;
  }

  /** Once it is committed: what is not yet is sent again by the next owner, and counted there. */
  count({ messagesDelivered, messagesDropped }: NodeStats): void {
    messagesDelivered[1] += this.delivered1;
    messagesDelivered[2] += this.delivered2;
    for (const reason of this.dropped) messagesDropped[reason]++;
  }

  override seal(): void {
    stopPoint('ack/sealed');
    this.#pump.sealAck(this);
  }

  override complete(): void {
    stopPoint('ack/committed');
    this.#pump.ackCommitted(this);
  }
}

export class SessionPull extends PullOperation {
  readonly #pump: PumpPort;

  constructor(pump: PumpPort, clientId: string, owner: Owner, from: number, count: number, maxBytes: number) {
    super(clientId, owner, from, count, maxBytes);
    this.#pump = pump;
  }

  override seal(): void {
    stopPoint('resume/pulling');
  }

  override complete(): void {
    stopPoint('resume/pulled');
    this.#pump.pulled(this);
  }
}

export class PayloadDone extends FinishPayloadOperation {
  override complete(): void {}
}
