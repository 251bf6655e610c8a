// Short histories written by hand: each call adds what a recorder would have added, a hundred milliseconds after the last
// unless the story lets more time pass. For tests of the rules.

import t from 'tap';
import { check } from './checker.ts';
import { type FaultEvent, History, NEVER_SEC, type Qos, type WillTold } from './history.ts';

export interface Connecting {
  clean?: boolean;
  expirySec?: number;
  present?: boolean;
  will?: Omit<WillTold, 'id'>;
  /** Of the node; default 1. */
  port?: number;
  /** false: no CONNACK comes. */
  answered?: boolean;
  version?: 3 | 4 | 5;
}

export interface Delivering {
  qos?: Qos;
  retain?: boolean;
  dup?: boolean;
  topic?: string;
  /** The connection, where it is not the last one. */
  connection?: number;
}

export class Story {
  readonly history = new History();
  #ms = 1000;
  #number = 0;
  readonly #connections = new Map<string, number>();
  readonly #messages = new Map<number, { topic: string; qos: Qos; publisher: string }>();

  #on(client: string, connection?: number): { at: number; client: string; connection: number } {
    this.#ms += 100;
    return { at: this.#ms, client, connection: connection ?? this.#connections.get(client)! };
  }

  wait(ms: number): this {
    this.#ms += ms;
    return this;
  }

  /** Returns the id of the will, 0 for none. A persistent session (never expiring) unless told otherwise. */
  connect(client: string, options: Connecting = {}): number {
    const { clean = false, expirySec = NEVER_SEC, present = false, answered = true } = options;
    const { port = 1, version = 5 } = options;
    this.#connections.set(client, (this.#connections.get(client) ?? -1) + 1);
    const will = options.will ? { id: this.history.nextId(), ...options.will } : null;
    if (will) this.#messages.set(will.id, { topic: will.topic, qos: will.qos, publisher: client });
    const terms = { port, version, clean, expirySec, will };
    this.history.add({ kind: 'connect', ...this.#on(client), ...terms });
    if (answered)
      this.history.add({ kind: 'connack', ...this.#on(client), sessionPresent: present, reason: 0 });
    return will?.id ?? 0;
  }

  subscribe(client: string, filter: string, qos: Qos = 2, answered = true): void {
    const number = ++this.#number;
    const terms = { filter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 as const };
    this.history.add({ kind: 'subscribe', ...this.#on(client), number, ...terms });
    if (answered) this.history.add({ kind: 'suback', ...this.#on(client), number, reason: qos });
  }

  unsubscribe(client: string, filter: string, answered = true): void {
    const number = ++this.#number;
    this.history.add({ kind: 'unsubscribe', ...this.#on(client), number, filter });
    if (answered) this.history.add({ kind: 'unsuback', ...this.#on(client), number, reason: 0 });
  }

  /** Sends a message and returns its id. */
  send(
    client: string,
    topic: string,
    qos: Qos = 2,
    more: { retain?: boolean; isEmpty?: boolean; expirySec?: number } = {},
  ): number {
    const id = this.history.nextId();
    const { retain = false, isEmpty = false, expirySec = 0 } = more;
    this.#messages.set(id, { topic, qos, publisher: client });
    this.history.add({
      ...{ kind: 'publish', ...this.#on(client), id, topic, qos, retain, isEmpty, expirySec },
    });
    return id;
  }

  ack(id: number, reason = 0): void {
    this.history.add({ kind: 'acked', ...this.#on(this.#messages.get(id)!.publisher), id, reason });
  }

  resend(id: number): void {
    this.history.add({ kind: 'resent', ...this.#on(this.#messages.get(id)!.publisher), id });
  }

  giveUp(id: number): void {
    this.history.add({ kind: 'gaveup', ...this.#on(this.#messages.get(id)!.publisher), id });
  }

  /** Sends and acknowledges. */
  publish(...sending: Parameters<Story['send']>): number {
    const id = this.send(...sending);
    this.ack(id);
    return id;
  }

  deliver(client: string, id: number, options: Delivering = {}): void {
    const { connection, topic, qos, retain = false, dup = false } = options;
    const message = this.#messages.get(id);
    this.history.add({
      ...{ kind: 'deliver', ...this.#on(client, connection), id, packetId: 1, retain, dup },
      ...{ topic: topic ?? message!.topic, qos: qos ?? message!.qos },
    });
  }

  disconnect(client: string): void {
    this.history.add({ kind: 'disconnect', ...this.#on(client), reason: 0, expirySec: null });
    this.close(client, 'broker');
  }

  close(client: string, by: 'client' | 'broker' | 'left' = 'client', connection?: number): void {
    this.history.add({ kind: 'closed', ...this.#on(client, connection), reason: null, by });
  }

  fault(scope: FaultEvent['scope'], lengthMs: number, lossFrom: number | null = null): void {
    const fault = { kind: 'fault', what: `fault of ${scope}`, scope, port: null } as const;
    this.history.add({ ...fault, at: this.#ms, phase: 'begin', lossFrom });
    this.wait(lengthMs);
    this.history.add({ ...fault, at: this.#ms, phase: 'end', lossFrom: null });
  }

  /** performance.now() of the last event. */
  get now(): number {
    return this.#ms;
  }

  rest(...clients: string[]): void {
    for (const client of clients) this.history.add({ kind: 'rest', ...this.#on(client) });
  }
}

type Case = (story: Story) => void;

/** A test: each of `broken` breaks the rule and no other one, and none of `lawful` breaks any. */
export function rule(
  name: string,
  cases: { broken: Record<string, Case>; lawful: Record<string, Case> },
): void {
  t.test(name, async (t) => {
    for (const [what, tell] of Object.entries(cases.broken)) {
      const story = new Story();
      tell(story);
      const found = check(story.history).map((breach) => breach.rule);
      t.same([...new Set(found)], [name], `broken: ${what}`);
    }
    for (const [what, tell] of Object.entries(cases.lawful)) {
      const story = new Story();
      tell(story);
      t.same(check(story.history), [], `lawful: ${what}`);
    }
  });
}
