// Time and order of a simulation: one list of tasks, run one at a time in the order of their virtual times, with the
// event loop's own turn (promises, Aedes' ticks) between them. A process is a clock of its own on this time: frozen, it
// holds its tasks back as SIGSTOP does; dead, it drops them. Nothing here reads a real clock, so that a run depends on
// its seed alone.

import type { Clock, Timer } from '../../src/util/clock.ts';

const START_MS = 1_700_000_000_000;

export type Way = 'home' | 'sent' | 'gone';

export interface Task {
  atMs: number;
  order: number;
  readonly run: () => void;
  /** Whose task it is: held while that is frozen, dropped when it is dead. */
  readonly home: Process | null;
  /** 'gone': bytes that have left their process. 'sent': a command on its way to the store, which may be stuck. */
  readonly way: Way;
  isCancelled: boolean;
}

/** Resolves when promises, ticks and immediates that wait have had one turn. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class VirtualTime {
  nowMs = START_MS;
  /** Tasks run so far. */
  count = 0;
  #order = 0;
  readonly #heap: Task[] = [];

  /** Milliseconds since the beginning, for people. */
  get sinceStartMs(): number {
    return this.nowMs - START_MS;
  }

  post(delayMs: number, run: () => void, home: Process | null = null, way: Way = 'home'): Task {
    const atMs = this.nowMs + Math.max(0, delayMs);
    const task = { atMs, order: this.#order++, run, home, way, isCancelled: false };
    this.#push(task);
    return task;
  }

  /** Runs what is due within the next `ms`, or until `isOver` says so. */
  async pass(ms: number, isOver: () => boolean = () => false): Promise<void> {
    const endMs = this.nowMs + ms;
    await turn();
    while (!isOver()) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > endMs) {
        this.nowMs = endMs;
        return;
      }
      this.#pop();
      if (next.isCancelled || !isDue(next)) continue;
      if (next.atMs > this.nowMs) this.nowMs = next.atMs;
      this.count++;
      next.run();
      await turn();
    }
  }

  /** Lets what Aedes and streams do over several ticks come to rest without any task. */
  async rest(turns = 8): Promise<void> {
    for (let left = turns; left > 0; left--) await turn();
  }

  #push(task: Task): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(task);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(task, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (one: Task, other: Task): boolean =>
  one.atMs < other.atMs || (one.atMs === other.atMs && one.order < other.order);

/** False for a task that its process cannot run now: held or dropped. */
function isDue(task: Task): boolean {
  const { home } = task;
  if (home === null || task.way === 'gone') return true;
  // What a dead process had sent arrives; whether it runs, the cut of its connection says.
  if (task.way === 'sent' && (home.isDead || home.letsGo)) return true;
  if (home.isDead) return false;
  if (!home.isFrozen) return true;
  home.held.push(task);
  return false;
}

/** One process on the virtual time. */
export class Process implements Clock {
  readonly held: Task[] = [];
  isDead = false;
  isFrozen = false;
  /** While frozen: the commands that it had prepared were in the hands of the kernel and reach the store. */
  letsGo = false;
  /** The wall clock of its machine against the true one. */
  wallOffsetMs = 0;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime) {
    this.#time = time;
  }

  wallMs(): number {
    return this.#time.nowMs + this.wallOffsetMs;
  }

  monotonicMs(): number {
    return this.#time.sinceStartMs;
  }

  turnMs(): number {
    return this.monotonicMs();
  }

  after(delayMs: number, run: () => void): Timer {
    const task = this.#time.post(delayMs, run, this);
    return {
      cancel: () => {
        task.isCancelled = true;
      },
    };
  }

  every(periodMs: number, run: () => void): Timer {
    let isCancelled = false;
    const again = (): void => {
      if (isCancelled) return;
      this.#time.post(periodMs, again, this);
      run();
    };
    this.#time.post(periodMs, again, this);
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  }

  soon(run: () => void): void {
    this.#time.post(0, run, this);
  }

  freeze(letsGo: boolean): void {
    this.isFrozen = true;
    this.letsGo = letsGo;
  }

  /** Nothing of it runs any more; what it held back is lost. */
  die(): void {
    this.isDead = true;
    this.isFrozen = false;
    this.held.length = 0;
  }

  /** Runs it now, or when the process goes on. */
  whenAwake(run: () => void): void {
    if (this.isFrozen) this.#time.post(0, run, this);
    else run();
  }

  /** What was held goes on at once, in its order. */
  thaw(): void {
    this.isFrozen = false;
    for (const task of this.held.splice(0)) {
      if (task.isCancelled) continue;
      this.#time.post(0, () => !task.isCancelled && task.run(), this, task.way);
    }
  }
}
