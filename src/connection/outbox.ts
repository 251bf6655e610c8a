// What waits to be written to one connection. The packets of one tick leave in one write: small ones are put together,
// large ones go as they are, so that a message for a thousand receivers is not copied a thousand times. What is made for
// this connection alone (its PUBLISHes at QoS 1 and 2, its acks) is written in its place at once. It never waits
// for anybody: `hasRoom` tells the senders when enough is waiting (QoS 0 is dropped then, queued messages stay in their
// queue), and what comes all the same, acks and answers to a client that sends and never reads, ends the connection at
// twice the limit. So a stuck client holds bounded memory.

import { Buffer } from 'node:buffer';
import '../util/buffer-methods.ts';
import { type AckType, ackSize, writeAck } from '../mqtt/ack.ts';
import { encodePublish, type Outbound, payloadSize, publishSize, writePublish } from '../mqtt/message.ts';
import { PacketType, type ProtocolVersion } from '../mqtt/packet-type.ts';
import { payloadBytesOf } from '../mqtt/publish.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import { copyBytes } from '../util/copy-bytes.ts';
import type { ByteStream } from './ports.ts';
import type { EndsTick, TickEnd } from './tick-end.ts';

/** From this size on a packet is written as it is; for a smaller one a copy costs less than a write of its own. */
const LARGE_BYTES = 16_384;
/** More than this in one tick is handed to the stream at once, so that the kernel is at work while we go on. */
const EARLY_FLUSH_BYTES = 65_536;

/** Pieces of the outboxes' runs. Small, because a write that the socket does not take at once keeps the whole of its slab. */
const SLAB_BYTES = 16_384;
const FIRST_RUN_BYTES = 64;

let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let slabAt = 0;

/** The writing half of a byte stream. */
export type WritableBytes = Pick<ByteStream, 'write' | 'bytesWaiting'>;

export interface OutboxOwner {
  /** In which packets are sent. */
  readonly version: ProtocolVersion;
  /** There is room again, after hasRoom() had answered false. */
  onRoom(): void;
  /** More than twice the limit waits. The outbox takes nothing any more. */
  onOverflow(): void;
}

export class Outbox implements EndsTick {
  readonly #stream: WritableBytes;
  readonly #owner: OutboxOwner;
  readonly #tickEnd: TickEnd;
  readonly #stats: NodeStats;
  readonly #limitBytes: number;
  readonly #parts: Buffer[] = [];
  /** Of the parts and of the run. */
  #partBytes = 0;
  /** The run that is being written behind the parts: so much of a slab is ours, and so much of it is written. */
  #run: Buffer | null = null;
  #runStart = 0;
  #runAt = 0;
  #runEnd = 0;
  /** As large as the last turns of the loop made it. */
  #runBytes = FIRST_RUN_BYTES;
  /** What the stream had not written when we last looked: after each flush and drain. */
  #streamBytes = 0;
  #isQueued = false;
  #hasLackedRoom = false;
  #isClosed = false;

  constructor(
    stream: WritableBytes,
    owner: OutboxOwner,
    tickEnd: TickEnd,
    stats: NodeStats,
    limitBytes: number,
  ) {
    this.#stream = stream;
    this.#owner = owner;
    this.#tickEnd = tickEnd;
    this.#stats = stats;
    this.#limitBytes = limitBytes;
  }

  /** Bytes that wait, here and in the stream. */
  get waitingBytes(): number {
    return this.#partBytes + this.#streamBytes;
  }

  /** Appends one packet, which nobody changes afterwards. Does nothing once closed. */
  send(packet: Buffer): void {
    if (this.#isClosed) return;
    const type = packet[0] >> 4;
    this.#stats.packetsSent[type]++;
    if (type === PacketType.PUBLISH) {
      this.#stats.publishBytesSent += payloadBytesOf(this.#owner.version, packet);
    }
    if (this.#run !== null) {
      if (packet.length < LARGE_BYTES) {
        const at = this.#room(packet.length);
        copyBytes(packet, 0, packet.length, this.#run, at);
        this.#runAt += packet.length;
        this.#added(packet.length);
        return;
      }
      this.#closeRun();
    }
    this.#parts.push(packet);
    this.#added(packet.length);
  }

  /** Appends the PUBLISH of the body body[start, end). Does nothing once closed. */
  sendPublish(body: Buffer, outbound: Outbound, start = 0, end = body.length): void {
    const { version } = this.#owner;
    const bytes = publishSize(version, body, outbound, start, end);
    if (bytes >= LARGE_BYTES) {
      this.send(encodePublish(version, body, outbound, start, end));
      return;
    }
    if (this.#isClosed) return;
    const at = this.#room(bytes);
    this.#runAt = writePublish(this.#run as Buffer, at, version, body, outbound, start, end);
    this.#stats.packetsSent[PacketType.PUBLISH]++;
    this.#stats.publishBytesSent += payloadSize(body, start, end);
    this.#added(bytes);
  }

  /** Appends an ack. Does nothing once closed. */
  sendAck(type: AckType, packetId: number, reasonCode: number): void {
    if (this.#isClosed) return;
    const { version } = this.#owner;
    const bytes = ackSize(version, reasonCode);
    const at = this.#room(bytes);
    this.#runAt = writeAck(this.#run as Buffer, at, type, version, packetId, reasonCode);
    this.#stats.packetsSent[type]++;
    this.#added(bytes);
  }

  #added(bytes: number): void {
    this.#partBytes += bytes;
    if (!this.#isQueued) {
      this.#isQueued = true;
      this.#tickEnd.add(this);
    }
    if (this.#partBytes > EARLY_FLUSH_BYTES) this.#writeParts();
  }

  /** Where so many bytes, no more than a slab has, may be written; a run is there then. What is written counts from there. */
  #room(bytes: number): number {
    if (this.#run !== null && this.#runAt + bytes > this.#runEnd) {
      this.#runBytes = 2 * (this.#runEnd - this.#runStart);
      this.#closeRun();
    }
    if (this.#run === null) {
      const most = Math.min(Math.max(bytes, this.#runBytes), SLAB_BYTES);
      if (slabAt + most > SLAB_BYTES) {
        slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
        slabAt = 0;
      }
      this.#run = slab;
      this.#runStart = slabAt;
      this.#runAt = slabAt;
      slabAt += most;
      this.#runEnd = slabAt;
    }
    return this.#runAt;
  }

  /** What is written of the run becomes a part. */
  #closeRun(): void {
    const run = this.#run as Buffer;
    const part = run.subarray(this.#runStart, this.#runAt);
    // What waits behind a client that does not read may wait long: it keeps its own bytes then, and not its slab.
    this.#parts.push(this.#streamBytes > 0 ? ownCopy(part) : part);
    if (run === slab && this.#runEnd === slabAt) slabAt = this.#runAt;
    this.#run = null;
  }

  hasRoom(): boolean {
    if (this.#partBytes + this.#streamBytes <= this.#limitBytes) return true;
    this.#hasLackedRoom = true;
    return false;
  }

  onTickEnd(): void {
    this.flush();
  }

  /** Hands everything to the stream. */
  flush(): void {
    this.#isQueued = false;
    this.#writeParts();
    this.#tellRoom();
  }

  /** To be called when the stream has drained. */
  drained(): void {
    this.#measure();
    this.#tellRoom();
  }

  /** Takes nothing any more and forgets what it has not written. */
  close(): void {
    this.#isClosed = true;
    this.#run = null;
    this.#parts.length = 0;
    this.#partBytes = 0;
    this.#measure();
  }

  #measure(): void {
    const bytes = this.#isClosed ? 0 : this.#stream.bytesWaiting();
    this.#stats.outboxBytes += bytes - this.#streamBytes;
    this.#streamBytes = bytes;
  }

  #tellRoom(): void {
    if (!this.#hasLackedRoom || this.#isClosed) return;
    if (this.#partBytes + this.#streamBytes > this.#limitBytes) return;
    this.#hasLackedRoom = false;
    this.#owner.onRoom();
  }

  #writeParts(): void {
    const parts = this.#parts;
    if (this.#run !== null) {
      // Room that is not used is given back, where it costs nothing else; a run that is too short is copied once more.
      this.#runBytes = Math.max(FIRST_RUN_BYTES, this.#partBytes, this.#runBytes - (this.#runBytes >> 3));
      this.#closeRun();
    }
    if (parts.length === 0) return;
    const bytes = this.#partBytes;
    this.#stats.bytesSent += bytes;
    if (parts.length === 1) this.#stream.write(parts[0]);
    else if (bytes < LARGE_BYTES)
      this.#stream.write(joined(parts, 0, parts.length, bytes, this.#streamBytes > 0));
    else this.#writeRuns(parts);
    parts.length = 0;
    this.#partBytes = 0;
    this.#measure();
    if (this.#streamBytes > 2 * this.#limitBytes && !this.#isClosed) {
      this.close();
      this.#owner.onOverflow();
    }
  }

  #writeRuns(parts: readonly Buffer[]): void {
    let runStart = 0;
    let runBytes = 0;
    for (let at = 0; at < parts.length; at++) {
      const part = parts[at];
      if (part.length < LARGE_BYTES) {
        runBytes += part.length;
        continue;
      }
      if (runBytes > 0) this.#stream.write(joined(parts, runStart, at, runBytes, this.#streamBytes > 0));
      this.#stream.write(part);
      runStart = at + 1;
      runBytes = 0;
    }
    if (runBytes > 0)
      this.#stream.write(joined(parts, runStart, parts.length, runBytes, this.#streamBytes > 0));
  }
}

/** The parts from `from` up to `until` as one buffer; `isKept` for long, and then not as a piece of a larger one. */
function joined(
  parts: readonly Buffer[],
  from: number,
  until: number,
  bytes: number,
  isKept: boolean,
): Buffer {
  if (until - from === 1) return parts[from];
  const whole = isKept ? Buffer.allocUnsafeSlow(bytes) : Buffer.allocUnsafe(bytes);
  let at = 0;
  for (let index = from; index < until; index++) {
    const part = parts[index];
    at = copyBytes(part, 0, part.length, whole, at);
  }
  return whole;
}

function ownCopy(part: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(part.length);
  copyBytes(part, 0, part.length, copy, 0);
  return copy;
}
