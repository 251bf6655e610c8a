// All ports of a node, opened and closed together. Holds nothing of its own about connections: each listener has its
// guard, and streams belong to whoever takes them.

import type { Socket } from 'node:net';
import type { Clock } from '../util/clock.ts';
import { Listener, type ListenerEvents, type ListenerOptions } from './listener.ts';

export interface ListenersOptions {
  readonly listeners: readonly ListenerOptions[];
  /** Largest WebSocket message in bytes; a little more than the largest packet. */
  readonly maxMessageBytes: number;
  readonly events: ListenerEvents;
  readonly clock: Clock;
}

export class Listeners {
  readonly #listeners: readonly Listener[];

  /** Throws SWARMQ_ERR_LISTEN where a certificate cannot be used. Nothing is open yet. */
  constructor(options: ListenersOptions) {
    this.#listeners = options.listeners.map(
      (one) => new Listener(one, options.maxMessageBytes, options.events, options.clock),
    );
  }

  /** Opens all ports, or none: rejects with SWARMQ_ERR_LISTEN, and what was open is closed again. */
  async open(): Promise<void> {
    const results = await Promise.allSettled(this.#listeners.map((one) => one.listen()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed === undefined) return;
    this.close();
    throw failed.reason;
  }

  /** A connection of the named listener that another process has accepted. */
  take(name: string, socket: Socket): void {
    const listener = this.#listeners.find((one) => one.options.name === name);
    if (listener === undefined) socket.destroy();
    else listener.take(socket);
  }

  /** Stops accepting; the ports are free at once, open connections stay. */
  close(): void {
    for (const one of this.#listeners) one.close();
  }

  /** Closes every connection, also those that are no stream yet (handshakes). */
  destroyConnections(): void {
    for (const one of this.#listeners) one.destroyConnections();
  }

  /** The ports listened on, by listener name. */
  ports(): Map<string, number> {
    return new Map(this.#listeners.map((one) => [one.options.name, one.port]));
  }

  /** Reads all certificate files again, for new connections. A listener whose files cannot be used keeps its old ones. */
  reloadTls(onFault: (listener: string, error: unknown) => void): void {
    for (const one of this.#listeners) {
      try {
        one.reloadTls();
      } catch (error) {
        onFault(one.options.name, error);
      }
    }
  }
}
