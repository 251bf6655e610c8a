// A TCP proxy that makes a network bad on purpose: delay, limited rate, cut connections, connections that stay open and
// pass nothing (half open), and refusal. Both directions suffer alike; order within a connection is kept.

import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import type { Owner } from './owner.ts';

/**
 * Ends a connection with a reset, and where bytes or an end are under way without one: a socket that has sent its end cannot
 * be reset, and Node's attempt leaves a handle that is never closed, over which the process turns when it wants to exit.
 */
export function resetSocket(socket: Socket): void {
  if (socket.writableLength > 0 || socket.writableEnded) socket.destroy();
  else socket.resetAndDestroy();
}

/** Made by `startProxy`. All settings take effect at once, for open connections too. */
export class NetProxy {
  /** One-way delay in milliseconds. */
  delayMs = 0;
  /** Bytes per second and direction of each connection; Infinity is no limit. */
  bytesPerSecond = Number.POSITIVE_INFINITY;
  /** Where new connections go. */
  targetPort: number;
  #isHalfOpen = false;
  #isRefusing = false;
  readonly #server: Server;
  readonly #pairs = new Set<[Socket, Socket]>();
  readonly #pipes = new Set<Pipe>();

  constructor(targetPort: number) {
    this.targetPort = targetPort;
    this.#server = createServer((inner) => {
      if (this.#isRefusing) {
        inner.destroy();
        return;
      }
      const outer = connect(this.targetPort, '127.0.0.1');
      const pair: [Socket, Socket] = [inner, outer];
      this.#pairs.add(pair);
      this.#join(inner, outer);
      this.#join(outer, inner);
      for (const socket of pair) {
        socket.setNoDelay(true);
        socket.on('error', () => {});
        socket.on('close', () => {
          // A half-open link does not tell that the other end is gone; of a pair that was cut both ends go by themselves.
          if (this.#isHalfOpen || !this.#pairs.delete(pair)) return;
          inner.destroy();
          outer.destroy();
        });
      }
    });
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  /** While true, bytes are held and neither end learns anything; after it they flow on. */
  set halfOpen(value: boolean) {
    this.#isHalfOpen = value;
    for (const pipe of this.#pipes) pipe.pump();
    if (value) return;
    // Who lost the other end meanwhile is told now.
    for (const pair of this.#pairs) {
      if (!pair.some(({ destroyed }) => destroyed)) continue;
      this.#pairs.delete(pair);
      for (const socket of pair) socket.destroy();
    }
  }

  /** While true, new connections are closed at once. */
  set refusing(value: boolean) {
    this.#isRefusing = value;
  }

  /** Ends every connection, with a reset where nothing waits in it; bytes under way are gone. */
  cut(): number {
    const count = this.#pairs.size;
    for (const [inner, outer] of this.#pairs) {
      resetSocket(inner);
      resetSocket(outer);
    }
    this.#pairs.clear();
    return count;
  }

  /**
   * Ends every connection in the middle of the next chunk that it carries: the receiver gets a part of it, then the end.
   * Returns how many are concerned.
   */
  tear(): number {
    for (const pipe of this.#pipes) pipe.isTorn = true;
    return this.#pairs.size;
  }

  /** Opens the listener; resolves when it accepts. */
  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', () => resolve()));
  }

  /** Cuts everything and closes the listener. */
  async close(): Promise<void> {
    this.#isHalfOpen = false;
    this.cut();
    for (const pipe of this.#pipes) pipe.stop();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(from: Socket, to: Socket): void {
    const pipe = new Pipe(this, from, to, () => this.#isHalfOpen);
    this.#pipes.add(pipe);
    from.on('data', (chunk: Buffer) => {
      pipe.push(chunk);
      if (pipe.heldBytes > 1 << 20) from.pause();
    });
    pipe.onRoom = () => from.resume();
    from.on('close', () => {
      pipe.stop();
      this.#pipes.delete(pipe);
    });
  }
}

/** One direction of one connection. */
class Pipe {
  heldBytes = 0;
  onRoom: () => void = () => {};
  /** The next chunk is passed on in part only, and is the last. */
  isTorn = false;
  readonly #proxy: NetProxy;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #isHeld: () => boolean;
  readonly #waiting: { chunk: Buffer; due: number }[] = [];
  #free = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(proxy: NetProxy, from: Socket, to: Socket, isHeld: () => boolean) {
    this.#proxy = proxy;
    this.#from = from;
    this.#to = to;
    this.#isHeld = isHeld;
  }

  push(chunk: Buffer): void {
    const now = performance.now();
    this.#free = Math.max(now, this.#free) + (chunk.length / this.#proxy.bytesPerSecond) * 1000;
    this.#waiting.push({ chunk, due: this.#free + this.#proxy.delayMs });
    this.heldBytes += chunk.length;
    this.pump();
  }

  pump(): void {
    clearTimeout(this.#timer);
    while (!this.#isHeld()) {
      const first = this.#waiting[0];
      if (!first) break;
      const waitMs = first.due - performance.now();
      if (waitMs > 0.5) {
        this.#timer = setTimeout(() => this.pump(), waitMs);
        return;
      }
      this.#waiting.shift();
      this.heldBytes -= first.chunk.length;
      if (this.isTorn) {
        this.#to.end(first.chunk.subarray(0, first.chunk.length >> 1));
        resetSocket(this.#from);
        return;
      }
      this.#to.write(first.chunk);
      if (this.heldBytes <= 1 << 20) this.onRoom();
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#waiting.length = 0;
  }
}

/** A proxy in front of 127.0.0.1:`targetPort`, closed at teardown. */
export async function startProxy(owner: Owner, targetPort: number): Promise<NetProxy> {
  const proxy = new NetProxy(targetPort);
  await proxy.listen();
  owner.teardown(() => proxy.close());
  return proxy;
}
