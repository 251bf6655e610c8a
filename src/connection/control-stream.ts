// The stream that Aedes takes for a client's socket. Control packets go in one at a time; what Aedes writes is put
// together to whole packets and reported by type, because the connection sends answers of its own in their place. When
// Aedes destroys it, the connection is to end. It never holds more than one packet either way.

import { Duplex } from 'node:stream';
import { readVarint, varintSize } from '../mqtt/bytes.ts';
import { PacketType } from '../mqtt/packet-type.ts';

/** What Aedes tells a connection by way of its stream. */
export interface ControlEvents {
  /** May the client connect? Answered by ControlStream.admit(), or by destroying the stream. */
  onAuthenticate(): void;
  /** May the filter at this place in the SUBSCRIBE under way be subscribed to? */
  onAuthorizeSubscribe(place: number): void;
  /** Aedes answered with a packet of this type. `code` is CONNACK's return code and DISCONNECT's reason code. */
  onAnswer(packetType: number, code: number): void;
  /** Aedes has ended the connection: it carried out a DISCONNECT, or met an error. Comes once. */
  onControlEnded(): void;
}

type Admission = (error: Error | null, isAdmitted: boolean) => void;
type Chunks = { chunk: Buffer; encoding: BufferEncoding }[];

const STREAM_OPTIONS = { readableHighWaterMark: 1024, writableHighWaterMark: 1024 };
const NO_BYTES = Buffer.alloc(0);

export class ControlStream extends Duplex {
  readonly events: ControlEvents;
  /** Aedes' callback while it waits for the client to be admitted. */
  admission: Admission | null = null;
  /** The beginning of a packet whose rest Aedes has not written yet. */
  #begun: Buffer = NO_BYTES;

  constructor(events: ControlEvents) {
    super(STREAM_OPTIONS);
    this.events = events;
  }

  /** Hands Aedes one whole packet. The one before must be answered. */
  feed(packet: Buffer): void {
    this.push(packet);
  }

  /** The client may connect: Aedes goes on to CONNACK. */
  admit(): void {
    const admission = this.admission;
    this.admission = null;
    admission?.(null, true);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: () => void): void {
    this.#take(chunk);
    written();
  }

  override _writev(chunks: Chunks, written: () => void): void {
    this.#take(Buffer.concat(chunks.map((one) => one.chunk)));
    written();
  }

  override _destroy(_error: Error | null, destroyed: (error: Error | null) => void): void {
    this.admission = null;
    this.events.onControlEnded();
    // Whatever Aedes destroyed it for has been told by now; an 'error' event would find no listener.
    destroyed(null);
  }

  /** Reports each whole packet. */
  #take(bytes: Buffer): void {
    let rest = this.#begun.length === 0 ? bytes : Buffer.concat([this.#begun, bytes]);
    this.#begun = NO_BYTES;
    for (;;) {
      const remaining = readVarint(rest, 1, rest.length);
      const bodyStart = 1 + varintSize(remaining);
      if (remaining < 0 || bodyStart + remaining > rest.length) break;
      const type = rest[0] >> 4;
      const code = rest[type === PacketType.CONNACK ? bodyStart + 1 : bodyStart];
      rest = rest.subarray(bodyStart + remaining);
      this.events.onAnswer(type, code);
    }
    if (rest.length > 0) this.#begun = rest;
  }
}
