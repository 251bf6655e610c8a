// The ports that the workers of one machine share. This process alone listens and accepts, and gives each connection to
// the worker that has the fewest: connections of MQTT last for days, so who gets a connection decides where the load is
// for days, and a worker that was started again has to catch up. It reads nothing of a connection: PROXY header, TLS and
// WebSocket are the worker's. Invariant: an accepted socket is given to one worker, or closed by its deadline.

import { createServer, type Server, type Socket } from 'node:net';
import type { CompiledListener } from '../config/compile.ts';
import type { Clock, Timer } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';

/** Connections that may wait in the system to be accepted, as for a node that listens itself. */
const BACKLOG = 4096;
/** Accepted connections that may wait for a worker; more are closed. */
const WAITING_MAX = 4096;
const TICK_MS = 100;

/** A worker, as far as giving it connections goes. */
export interface Taker {
  readonly isOpen: boolean;
  readonly isReady: boolean;
  readonly isTaking: boolean;
  readonly isStuck: boolean;
  readonly connections: number;
  give(listener: string, socket: Socket): void;
}

export interface SharedPortsOptions {
  readonly listeners: readonly CompiledListener[];
  readonly takers: readonly Taker[];
  readonly clock: Clock;
  /** A connection was closed since no worker took it. */
  onRefused(): void;
  /** The port itself fails (too many open files). */
  onError(listener: string, error: Error): void;
}

interface Waiting {
  readonly listener: string;
  readonly socket: Socket;
  readonly deadlineMs: number;
}

export class SharedPorts {
  readonly #options: SharedPortsOptions;
  readonly #servers: readonly Server[];
  #waiting: Waiting[] = [];
  #timer: Timer | null = null;

  constructor(options: SharedPortsOptions) {
    this.#options = options;
    this.#servers = options.listeners.map((listener) =>
      createServer({ pauseOnConnect: true }, (socket) => {
        socket.on('error', () => socket.destroy());
        this.#enqueue(listener, socket);
      }),
    );
  }

  /** Accepted connections that no worker has yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Opens all ports, or none: rejects with SWARMQ_ERR_LISTEN. Resolves with the ports by listener name. */
  async open(): Promise<Record<string, number>> {
    const { listeners, clock } = this.#options;
    try {
      const opened = listeners.map((listener, index) =>
        this.#listen(listener, this.#servers[index] as Server),
      );
      const ports = await Promise.all(opened);
      this.#timer = clock.every(TICK_MS, () => this.#tick());
      return Object.fromEntries(ports);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Stops accepting; the ports are free at once. Who still waits is closed. */
  close(): void {
    this.#timer?.cancel();
    for (const server of this.#servers) server.close();
    for (const { socket } of this.#waiting.splice(0)) socket.destroy();
  }

  /** A connection that was given to a worker, which died before it took it: it waits for another one. */
  takeBack(name: string, socket: Socket): void {
    const listener = this.#options.listeners.find((one) => one.name === name);
    if (listener && !socket.destroyed) this.#enqueue(listener, socket);
  }

  /** Gives away what waits, as far as there are workers for it. */
  dispatch(): void {
    while (this.#waiting.length > 0) {
      const taker = this.#next();
      if (taker === null) return;
      const { listener, socket } = this.#waiting.shift() as Waiting;
      if (!socket.destroyed) taker.give(listener, socket);
    }
  }

  #listen(listener: CompiledListener, server: Server): Promise<[string, number]> {
    const { name, host, port } = listener;
    return new Promise((resolve, reject) => {
      const fail = (cause: Error) =>
        reject(
          new SwarmqError('SWARMQ_ERR_LISTEN', `${name} on ${host}:${port}: ${cause.message}`, { cause }),
        );
      server.once('error', fail);
      server.listen({ host, port, backlog: BACKLOG }, () => {
        server.off('error', fail);
        server.on('error', (error) => this.#options.onError(name, error));
        const address = server.address();
        resolve([name, typeof address === 'object' && address ? address.port : port]);
      });
    });
  }

  #enqueue(listener: CompiledListener, socket: Socket): void {
    if (this.#waiting.length >= WAITING_MAX) {
      socket.destroy();
      this.#options.onRefused();
      return;
    }
    const deadlineMs = this.#options.clock.monotonicMs() + listener.connectTimeoutMs;
    this.#waiting.push({ listener: listener.name, socket, deadlineMs });
    this.dispatch();
  }

  /**
   * Who gets the next connection: of the ready ones (of all, where none is ready: a node whose store is away takes
   * connections too) the one with the fewest. Null: that one is still taking the last one, or there is nobody.
   */
  #next(): Taker | null {
    const open = this.#options.takers.filter((taker) => taker.isOpen && !taker.isStuck);
    const ready = open.filter((taker) => taker.isReady);
    let least: Taker | null = null;
    for (const taker of ready.length > 0 ? ready : open) {
      if (least === null || taker.connections < least.connections) least = taker;
    }
    return least === null || least.isTaking ? null : least;
  }

  #tick(): void {
    const now = this.#options.clock.monotonicMs();
    const isLate = ({ deadlineMs }: Waiting) => deadlineMs <= now;
    if (this.#waiting.some(isLate)) {
      for (const { socket } of this.#waiting.filter(isLate)) {
        socket.destroy();
        this.#options.onRefused();
      }
      this.#waiting = this.#waiting.filter((one) => !isLate(one));
    }
    this.dispatch();
  }
}
