// A client's transport in memory: bytes of a device reach the node that it called, and the other way, each direction in
// order and after a delay by chance. Either end may close; what a dead or cut end had sent may be lost on the way.

import type { ByteStream, StreamEvents } from '../../src/connection/ports.ts';
import type { Random } from '../../src/util/random.ts';
import type { Process, VirtualTime } from './virtual-time.ts';

/** The device's end. */
export interface WireClient {
  onBytes(bytes: Buffer): void;
  onClose(): void;
}

const PACKET_MS_MAX = 3;
/** One in so many packets is late. */
const LATE_ONE_IN = 40;
const LATE_MS_MAX = 60;

export class Wire implements ByteStream {
  readonly info = { listener: 'tcp', remoteAddress: '127.0.0.1' };
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #node: Process;
  readonly #client: WireClient;
  #events: StreamEvents | null = null;
  /** When the last packet of each direction arrives. */
  #inMs = 0;
  #outMs = 0;
  #waitingBytes = 0;
  #isPaused = false;
  #arrived: Buffer[] = [];
  /** The device has closed behind what waits in `#arrived`. */
  #closesBehind = false;
  isClosedByClient = false;
  isClosedByNode = false;
  hasNodeDied = false;
  /** The device does not hear of the end, and the node hears nothing from the device. */
  isSilent = false;

  constructor(time: VirtualTime, random: Random, node: Process, client: WireClient) {
    this.#time = time;
    this.#random = random;
    this.#node = node;
    this.#client = client;
  }

  // ---- the node's end

  setHandlers(events: StreamEvents): void {
    this.#events = events;
  }

  write(bytes: Buffer): boolean {
    if (this.isClosedByNode) return true;
    this.#waitingBytes += bytes.length;
    this.#outMs = Math.max(this.#outMs, this.#time.nowMs + this.#delayMs());
    // Bytes that have left their node arrive, whatever becomes of it.
    this.#time.post(
      this.#outMs - this.#time.nowMs,
      () => {
        this.#waitingBytes -= bytes.length;
        if (!this.isClosedByClient) this.#client.onBytes(bytes);
      },
      this.#node,
      'gone',
    );
    return true;
  }

  bytesWaiting(): number {
    return this.#waitingBytes;
  }

  pauseReading(): void {
    this.#isPaused = true;
  }

  resumeReading(): void {
    this.#isPaused = false;
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const bytes of arrived) this.#take(bytes);
    if (this.#closesBehind && !this.#isPaused) this.#tellNode();
  }

  established(): void {}

  end(): void {
    this.#closeByNode();
  }

  destroy(): void {
    this.#closeByNode();
  }

  #closeByNode(): void {
    if (this.isClosedByNode) return;
    this.isClosedByNode = true;
    this.#outMs = Math.max(this.#outMs, this.#time.nowMs + this.#delayMs());
    this.#time.post(this.#outMs - this.#time.nowMs, () => this.#tellClient(), this.#node, 'gone');
    this.#node.soon(() => this.#tellNode());
  }

  // ---- the device's end

  send(bytes: Buffer): void {
    if (this.isClosedByClient) return;
    // Cut anywhere now and then: the framer must not mind.
    if (bytes.length > 1 && this.#random.below(8) === 0) {
      const at = 1 + this.#random.below(bytes.length - 1);
      this.#sendPart(bytes.subarray(0, at));
      this.#sendPart(bytes.subarray(at));
    } else {
      this.#sendPart(bytes);
    }
  }

  #sendPart(bytes: Buffer): void {
    const copy = Buffer.from(bytes);
    this.#arriveIn(() => this.#take(copy));
  }

  /** The device closes; the node hears of it behind what was sent. */
  close(): void {
    if (this.isClosedByClient) return;
    this.isClosedByClient = true;
    if (!this.isSilent) this.#arriveIn(() => this.#tellNode());
  }

  /** The device is gone without a word, as when its network fails. */
  vanish(): void {
    this.isSilent = true;
    this.isClosedByClient = true;
  }

  /** The node's machine is gone: the device hears of it. */
  nodeDied(): void {
    this.isClosedByNode = true;
    this.hasNodeDied = true;
    this.#time.post(this.#delayMs(), () => this.#tellClient());
  }

  #arriveIn(run: () => void): void {
    this.#inMs = Math.max(this.#inMs, this.#time.nowMs + this.#delayMs());
    this.#time.post(this.#inMs - this.#time.nowMs, run, this.#node);
  }

  #take(bytes: Buffer): void {
    if (this.#isPaused) this.#arrived.push(bytes);
    else if (!this.isClosedByNode && !this.isSilent) this.#events?.onData(bytes);
  }

  #tellNode(): void {
    this.#closesBehind = this.#isPaused && this.#arrived.length > 0 && !this.isClosedByNode;
    if (this.#closesBehind) return;
    const events = this.#events;
    this.#events = null;
    this.isClosedByNode = true;
    events?.onClose();
  }

  #tellClient(): void {
    if (this.isClosedByClient) return;
    this.isClosedByClient = true;
    this.#client.onClose();
  }

  #delayMs(): number {
    const random = this.#random;
    const most = random.below(LATE_ONE_IN) === 0 ? LATE_MS_MAX : PACKET_MS_MAX;
    return (random.below(1000) * most) / 1000;
  }
}
