// The way of one operation through the world: submitted on a connection, applied in a batch, answered when that is
// written. And what connection and world know of each other, so that neither imports the other.

import type { Clock } from '../../util/clock.ts';
import type { Operation } from '../operations.ts';
import type { StoreState } from './state.ts';

/** What a node's store needs of the world it stands on. */
export interface World {
  readonly clock: Clock;
  readonly state: StoreState;
  readonly isAvailable: boolean;
  nowMs(): number;
  /** Loads what is kept, once for all stores. */
  open(): Promise<void>;
  enter(ticket: Ticket): void;
  /** Runs it now, or when the scheduler says; what has the same line keeps its order. */
  post(line: string, run: () => void): void;
  leave(node: WorldNode): Promise<void>;
}

/** What the world needs of a node's store. */
export interface WorldNode {
  /** Something may be there to read. */
  wakeReaders(): void;
  tellAvailability(reason: string): void;
  /** The world has lost its tail. */
  meetHistory(): void;
}

/** Whose ticket it is. */
export interface TicketHolder {
  /** Whether it may be applied when its turn comes. */
  mayRun(ticket: Ticket): boolean;
  /** It was applied. */
  applied(ticket: Ticket): void;
  /** Its batch is written. */
  finish(ticket: Ticket): void;
}

export class Ticket {
  readonly operation: Operation;
  readonly line: string;
  readonly #holder: TicketHolder;
  #hasLeft = false;
  #isApplied = false;

  constructor(operation: Operation, line: string, holder: TicketHolder) {
    this.operation = operation;
    this.line = line;
    this.#holder = holder;
  }

  /** The same operation once more, for a connection made anew. */
  again(): Ticket {
    const ticket = new Ticket(this.operation, this.line, this.#holder);
    ticket.#hasLeft = this.#hasLeft;
    return ticket;
  }

  mayRun(): boolean {
    return this.#holder.mayRun(this);
  }

  /** The operation leaves for the store: what it collects is fixed the first time. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.operation.seal();
  }

  /** False where the holder held it back. */
  get isApplied(): boolean {
    return this.#isApplied;
  }

  markApplied(): void {
    this.#isApplied = true;
    this.#holder.applied(this);
  }

  finish(): void {
    this.#holder.finish(this);
  }
}
