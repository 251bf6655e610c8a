// One node's connection to the world: which of its operations are not answered yet, in the order of their submission. The
// simulation can cut it: what is under way then has run or not, its answers are lost, and all of it is submitted again
// when the connection is made anew. So an operation may run twice, as on a network.

import type { Operation } from '../operations.ts';
import { Ticket, type TicketHolder, type World } from './ticket.ts';

export class Connection implements TicketHolder {
  readonly #world: World;
  readonly #name: string;
  /** The ticket that counts for each operation; older ones of a connection before do not. */
  readonly #tickets = new Map<Operation, Ticket>();
  #isCut = false;
  #isClosed = false;
  #runsLate: (operation: Operation) => boolean = () => false;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#name = name;
  }

  get pending(): number {
    return this.#tickets.size;
  }

  get isUp(): boolean {
    return !this.#isCut && !this.#isClosed;
  }

  submit(operation: Operation): void {
    if (this.#isClosed) {
      this.#world.clock.soon(() => fail(operation));
      return;
    }
    const ticket = new Ticket(operation, `${this.#name} ${operation.receiver}`, this);
    this.#tickets.set(operation, ticket);
    if (!this.#isCut) this.#world.enter(ticket);
  }

  mayRun(ticket: Ticket): boolean {
    if (this.#isClosed || this.#tickets.get(ticket.operation) !== ticket) return false;
    return !this.#isCut || this.#runsLate(ticket.operation);
  }

  finish(ticket: Ticket): void {
    const { operation } = ticket;
    if (!this.isUp || this.#tickets.get(operation) !== ticket) return;
    this.#tickets.delete(operation);
    operation.complete();
  }

  cut(runsLate: (operation: Operation) => boolean): void {
    this.#isCut = true;
    this.#runsLate = runsLate;
  }

  /** Submits again what was not answered and is still wanted. */
  reconnect(): void {
    this.#isCut = false;
    const waiting = [...this.#tickets];
    for (const [operation, ticket] of waiting) {
      if (operation.isWanted()) this.#tickets.set(operation, ticket.again());
      else this.#tickets.delete(operation);
    }
    for (const ticket of [...this.#tickets.values()]) this.#world.enter(ticket);
  }

  close(): void {
    this.#isClosed = true;
    const waiting = [...this.#tickets.keys()];
    this.#tickets.clear();
    for (const operation of waiting) fail(operation);
  }
}

function fail(operation: Operation): void {
  operation.failed = true;
  operation.complete();
}
