// A worker's end of the channel to the process that supervises it: what stands for its node in the place of ports. Takes
// the connections that come, tells how the node is, and answers for its pages. Invariant: each connection that was sent
// is answered once, whatever became of it.

import type { Socket } from 'node:net';
import type { AdminEnd, AdminViews } from '../admin/admin-server.ts';
import type { CompiledConfig } from '../config/compile.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { ParentChannel, ToWorker } from './messages.ts';

const STATUS_EVERY_MS = 250;

export class ParentLink {
  /** Comes first. */
  readonly config: Promise<CompiledConfig>;
  readonly #channel: ParentChannel;
  readonly #clock: Clock;
  readonly #onReload: () => void;
  #onConfig: (config: CompiledConfig) => void = () => {};
  #take: ((listener: string, socket: Socket) => void) | null = null;
  #views: AdminViews | null = null;
  #connections = 0;

  constructor(channel: ParentChannel, clock: Clock, onReload: () => void) {
    this.#channel = channel;
    this.#clock = clock;
    this.#onReload = onReload;
    this.config = new Promise((resolve) => {
      this.#onConfig = resolve;
    });
    channel.onMessage((message, socket) => this.#receive(message, socket));
  }

  onConnection(take: (listener: string, socket: Socket) => void): void {
    this.#take = take;
  }

  show(views: AdminViews): AdminEnd {
    this.#views = views;
    let timer: Timer | null = null;
    return {
      open: async () => {
        this.#tellStatus(views);
        timer = this.#clock.every(STATUS_EVERY_MS, () => this.#tellStatus(views));
        return null;
      },
      close: async () => timer?.cancel(),
    };
  }

  #receive(message: ToWorker, socket: Socket | undefined): void {
    switch (message.kind) {
      case 'config':
        this.#onConfig(message.config);
        return;
      case 'connection':
        if (socket) this.#receiveConnection(message.listener, socket);
        this.#channel.send({ kind: 'taken', connections: this.#connections });
        return;
      case 'ask-metrics':
        this.#tellMetrics(message.ask);
        return;
      case 'reload':
        this.#onReload();
    }
  }

  #receiveConnection(listener: string, socket: Socket): void {
    if (this.#take === null) {
      socket.destroy();
      return;
    }
    this.#connections++;
    socket.once('close', () => {
      this.#connections--;
    });
    this.#take(listener, socket);
  }

  #tellStatus(views: AdminViews): void {
    const { ready, reasons, state } = views.readiness();
    const status = { ready, reasons, state, connections: this.#connections };
    this.#channel.send({ kind: 'status', status });
  }

  #tellMetrics(ask: number): void {
    const tell = (text: string) => this.#channel.send({ kind: 'metrics', ask, text });
    if (this.#views === null) tell('');
    else this.#views.metricsText().then(tell, () => tell(''));
  }
}
