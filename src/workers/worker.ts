// One worker as the supervising process knows it: its child process, what it last told of itself, the connection that is
// on its way to it. A worker that tells nothing is judged by ticks of this process, not by time, so that a machine that
// was suspended does not count against it.

import type { Socket } from 'node:net';
import type { Clock } from '../util/clock.ts';
import type { Child } from './child.ts';
import type { FromWorker, ToWorker, WorkerStatus } from './messages.ts';

/** A worker that keeps a connection for so long without taking it is passed over. */
const STUCK_MS = 100;
/** Ticks without a word: then it is said not to answer, and much later it is killed. */
const SILENT_TICKS = 3;
const WEDGED_TICKS = 30;
/** A connection that was not taken within this time is given up: the process may have had no file for it. */
const LOST_MS = 10_000;
/** How long one may take to tell its metrics. */
const METRICS_PATIENCE_MS = 2000;

export interface WorkerEvents {
  /** It may get another connection. */
  onTaken(): void;
  /** It died before it took this one, of which nothing has been read: another one can have it. */
  onReturned(listener: string, socket: Socket): void;
  /** A connection was given up. */
  onLost(): void;
}

interface UnderWay {
  readonly listener: string;
  readonly socket: Socket;
  readonly sentMs: number;
}

export class Worker {
  readonly name: string;
  readonly #clock: Clock;
  readonly #events: WorkerEvents;
  #hasBeenReady: () => void = () => {};
  /** Resolves when its node serves, for the first time. */
  readonly whenReady: Promise<void>;
  #child: Child | null = null;
  #status: WorkerStatus | null = null;
  #connections = 0;
  #underWay: UnderWay | null = null;
  #silentTicks = 0;
  #asks = 0;
  readonly #asked = new Map<number, (text: string) => void>();

  constructor(name: string, clock: Clock, events: WorkerEvents) {
    this.name = name;
    this.#clock = clock;
    this.#events = events;
    this.whenReady = new Promise((resolve) => {
      this.#hasBeenReady = resolve;
    });
  }

  /** The process that it is. Set once, before anything else. */
  set child(child: Child) {
    this.#child = child;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Connections that it has, or is getting. */
  get connections(): number {
    return this.#connections;
  }

  /** It can be given connections. */
  get isOpen(): boolean {
    return this.#child?.isReady === true;
  }

  /** Its node serves. */
  get isReady(): boolean {
    return this.isOpen && this.#status?.ready === true && this.#silentTicks < SILENT_TICKS;
  }

  /** A connection is on its way to it. */
  get isTaking(): boolean {
    return this.#underWay !== null;
  }

  /** It has been getting one for too long: others should have the next ones. */
  get isStuck(): boolean {
    return this.#underWayMs() > STUCK_MS;
  }

  /** Why it is not ready; empty when it is. */
  get reasons(): readonly string[] {
    if (this.pid === 0) return ['it has died and is started again'];
    if (this.#silentTicks >= SILENT_TICKS) return ['it does not answer'];
    if (this.#status?.ready === false && this.#status.reasons.length > 0) return this.#status.reasons;
    return this.isReady ? [] : ['it is starting'];
  }

  /** What the index page shows. */
  get summary(): object {
    const state = this.#status?.state ?? 'starting';
    return { node: this.name, pid: this.pid, state, ready: this.isReady, connections: this.#connections };
  }

  /** Gives it a connection, which it must be free for. */
  give(listener: string, socket: Socket): void {
    this.#underWay = { listener, socket, sentMs: this.#clock.monotonicMs() };
    this.#connections++;
    this.#send({ kind: 'connection', listener }, socket);
  }

  /** Its metrics as Prometheus text; empty where it does not tell them. */
  metrics(): Promise<string> {
    if (this.#status === null) return Promise.resolve('');
    const ask = ++this.#asks;
    return new Promise((resolve) => {
      const settle = (text: string) => {
        if (!this.#asked.delete(ask)) return;
        patience.cancel();
        resolve(text);
      };
      const patience = this.#clock.after(METRICS_PATIENCE_MS, () => settle(''));
      this.#asked.set(ask, settle);
      this.#send({ kind: 'ask-metrics', ask });
    });
  }

  reload(): void {
    this.#send({ kind: 'reload' });
  }

  receive(message: FromWorker): void {
    this.#silentTicks = 0;
    switch (message.kind) {
      case 'status':
        this.#status = message.status;
        if (message.status.ready) this.#hasBeenReady();
        this.#connections = message.status.connections + (this.isTaking ? 1 : 0);
        return;
      case 'taken':
        this.#letGo();
        this.#connections = message.connections;
        this.#events.onTaken();
        return;
      case 'metrics':
        this.#asked.get(message.ask)?.(message.text);
    }
  }

  /** Its process has ended. */
  died(): void {
    const underWay = this.#underWay;
    this.#status = null;
    this.#connections = 0;
    this.#underWay = null;
    this.#silentTicks = 0;
    for (const settle of [...this.#asked.values()]) settle('');
    if (underWay) this.#events.onReturned(underWay.listener, underWay.socket);
  }

  /** Counts a tick without a word; true when there were so many that it is to be killed. */
  tick(): boolean {
    if (this.#underWayMs() > LOST_MS) {
      this.#letGo();
      this.#events.onLost();
    }
    // One that is starting has said nothing yet, and may hang as well.
    if (this.pid === 0) return false;
    this.#silentTicks++;
    return this.#silentTicks === WEDGED_TICKS;
  }

  /** Since when the connection that is on its way is; 0 where none is. */
  #underWayMs(): number {
    return this.#underWay === null ? 0 : this.#clock.monotonicMs() - this.#underWay.sentMs;
  }

  /** Closes this process's hold on the connection that was on its way; a worker that has it goes on with it. */
  #letGo(): void {
    this.#underWay?.socket.destroy();
    this.#underWay = null;
  }

  #send(message: ToWorker, socket?: Socket): void {
    this.#child?.send(message, socket);
  }
}
