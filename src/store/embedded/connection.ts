// One node's connection to the world: which of its operations are not answered yet, in one list per receiver. As on a
// network, at most one group of a list is under way, and what comes meanwhile waits for its answers: so an operation that
// is refused and runs again keeps its place. The simulation can cut the connection: what is under way then has run or
// not, its answers are lost, and all of it is submitted again when the connection is made anew.

import type { EnqueueOperation, Operation, RetainOperation } from '../operations.ts';
import { Ticket, type TicketHolder, type World } from './ticket.ts';

/** Before operations that said againLater run again. */
const AGAIN_LATER_MS = 2;

/** What is in line for one receiver. */
class ReceiverList {
  /** Entered into the world and not answered. */
  readonly underWay = new Map<Operation, Ticket>();
  /** Answered, but to be run again before anything that waits. */
  kept: Operation[] = [];
  waiting: Operation[] = [];
  /** Some of what is under way has been applied: what comes now waits. */
  isRunning = false;
  /** A write of the group was matched too long ago: what follows it in the group must not overtake it. */
  isStale = false;

  *all(): Generator<Operation> {
    yield* this.kept;
    yield* this.underWay.keys();
    yield* this.waiting;
  }
}

export class Connection implements TicketHolder {
  readonly #world: World;
  readonly #name: string;
  readonly #lists = new Map<string, ReceiverList>();
  #pending = 0;
  #isCut = false;
  #isClosed = false;
  #runsLate: (operation: Operation) => boolean = () => false;

  constructor(world: World, name: string) {
    this.#world = world;
    this.#name = name;
  }

  get pending(): number {
    return this.#pending;
  }

  get isUp(): boolean {
    return !this.#isCut && !this.#isClosed;
  }

  submit(operation: Operation): void {
    if (this.#isClosed) {
      this.#world.clock.soon(() => fail(operation));
      return;
    }
    let list = this.#lists.get(operation.receiver);
    if (list === undefined) {
      list = new ReceiverList();
      this.#lists.set(operation.receiver, list);
    }
    this.#pending++;
    if (list.isRunning || this.#isCut) list.waiting.push(operation);
    else this.#enter(list, operation);
  }

  mayRun(ticket: Ticket): boolean {
    const { operation } = ticket;
    const list = this.#lists.get(operation.receiver);
    if (this.#isClosed || list?.underWay.get(operation) !== ticket) return false;
    if (this.#isCut && !this.#runsLate(operation)) return false;
    list.isRunning = true;
    return !list.isStale;
  }

  applied(ticket: Ticket): void {
    const { operation } = ticket;
    if (operation.kind !== 'enqueue' && operation.kind !== 'retain') return;
    if ((operation as EnqueueOperation | RetainOperation).status !== 'stale') return;
    const list = this.#lists.get(operation.receiver);
    if (list !== undefined) list.isStale = true;
  }

  finish(ticket: Ticket): void {
    const { operation } = ticket;
    const list = this.#lists.get(operation.receiver);
    if (!this.isUp || list?.underWay.get(operation) !== ticket) return;
    list.underWay.delete(operation);
    if (ticket.isApplied) operation.complete();
    if (this.#isClosed) return;
    if (operation.again || !ticket.isApplied) {
      operation.again = false;
      list.kept.push(operation);
    } else {
      this.#pending--;
    }
    if (list.underWay.size === 0) this.#next(list, operation.receiver);
  }

  cut(runsLate: (operation: Operation) => boolean): void {
    this.#isCut = true;
    this.#runsLate = runsLate;
  }

  /** Submits again what was not answered and is still wanted. */
  reconnect(): void {
    this.#isCut = false;
    for (const [receiver, list] of [...this.#lists]) {
      const tickets = new Map(list.underWay);
      const operations = [...list.all()].filter((operation) => operation.isWanted());
      this.#pending -= [...list.all()].length - operations.length;
      list.underWay.clear();
      list.kept = [];
      list.waiting = [];
      list.isRunning = false;
      list.isStale = false;
      if (operations.length === 0) this.#lists.delete(receiver);
      for (const operation of operations) {
        const ticket = tickets.get(operation);
        if (ticket !== undefined) operation.isRepeated = true;
        this.#enter(list, operation, ticket);
      }
    }
  }

  close(): void {
    this.#isClosed = true;
    const lists = [...this.#lists.values()];
    this.#lists.clear();
    this.#pending = 0;
    for (const list of lists) for (const operation of [...list.all()]) fail(operation);
  }

  #enter(list: ReceiverList, operation: Operation, before?: Ticket): void {
    const line = `${this.#name} ${operation.receiver}`;
    const ticket = before?.again() ?? new Ticket(operation, line, this);
    list.underWay.set(operation, ticket);
    this.#world.enter(ticket);
  }

  /** The group is answered: what stays and what came meanwhile are the next one. */
  #next(list: ReceiverList, receiver: string): void {
    const isLater = list.kept.some((operation) => operation.againLater);
    if (isLater) {
      this.#world.clock.after(AGAIN_LATER_MS, () => {
        if (this.isUp && list.underWay.size === 0) this.#enterAll(list, receiver);
      });
    } else {
      this.#enterAll(list, receiver);
    }
  }

  #enterAll(list: ReceiverList, receiver: string): void {
    const operations = [...list.kept, ...list.waiting];
    list.kept = [];
    list.waiting = [];
    list.isRunning = false;
    list.isStale = false;
    if (operations.length === 0) this.#lists.delete(receiver);
    for (const operation of operations) this.#enter(list, operation);
  }
}

function fail(operation: Operation): void {
  operation.failed = true;
  operation.complete();
}
