// Delivery at QoS 1 and 2 to a session that ends with its connection: it has no queue in the store, so what is in flight
// and what waits for the window lies here, in bounded memory. Order is that of deliver(); packet identifiers follow from
// a count of its own. Invariant: nothing waits while the window and the connection have room.

import { LIVE_IDS, packetIdOf, seqOf } from '../mqtt/packet-id.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Drop, type NodeStats } from '../observability/node-stats.ts';
import type { Link } from './link.ts';
import { newSending, sendMessage } from './sending.ts';
import type { WaitingCopy } from './waiting-copies.ts';
import { RELEASED, SENT_1, SENT_2, Window } from './window.ts';

export interface LiveWindowOptions {
  readonly stats: NodeStats;
  readonly inflightMax: number;
  /** Most messages and bytes that wait for the window: limits.maxQueuedMessages, limits.maxConnectionBytes. */
  readonly backlogMax: number;
  readonly backlogMaxBytes: number;
  /** What gives way when the backlog is full: the oldest waiting message, or the new one. */
  readonly dropOldest: boolean;
  nowMs(): number;
  /** What the session's other way out has in flight, or is about to: the client's Receive Maximum counts both. */
  inflightBeside(): number;
}

interface Waiting {
  body: Buffer;
  qos: 1 | 2;
  retain: boolean;
  subscriptionIds: readonly number[] | null;
  expiresAt: number;
  ownExpiry: boolean;
  copy: WaitingCopy | null;
}

const sending = newSending(1);

export class LiveWindow {
  readonly #options: LiveWindowOptions;
  readonly #window: Window;
  readonly #backlog: Waiting[] = [];
  /** Index of the oldest waiting one: the array is cut when half of it is behind. */
  #first = 0;
  #backlogBytes = 0;
  #link: Link | null = null;
  #inflightMax = 0;
  #waitingForRoom: (() => void) | null = null;

  constructor(options: LiveWindowOptions) {
    this.#options = options;
    this.#window = new Window(options.inflightMax, 1);
  }

  get inflight(): number {
    return this.#window.inflight;
  }

  get backlog(): number {
    return this.#backlog.length - this.#first;
  }

  start(link: Link): void {
    this.#link = link;
    this.#inflightMax = Math.min(link.receiveMaximum, this.#options.inflightMax);
    this.flow();
  }

  /** Lets go of everything; what waited is counted as dropped with the session. */
  stop(): void {
    this.#link = null;
    this.#options.stats.messagesDropped[Drop.SESSION_ENDED] += this.backlog + this.#window.inflight;
    this.#backlog.length = 0;
    this.#first = 0;
    this.#backlogBytes = 0;
  }

  deliver(
    body: Buffer,
    qos: 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    expiresAt: number,
    ownExpiry: boolean,
    copy: WaitingCopy | null,
  ): void {
    const link = this.#link;
    if (link !== null && this.backlog === 0 && this.#hasRoom(link)) {
      copy?.leave();
      sending.qos = qos;
      sending.retain = retain;
      sending.subscriptionIds = subscriptionIds;
      sending.expiresAt = expiresAt;
      sending.ownExpiry = ownExpiry;
      this.#send(link, body);
      return;
    }
    this.#wait({ body, qos, retain, subscriptionIds, expiresAt, ownExpiry, copy });
  }

  /** Calls `run` once when nothing waits for the window: the reading of retained messages goes by it. */
  whenRoom(run: () => void): void {
    if (this.backlog === 0) run();
    else this.#waitingForRoom = run;
  }

  /** Sends what waits as far as there is room: after an ack and when the socket has drained. */
  flow(): void {
    const link = this.#link;
    if (link === null) return;
    while (this.#first < this.#backlog.length && this.#hasRoom(link)) {
      const waiting = this.#shift();
      if (waiting.copy?.isOld) {
        this.#options.stats.messagesDropped[Drop.SUPERSEDED]++;
        continue;
      }
      sending.qos = waiting.qos;
      sending.retain = waiting.retain;
      sending.subscriptionIds = waiting.subscriptionIds;
      sending.expiresAt = waiting.expiresAt;
      sending.ownExpiry = waiting.ownExpiry;
      this.#send(link, waiting.body);
    }
    const run = this.#waitingForRoom;
    if (run === null || this.backlog > 0) return;
    this.#waitingForRoom = null;
    run();
  }

  handlePuback(packetId: number): void {
    const seq = seqOf(packetId, this.#window.oldest, LIVE_IDS);
    if (this.#window.state(seq) !== SENT_1) return;
    this.#options.stats.messagesDelivered[1]++;
    this.#window.finish(seq);
    this.flow();
  }

  handlePubrec(packetId: number, reasonCode: number): void {
    const link = this.#link;
    if (link === null) return;
    const seq = seqOf(packetId, this.#window.oldest, LIVE_IDS);
    const state = this.#window.state(seq);
    if (state === SENT_2 && reasonCode >= 0x80) {
      this.#options.stats.messagesDelivered[2]++;
      this.#window.finish(seq);
      this.flow();
    } else if (state === SENT_2 || state === RELEASED) {
      this.#window.change(seq, RELEASED);
      link.sendAck(PacketType.PUBREL, packetId);
    } else if (reasonCode < 0x80) {
      link.sendAck(PacketType.PUBREL, packetId, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
    }
  }

  handlePubcomp(packetId: number): void {
    const seq = seqOf(packetId, this.#window.oldest, LIVE_IDS);
    if (this.#window.state(seq) !== RELEASED) return;
    this.#options.stats.messagesDelivered[2]++;
    this.#window.finish(seq);
    this.flow();
  }

  #hasRoom(link: Link): boolean {
    const window = this.#window;
    const inflight = window.inflight + this.#options.inflightBeside();
    return inflight < this.#inflightMax && window.next < window.oldest + window.span && link.hasRoom();
  }

  /** Sends what `sending` says. */
  #send(link: Link, body: Buffer): void {
    const { stats } = this.#options;
    const nowMs = sending.expiresAt === 0 ? 0 : this.#options.nowMs();
    if (sending.expiresAt !== 0 && nowMs >= sending.expiresAt) {
      stats.messagesDropped[Drop.EXPIRED]++;
      return;
    }
    const seq = this.#window.next;
    sending.packetId = packetIdOf(seq, LIVE_IDS);
    if (!sendMessage(link, body, sending, nowMs)) {
      stats.messagesDropped[Drop.CLIENT_PACKET_SIZE]++;
      return;
    }
    this.#window.enter(seq, sending.qos === 2 ? SENT_2 : SENT_1, 0);
  }

  #wait(waiting: Waiting): void {
    const { backlogMax, backlogMaxBytes, dropOldest, stats } = this.#options;
    const size = waiting.body.length;
    while (this.backlog > 0 && (this.backlog >= backlogMax || this.#backlogBytes + size > backlogMaxBytes)) {
      stats.messagesDropped[Drop.CONNECTION_FULL]++;
      if (!dropOldest) {
        waiting.copy?.leave();
        return;
      }
      this.#shift();
    }
    this.#backlog.push(waiting);
    this.#backlogBytes += size;
  }

  #shift(): Waiting {
    const waiting = this.#backlog[this.#first];
    waiting.copy?.leave();
    this.#first++;
    this.#backlogBytes -= waiting.body.length;
    if (this.#first > 64 && this.#first * 2 > this.#backlog.length) {
      this.#backlog.splice(0, this.#first);
      this.#first = 0;
    }
    return waiting;
  }
}
