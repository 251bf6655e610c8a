// The embedded store's engine: one state, one line of operations, one journal behind it, and a Store for each node that
// stands on it. Everything that came while a batch was being written forms the next batch (group commit); a batch is
// applied in order of submission, written whole, and answered in order. A batch that cannot be written stays and is tried
// again every second, and nobody is answered meanwhile. A broker uses it with one node and a journal on disk; tests and
// the simulation use the same code with several nodes, an injected clock and a scheduler that decides what comes when.

import { assert } from '../../util/assert.ts';
import type { Clock } from '../../util/clock.ts';
import type { StoreLimits } from '../limits.ts';
import { ControlOperation } from './control.ts';
import { EmbeddedStore } from './embedded-store.ts';
import type { Journal } from './journal.ts';
import { MemoryImage } from './memory-image.ts';
import { StoreState } from './state.ts';
import type { Ticket, World, WorldNode } from './ticket.ts';
import type { Batch } from './write-set.ts';

/** Operations of one batch: bounds the pause of the event loop and the time until the first is answered. */
const BATCH_MAX = 2000;
const RETRY_MS = 1000;

/** Counts for the metrics. */
export interface WorldCounters {
  batches: number;
  operations: number;
  /** Writes to the journal that failed and were tried again. */
  repetitions: number;
  /** Called once for each batch: from its first operation until it was written, all repetitions included. */
  readonly onBatch: (durationMs: number, operations: number) => void;
}

/** Decides when something happens: what stands in one line happens in order, lines among each other in any order. */
export interface WorldScheduler {
  post(line: string, run: () => void): void;
}

export interface WorldOptions {
  readonly clock: Clock;
  readonly limits: StoreLimits;
  /** Null keeps nothing beside the state. A MemoryImage is what `loseTail` needs. */
  readonly journal: Journal | null;
  readonly scheduler?: WorldScheduler;
  readonly counters?: WorldCounters;
}

export class MemoryWorld implements World {
  readonly clock: Clock;
  readonly #counters: WorldCounters;
  readonly #limits: StoreLimits;
  readonly #journal: Journal | null;
  readonly #scheduler: WorldScheduler | null;
  readonly #nodes = new Set<WorldNode>();
  #state: StoreState;
  #line: Ticket[] = [];
  #isAwake = false;
  #isWriting = false;
  #isPaused = false;
  #isAvailable = true;
  #opening: Promise<void> | null = null;
  #isClosed = false;
  #nodeCount = 0;
  /** Told when a batch that was under way has been written or given up. */
  #onIdle: (() => void)[] = [];

  constructor(options: WorldOptions) {
    this.clock = options.clock;
    this.#limits = options.limits;
    this.#journal = options.journal;
    this.#scheduler = options.scheduler ?? null;
    this.#counters = options.counters ?? { batches: 0, operations: 0, repetitions: 0, onBatch() {} };
    this.#state = this.#newState();
  }

  get state(): StoreState {
    return this.#state;
  }

  get isAvailable(): boolean {
    return this.#isAvailable && !this.#isClosed;
  }

  /** A store for one more node. */
  connect(): EmbeddedStore {
    const store = new EmbeddedStore(this, `node${++this.#nodeCount}`);
    this.#nodes.add(store);
    return store;
  }

  nowMs(): number {
    return Math.floor(this.clock.wallMs());
  }

  // ---- what the stores ask for

  /** Loads the journal, once. Who holds it knows that every node before is dead. */
  open(): Promise<void> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  enter(ticket: Ticket): void {
    if (this.#scheduler) this.#scheduler.post(ticket.line, () => this.#push(ticket));
    else this.#push(ticket);
  }

  post(line: string, run: () => void): void {
    if (this.#scheduler) this.#scheduler.post(line, run);
    else run();
  }

  /** A store was closed; the last one closes the journal. */
  async leave(node: WorldNode): Promise<void> {
    this.#nodes.delete(node);
    if (this.#nodes.size > 0 || this.#isClosed) return;
    this.#isClosed = true;
    if (this.#isWriting) await new Promise<void>((resolve) => this.#onIdle.push(resolve));
    await this.#journal?.close();
  }

  // ---- what the simulation does to it

  /** Nothing runs any more and nobody is told, as with a stopped process. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#wake();
  }

  /** Takes the last `batches` batches back: a new history begins, and every connection is made anew. */
  loseTail(batches: number): void {
    const journal = this.#journal;
    assert(journal instanceof MemoryImage, 'only a MemoryImage can lose its tail');
    const before = this.#state;
    journal.dropLast(batches);
    this.#state = this.#newState();
    journal.load((key, value) => this.#state.load(key, value));
    this.#state.finishLoading();
    this.#state.beginHistory(before.history + 1, this.nowMs());
    this.#state.log.keepEntriesOf(before.log);
    this.#line = [];
    for (const node of [...this.#nodes]) node.meetHistory();
  }

  // ---- the line

  async #open(): Promise<void> {
    await this.#journal?.open((key, value) => this.#state.load(key, value));
    this.#state.finishLoading();
    this.#state.leases.buryAll(this.nowMs());
  }

  #newState(): StoreState {
    return new StoreState(this.#limits, this.#journal !== null);
  }

  #push(ticket: Ticket): void {
    this.#line.push(ticket);
    this.#wake();
  }

  #wake(): void {
    if (this.#isAwake || this.#isWriting || this.#isPaused || this.#isClosed) return;
    this.#isAwake = true;
    this.clock.soon(() => {
      this.#isAwake = false;
      if (!this.#isWriting && !this.#isPaused && !this.#isClosed) this.#runBatch();
    });
  }

  #runBatch(): void {
    const tickets = this.#line.length <= BATCH_MAX ? this.#line : this.#line.slice(0, BATCH_MAX);
    this.#line = this.#line.length <= BATCH_MAX ? [] : this.#line.slice(BATCH_MAX);
    const nowMs = this.nowMs();
    const beganMs = this.clock.monotonicMs();
    for (const ticket of tickets) this.#apply(ticket, nowMs);
    this.#counters.batches++;
    this.#counters.operations += tickets.length;
    const batch = this.#state.takeChanges();
    if (this.#journal === null || batch.changes.size === 0) this.#finish(tickets, beganMs);
    else this.#write(this.#journal, batch, tickets, beganMs);
  }

  #apply(ticket: Ticket, nowMs: number): void {
    const { operation } = ticket;
    if (!ticket.mayRun()) return;
    ticket.leave();
    if (operation instanceof ControlOperation) operation.apply(this.#state, nowMs);
    else this.#state.apply(operation, nowMs);
    ticket.markApplied();
  }

  #write(journal: Journal, batch: Batch, tickets: readonly Ticket[], beganMs: number): void {
    this.#isWriting = true;
    journal.write(batch, (error) => {
      if (error !== null) {
        this.#failWrite(error, () => this.#write(journal, batch, tickets, beganMs));
        return;
      }
      this.#isWriting = false;
      this.#setAvailable(true, '');
      this.#finish(tickets, beganMs);
      this.#tellIdle();
    });
  }

  /** The state has the batch, the journal has not: nothing goes on until it has. */
  #failWrite(error: Error, again: () => void): void {
    this.#counters.repetitions++;
    this.#setAvailable(false, error.message);
    if (this.#isClosed) {
      this.#isWriting = false;
      this.#tellIdle();
      return;
    }
    this.clock.after(RETRY_MS, () => {
      if (!this.#isClosed) again();
    });
    // Who closes the store meanwhile need not wait for a disk that is full.
    this.#tellIdle();
  }

  #finish(tickets: readonly Ticket[], beganMs: number): void {
    this.#counters.onBatch(this.clock.monotonicMs() - beganMs, tickets.length);
    for (const ticket of tickets) {
      if (this.#scheduler) this.#scheduler.post(ticket.line, () => ticket.finish());
      else ticket.finish();
    }
    for (const node of this.#nodes) node.wakeReaders();
    if (this.#line.length > 0 || this.#state.hasLeftovers) this.#wake();
  }

  #setAvailable(isAvailable: boolean, reason: string): void {
    if (this.#isAvailable === isAvailable) return;
    this.#isAvailable = isAvailable;
    for (const node of [...this.#nodes]) node.tellAvailability(reason);
  }

  #tellIdle(): void {
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }
}
