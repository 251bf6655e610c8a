// What Aedes takes for a client's socket. Control packets go in one at a time; what Aedes writes is followed byte by byte
// and reported by type, because the connection sends answers of its own in their place. When Aedes destroys it, the
// connection is to end. It never holds more than one packet. No stream of Node's stands behind it: Aedes needs an emitter
// that is read and written, and the two halves of a Duplex with their states cost more than all that goes through them.

import { EventEmitter } from 'node:events';
import { PacketType } from '../mqtt/packet-type.ts';

/** What Aedes tells a connection by way of its stream. */
export interface ControlEvents {
  /** May the client connect? Answered by ControlStream.admit(), or by destroying the stream. */
  onAuthenticate(): void;
  /** Aedes has taken the client in. */
  onAdmitted(): void;
  /** May the filter at this place in the SUBSCRIBE under way be subscribed to? */
  onAuthorizeSubscribe(place: number): void;
  /** Aedes answered with a packet of this type. `code` is CONNACK's return code and DISCONNECT's reason code. */
  onAnswer(packetType: number, code: number): void;
  /** Aedes has ended the connection: it carried out a DISCONNECT, or met an error. Comes once. */
  onControlEnded(): void;
}

type Admission = (error: Error | null, isAdmitted: boolean) => void;

const tellReadable = (stream: ControlStream): void => void stream.emit('readable');
const tellClosed = (stream: ControlStream): void => void stream.emit('close');

/** Where in a packet the next byte of Aedes' stands. */
const FIRST_BYTE = 0;
const LENGTH = 1;
const BODY = 2;

export class ControlStream extends EventEmitter {
  readonly events: ControlEvents;
  destroyed = false;
  /** Aedes' callback while it waits for the client to be admitted. */
  admission: Admission | null = null;
  #packet: Buffer | null = null;
  /** Of the packet that Aedes is writing. */
  #part = FIRST_BYTE;
  #type = 0;
  #remaining = 0;
  #lengthBits = 0;
  /** Bytes of the body so far. */
  #body = 0;
  #code = 0;

  constructor(events: ControlEvents) {
    super();
    this.events = events;
  }

  /** Hands Aedes one whole packet, once what is under way has been done. The one before must be answered. */
  feed(packet: Buffer): void {
    this.#packet = packet;
    process.nextTick(tellReadable, this);
  }

  /** The client may connect: Aedes goes on. */
  admit(): void {
    const admission = this.admission;
    this.admission = null;
    admission?.(null, true);
  }

  // ---- what Aedes calls

  read(): Buffer | null {
    const packet = this.#packet;
    this.#packet = null;
    return packet;
  }

  write(chunk: Buffer | string): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    for (let at = 0; at < bytes.length; at++) this.#take(bytes[at]);
    return true;
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.admission = null;
    this.#packet = null;
    this.events.onControlEnded();
    // Whatever Aedes destroyed it for has been told by now; an 'error' event would find no listener.
    process.nextTick(tellClosed, this);
  }

  #take(byte: number): void {
    if (this.#part === FIRST_BYTE) {
      this.#type = byte >> 4;
      this.#remaining = 0;
      this.#lengthBits = 0;
      this.#body = 0;
      this.#part = LENGTH;
    } else if (this.#part === LENGTH) {
      this.#remaining |= (byte & 127) << this.#lengthBits;
      this.#lengthBits += 7;
      if (byte < 128) this.#part = BODY;
    } else {
      if (this.#body === (this.#type === PacketType.CONNACK ? 1 : 0)) this.#code = byte;
      this.#body++;
    }
    if (this.#part !== BODY || this.#body < this.#remaining) return;
    this.#part = FIRST_BYTE;
    this.events.onAnswer(this.#type, this.#code);
  }
}
