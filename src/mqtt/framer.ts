// Cuts one connection's byte stream into control packets, in place: a packet that lies whole in a chunk is handed on as
// offsets into that chunk, without an object or a copy. Only a packet that is split over chunks is collected, in a
// buffer that grows with what has arrived (not with what was announced) and never beyond the packet limit.
// It checks the fixed header and nothing else. Invariant: packets come out in the order of their bytes, each once.

import { Buffer } from 'node:buffer';
import { SwarmqError } from '../util/errors.ts';
import { malformed } from './bytes.ts';
import { VALID_FIRST_BYTE } from './packet-type.ts';
import { ReasonCode } from './reason-code.ts';

export interface PacketSink {
  /**
   * One whole packet: `buf[start, end)`, its variable header begins at `bodyStart`. The bytes may be read, and kept as
   * a slice of `buf`, but not changed. What it throws comes out of `push` or `resume`, and the framer is done then.
   */
  onPacket(buf: Buffer, start: number, bodyStart: number, end: number): void;
}

/** First byte and up to four bytes of remaining length. */
const FIXED_HEADER_MAX = 5;

/** A collected packet up to this size gets its buffer at once; a larger one doubles towards its size. */
const COLLECT_AT_ONCE_BYTES = 65_536;

const NO_BYTES = Buffer.alloc(0);

export class Framer {
  /** Largest packet, fixed header included, in bytes. May be changed at any time; holds for packets cut afterwards. */
  maxPacketBytes: number;

  readonly #sink: PacketSink;
  /** Fixed header of a packet whose length is not known yet. */
  #head: Buffer = NO_BYTES;
  #headBytes = 0;
  /** A split packet whose length is known. */
  #packet: Buffer | null = null;
  #packetBytes = 0;
  #packetFilled = 0;
  #packetBodyStart = 0;
  /** Chunks, or rests of them, that wait because the sink stopped us. */
  #held: Buffer[] = [];
  #heldBytes = 0;
  #isStopped = false;
  #isCutting = false;
  #hasFailed = false;

  constructor(sink: PacketSink, maxPacketBytes: number) {
    this.#sink = sink;
    this.maxPacketBytes = maxPacketBytes;
  }

  /** Bytes that arrived and were not handed on: held ones and those of an unfinished packet. */
  get waitingBytes(): number {
    return this.#heldBytes + this.#headBytes + this.#packetFilled;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Of what is held: the first packet that `isWanted` says yes to, where it is whole and all before it are. */
  findHeld(isWanted: (firstByte: number) => boolean): Buffer | null {
    const parts = this.#packet === null ? [] : [this.#packet.subarray(0, this.#packetFilled)];
    const bytes = Buffer.concat([...parts, this.#head.subarray(0, this.#headBytes), ...this.#held]);
    for (let start = 0; start + 1 < bytes.length; ) {
      const remaining =
        VALID_FIRST_BYTE[bytes[start]] === 0 ? -1 : readExtraLength(bytes, start + 1, bytes.length);
      if (remaining < 0) return null;
      const end = start + 2 + extraLengthBytes(bytes, start + 1) + remaining;
      if (end > bytes.length) return null;
      if (isWanted(bytes[start])) return bytes.subarray(start, end);
      start = end;
    }
    return null;
  }

  /** Stops handing on packets after the one at hand; what arrives is held. The caller stops reading the socket too. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Goes on after `stop`, first with what was held. Throws as `push` does. */
  resume(): void {
    this.#isStopped = false;
    this.#run();
  }

  /**
   * Takes the next bytes of the stream and hands on every packet that is complete. The chunk belongs to the framer's
   * sink from now on: slices of it may live on. Throws SWARMQ_ERR_PACKET_MALFORMED (0x81) for a fixed header that
   * cannot be one, SWARMQ_ERR_PACKET_TOO_LARGE (0x95), and what the sink throws; after that nothing comes out any more.
   */
  push(chunk: Buffer): void {
    if (this.#hasFailed || chunk.length === 0) return;
    if (this.#isStopped || this.#isCutting || this.#held.length > 0) {
      this.#held.push(chunk);
      this.#heldBytes += chunk.length;
      return;
    }
    this.#run(chunk);
  }

  #run(chunk?: Buffer): void {
    // The sink may call push or resume from within a packet: the loop at work takes that up itself.
    if (this.#isCutting || this.#hasFailed) return;
    this.#isCutting = true;
    try {
      if (chunk !== undefined) this.#takeChunk(chunk);
      while (!this.#isStopped && this.#held.length > 0) {
        const next = this.#held.shift()!;
        this.#heldBytes -= next.length;
        this.#takeChunk(next);
      }
    } catch (error) {
      this.#hasFailed = true;
      this.#held = [];
      this.#heldBytes = 0;
      this.#headBytes = 0;
      this.#packet = null;
      this.#packetFilled = 0;
      throw error;
    } finally {
      this.#isCutting = false;
    }
  }

  #takeChunk(chunk: Buffer): void {
    let at = 0;
    if (this.#headBytes > 0 || this.#packet !== null) at = this.#collect(chunk, 0);
    if (!this.#isStopped) at = this.#cut(chunk, at);
    if (at < chunk.length) {
      this.#held.unshift(chunk.subarray(at));
      this.#heldBytes += chunk.length - at;
    }
  }

  /** Hands on the whole packets of `chunk` from `at`; an unfinished one is taken over. Answers where it stopped. */
  #cut(chunk: Buffer, at: number): number {
    const end = chunk.length;
    const sink = this.#sink;
    let start = at;
    while (start < end) {
      const first = chunk[start];
      if (VALID_FIRST_BYTE[first] === 0) throw malformed(`first byte 0x${first.toString(16)}`);
      if (start + 1 >= end) break;
      let bodyStart = start + 2;
      let remaining = chunk[start + 1];
      if (remaining > 127) {
        const extra = readExtraLength(chunk, start + 1, end);
        if (extra < 0) break;
        remaining = extra;
        bodyStart = start + 2 + extraLengthBytes(chunk, start + 1);
      }
      const packetEnd = bodyStart + remaining;
      if (packetEnd - start > this.maxPacketBytes) throw tooLarge(packetEnd - start, this.maxPacketBytes);
      if (packetEnd > end) break;
      sink.onPacket(chunk, start, bodyStart, packetEnd);
      start = packetEnd;
      if (this.#isStopped) return start;
    }
    return start < end ? this.#collect(chunk, start) : end;
  }

  /** Begins a split packet or goes on with it; answers the offset behind the bytes that belong to it. */
  #collect(chunk: Buffer, from: number): number {
    let at = from;
    while (this.#packet === null) {
      if (at >= chunk.length) return at;
      // Made at the first split packet: most connections never see one, and there are many connections.
      if (this.#head.length === 0) this.#head = Buffer.alloc(FIXED_HEADER_MAX);
      this.#head[this.#headBytes++] = chunk[at++];
      this.#openPacket();
    }
    const wanted = this.#packetBytes - this.#packetFilled;
    const taken = Math.min(wanted, chunk.length - at);
    this.#ensureRoom(this.#packetFilled + taken);
    chunk.copy(this.#packet, this.#packetFilled, at, at + taken);
    this.#packetFilled += taken;
    at += taken;
    if (this.#packetFilled === this.#packetBytes) {
      const packet = this.#packet;
      this.#packet = null;
      this.#packetFilled = 0;
      this.#sink.onPacket(packet, 0, this.#packetBodyStart, this.#packetBytes);
    }
    return at;
  }

  /** Once the collected fixed header is complete, checks it and begins the packet. */
  #openPacket(): void {
    const first = this.#head[0];
    if (VALID_FIRST_BYTE[first] === 0) throw malformed(`first byte 0x${first.toString(16)}`);
    if (this.#headBytes < 2) return;
    const remaining = readExtraLength(this.#head, 1, this.#headBytes);
    if (remaining < 0) return;
    this.#packetBodyStart = this.#headBytes;
    this.#packetBytes = this.#headBytes + remaining;
    if (this.#packetBytes > this.maxPacketBytes) throw tooLarge(this.#packetBytes, this.maxPacketBytes);
    // Not from the pool of small buffers: a slice of the packet may live long and would hold the pool.
    this.#packet = Buffer.allocUnsafeSlow(Math.min(this.#packetBytes, COLLECT_AT_ONCE_BYTES));
    this.#packetFilled = this.#head.copy(this.#packet, 0, 0, this.#headBytes);
    this.#headBytes = 0;
  }

  #ensureRoom(bytes: number): void {
    const packet = this.#packet!;
    if (bytes <= packet.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.min(this.#packetBytes, Math.max(bytes, packet.length * 2)));
    packet.copy(larger, 0, 0, this.#packetFilled);
    this.#packet = larger;
  }
}

/** Value of the remaining length at `at`, or -1 where it goes on beyond `end`. Throws on a fifth byte [MQTT-2.2.3]. */
function readExtraLength(buf: Buffer, at: number, end: number): number {
  let value = 0;
  for (let count = 0; count < 4; count++) {
    if (at + count >= end) return -1;
    const byte = buf[at + count];
    value |= (byte & 127) << (7 * count);
    if (byte < 128) return value;
  }
  throw malformed('remaining length has more than four bytes');
}

/** How many bytes the remaining length at `at`, known to be complete, has beyond its first. */
function extraLengthBytes(buf: Buffer, at: number): number {
  let count = 0;
  while (buf[at + count] > 127) count++;
  return count;
}

function tooLarge(bytes: number, maxBytes: number): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_PACKET_TOO_LARGE', `${bytes} bytes, at most ${maxBytes} allowed`, {
    reasonCode: ReasonCode.PACKET_TOO_LARGE,
  });
}
