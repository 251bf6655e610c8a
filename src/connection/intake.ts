// What comes in from one client, and when it is looked at: the framer that cuts it into packets, and the reasons for which
// the framer stands still (a control packet is being answered, too much is uncommitted, a will of the client's connection
// before comes first, the connection has ended). While it stands still, the socket is read on for a few bytes only:
// enough to notice that the client is gone.
// Invariant: packets are cut by one loop at a time; whoever lets go in the middle of it leaves the rest to that loop.

import { Framer, type PacketSink } from '../mqtt/framer.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { HoldReason } from '../session/link.ts';
import type { ByteStream } from './ports.ts';
import type { EndsTick, TickEnd } from './tick-end.ts';

/** Bytes that may wait uncut before the socket is not read any more. */
const READ_AHEAD_BYTES = 4096;

/** Why the framer stands still, as bits. */
const STOP_CONTROL = 1;
const STOP_ENDED = 2;
const STOP_UNCOMMITTED = 4;
const STOP_NODE_FULL = 8;
/** No hold is left; the end of the tick goes on. */
const STOP_RESUMING = 16;
const STOP_EARLIER_WILLS = 32;
const HOLDS = STOP_UNCOMMITTED | STOP_NODE_FULL | STOP_EARLIER_WILLS;
const HOLD_BITS: Readonly<Record<HoldReason, number>> = {
  uncommitted: STOP_UNCOMMITTED,
  'node-full': STOP_NODE_FULL,
  'earlier-wills': STOP_EARLIER_WILLS,
};

const isDisconnect = (firstByte: number): boolean => firstByte === PacketType.DISCONNECT << 4;

/** Whose packets they are. */
export interface IntakeOwner extends PacketSink {
  /** The framer goes on after it stood still. */
  onReadingOn(): void;
  /** A packet could not be handled; nothing of what is behind it has been looked at. */
  onFault(error: unknown): void;
  /** The stream is gone, and all that came by it has been handled. */
  onInputEnded(): void;
}

export class Intake implements EndsTick {
  /** Nothing more will come. */
  isStreamGone = false;
  readonly #owner: IntakeOwner;
  readonly #stream: ByteStream;
  readonly #framer: Framer;
  readonly #tickEnd: TickEnd;
  readonly #stats: NodeStats;
  #stops = 0;
  #isCutting = false;
  #isPaused = false;

  constructor(
    owner: IntakeOwner,
    stream: ByteStream,
    tickEnd: TickEnd,
    stats: NodeStats,
    maxPacketBytes: number,
  ) {
    this.#owner = owner;
    this.#stream = stream;
    this.#framer = new Framer(owner, maxPacketBytes);
    this.#tickEnd = tickEnd;
    this.#stats = stats;
  }

  /** The framer stands still. */
  get isStill(): boolean {
    return this.#stops !== 0;
  }

  /** Bytes that have not been cut. */
  get waitingBytes(): number {
    return this.#framer.waitingBytes;
  }

  /** The DISCONNECT among the packets that have come and not been cut, if there is one. */
  heldDisconnect(): Buffer | null {
    return this.waitingBytes === 0 ? null : this.#framer.findHeld(isDisconnect);
  }

  take(chunk: Buffer): void {
    this.#cut(chunk);
  }

  /** A control packet is to be answered first. */
  stop(): void {
    this.#stops |= STOP_CONTROL;
    this.#framer.stop();
  }

  /** The control packet is answered. */
  goOn(): void {
    this.#stops &= ~STOP_CONTROL;
    this.#proceed();
  }

  hold(reason: HoldReason): void {
    if ((this.#stops & STOP_ENDED) !== 0) return;
    if ((this.#stops & HOLDS) === 0) this.#stats.connectionsHeld++;
    this.#stops |= HOLD_BITS[reason];
    this.#framer.stop();
  }

  /** Reading goes on at the end of the tick: whoever lets go may be in the middle of its own bookkeeping. */
  unhold(reason: HoldReason): void {
    if ((this.#stops & HOLD_BITS[reason]) === 0) return;
    this.#stops &= ~HOLD_BITS[reason];
    if ((this.#stops & HOLDS) !== 0) return;
    this.#stats.connectionsHeld--;
    this.#stops |= STOP_RESUMING;
    this.#tickEnd.add(this);
  }

  onTickEnd(): void {
    this.#stops &= ~STOP_RESUMING;
    this.#proceed();
  }

  /** Nothing is looked at any more. */
  end(): void {
    if ((this.#stops & HOLDS) !== 0) this.#stats.connectionsHeld--;
    this.#stops = STOP_ENDED;
    this.#framer.stop();
  }

  #proceed(): void {
    if (this.#stops !== 0) return;
    this.#owner.onReadingOn();
    this.#cut(null);
  }

  /** Takes a chunk, or goes on with what is held. Called from within, it leaves the rest to the loop at work. */
  #cut(chunk: Buffer | null): void {
    const isOuter = !this.#isCutting;
    this.#isCutting = true;
    try {
      if (chunk === null) this.#framer.resume();
      else this.#framer.push(chunk);
    } catch (error) {
      this.#owner.onFault(error);
    } finally {
      if (isOuter) this.#isCutting = false;
    }
    if (!isOuter || (this.#stops & STOP_ENDED) !== 0) return;
    if (this.#stops === 0 && this.isStreamGone) {
      this.#owner.onInputEnded();
      return;
    }
    const isFull = this.#stops !== 0 && this.#framer.waitingBytes > READ_AHEAD_BYTES;
    if (isFull === this.#isPaused) return;
    this.#isPaused = isFull;
    if (isFull) this.#stream.pauseReading();
    else this.#stream.resumeReading();
  }
}
