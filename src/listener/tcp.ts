// A TCP or TLS socket as a ByteStream. Adds to the socket: the guard's limits before CONNECT, an end that neither waits
// for ever nor cuts off what was just written, and exactly one onClose.

import type { Socket } from 'node:net';
import type { Clock, Timer } from '../util/clock.ts';
import { type ByteStream, END_LINGER_MS, type StreamHandlers, type StreamInfo } from './byte-stream.ts';
import type { Admission } from './guard.ts';

export class SocketStream implements ByteStream {
  readonly info: StreamInfo;
  readonly #socket: Socket;
  readonly #admission: Admission;
  readonly #clock: Clock;
  #linger: Timer | null = null;
  #isEnding = false;
  #hadError = false;

  constructor(socket: Socket, info: StreamInfo, admission: Admission, clock: Clock) {
    this.info = info;
    this.#socket = socket;
    this.#admission = admission;
    this.#clock = clock;
  }

  setHandlers(handlers: StreamHandlers): void {
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => {
      if (this.#isEnding || !this.#admission.spend(chunk.length)) return;
      handlers.onData(chunk);
    });
    socket.on('drain', () => {
      if (!this.#isEnding) handlers.onDrain();
    });
    socket.on('error', () => {
      this.#hadError = true;
    });
    socket.on('close', () => {
      this.#linger?.cancel();
      handlers.onClose(this.#hadError);
    });
  }

  write(chunk: Buffer): boolean {
    if (this.#isEnding || this.#socket.destroyed) return true;
    return this.#socket.write(chunk);
  }

  end(): void {
    if (this.#isEnding || this.#socket.destroyed) return;
    this.#isEnding = true;
    this.#socket.end();
    // Read on, into nothing: closing with unread bytes would reset the connection and with it what we just sent.
    this.#socket.resume();
    this.#linger = this.#clock.after(END_LINGER_MS, () => this.#socket.destroy());
  }

  destroy(): void {
    this.#isEnding = true;
    this.#socket.destroy();
  }

  pauseReading(): void {
    if (!this.#isEnding) this.#socket.pause();
  }

  resumeReading(): void {
    this.#socket.resume();
  }

  bytesWaiting(): number {
    return this.#socket.writableLength;
  }

  established(): void {
    this.#admission.established();
  }
}
