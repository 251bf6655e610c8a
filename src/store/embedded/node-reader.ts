// Reads a node's inbox and the route log for it and hands over what came, in order and in bounded portions. The
// simulation can hold either back; what comes meanwhile waits in the world and may be trimmed there.

import { SwarmqError } from '../../util/errors.ts';
import type { StoreEvents } from '../store.ts';
import type { World } from './ticket.ts';

type Reading = 'inbox' | 'log';

export class NodeReader {
  readonly #world: World;
  readonly #name: string;
  readonly #isUp: () => boolean;
  readonly #held = new Set<Reading>();
  readonly #posted = new Set<Reading>();
  #events: StoreEvents | null = null;
  #incarnation = '';
  #inboxAt = 0;
  /** Version of the last log entry read, null while the log is not followed. */
  #logAt: number | null = null;
  #waiters: { position: number; resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(world: World, name: string, isUp: () => boolean) {
    this.#world = world;
    this.#name = name;
    this.#isUp = isUp;
  }

  begin(events: StoreEvents): void {
    this.#events = events;
  }

  /** Reads this incarnation's inbox from its beginning. What was waited for in one before it is lost. */
  readInbox(incarnation: string): void {
    this.#incarnation = incarnation;
    this.#inboxAt = 0;
    for (const waiter of this.#waiters.splice(0)) waiter.resolve();
  }

  follow(version: number): void {
    this.#logAt = version;
    this.wake();
  }

  /** Resolves when the inbox has been handed over to `position`. */
  wait(position: number): Promise<void> {
    if (this.#inboxAt >= position) return Promise.resolve();
    return new Promise((resolve, reject) => this.#waiters.push({ position, resolve, reject }));
  }

  hold(reading: Reading): void {
    this.#held.add(reading);
  }

  unhold(reading: Reading): void {
    this.#held.delete(reading);
    this.wake();
  }

  /** Looks whether something is there to hand over. */
  wake(): void {
    const { state } = this.#world;
    if (state.inboxes.end(this.#incarnation) > this.#inboxAt) this.#post('inbox');
    if (this.#logAt !== null && state.log.last > this.#logAt) this.#post('log');
  }

  close(): void {
    this.#events = null;
    const error = new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'while waiting for the inbox');
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error);
  }

  #post(reading: Reading): void {
    if (!this.#mayRead(reading) || this.#posted.has(reading)) return;
    this.#posted.add(reading);
    this.#world.post(`${this.#name} ${reading}`, () => {
      this.#posted.delete(reading);
      if (!this.#mayRead(reading)) return;
      if (reading === 'inbox') this.#deliverInbox(this.#events!);
      else this.#deliverLog(this.#events!);
    });
  }

  #mayRead(reading: Reading): boolean {
    return this.#events !== null && this.#isUp() && !this.#held.has(reading);
  }

  #deliverInbox(events: StoreEvents): void {
    const { payloads, position, hasGap } = this.#world.state.inboxes.read(this.#incarnation, this.#inboxAt);
    this.#inboxAt = position;
    if (hasGap) events.onInboxGap();
    if (payloads.length > 0) events.onInbox(payloads);
    const arrived = this.#waiters.filter((waiter) => waiter.position <= position);
    this.#waiters = this.#waiters.filter((waiter) => waiter.position > position);
    for (const waiter of arrived) waiter.resolve();
    this.#world.clock.soon(() => this.wake());
  }

  #deliverLog(events: StoreEvents): void {
    const entries = this.#world.state.log.readBehind(this.#logAt!);
    const last = entries.at(-1);
    if (last === undefined) return;
    this.#logAt = last.version;
    events.onLog(entries);
    this.#world.clock.soon(() => this.wake());
  }
}
