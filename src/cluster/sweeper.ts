// Cleans up what no connected client does any more: after dead nodes (their sessions are let go of, wills become due,
// routes and inbox go), sessions whose deadline has passed, wills whose publisher died, and what only takes room. Any
// node does any of it, each step is idempotent and judged in the store, and a failed one is done again by the next
// pass. A kind of step never overlaps itself, and no kind waits for another one; calls under way are bounded, and one
// that hangs (a paused Redis master) is left behind, so that the sessions of other masters do not wait for it.

import { type Logger, RepeatedWarnings } from '../observability/logger.ts';
import type { LogRecord } from '../routing/log-codec.ts';
import type { Lease, Store, TakenWill } from '../store/store.ts';
import { type Clock, delay, type Timer } from '../util/clock.ts';
import type { Random } from '../util/random.ts';
import { isClosedError } from './log-appender.ts';

/** Calls under way at a time: sessions of a dead node are let go of at some ten thousand a second. */
const CONCURRENCY = 32;
const DUE_PAGE = 256;
/** Pages of due sessions in one pass; more wait for the next. */
const DUE_PAGES_MAX = 16;
const WILLS_PAGE = 64;
const SWEEP_LIMIT = 1000;
/** Freeing is nothing that anybody waits for: what is over is passed over where it is read. */
const FREE_EVERY_MS = 10_000;
/** Between two portions of it. */
const FREE_PAUSE_MS = 100;
/** Locks are held for so many leases and taken anew with every page. */
const LOCK_LEASES = 4;
/** Failures to clean up after a node before others get the lock. */
const ATTEMPTS = 3;
/** A step that was not answered for so many leases is left behind. */
const PATIENCE_LEASES = 2;
/** Sessions and wills with a step under way, those that were left behind included. */
const UNDER_WAY_MAX = 4096;
/** When a dead node is looked at again after its cleaning: what it had on the way has come to the store by then. */
const LATE_LEASES = 2;
/** How long stop() waits for what is under way: a will in hand is published rather than left to others. */
const STOP_MS = 1000;
/** A taken will is left when its taker has not finished it for so many leases. */
const WILL_LEASES = 2;

export type SweeperStore = Pick<
  Store,
  'lockCleanup' | 'sessionsOf' | 'disown' | 'dueSessions' | 'expire' | 'leftWills' | 'sweep' | 'removeNode'
>;

export interface SweeperOptions {
  readonly store: SweeperStore;
  readonly incarnation: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** config cluster.lease */
  readonly leaseMs: number;
  /** config cluster.sweepEvery */
  readonly sweepEveryMs: number;
  /** All leases as last read. */
  leases(): readonly Lease[];
  /** False while this node has nothing to do with the store: its lease is over, or the store is away. */
  mayWork(): boolean;
  /** Appends to the route log. */
  append(record: LogRecord): Promise<unknown>;
  /** Publishes the taken wills of one client, in their order, where they are due; resolves when they are done. */
  settleWills(wills: readonly TakenWill[]): Promise<void>;
  /** Moves on what ended sessions have left to other members of their shared subscriptions. */
  moveOrphans(): Promise<void>;
  /** A session ended because its time was over, with so many messages waiting; for figures. */
  onExpired(clientId: string, discarded: number): void;
}

export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #warnings: RepeatedWarnings;
  #timer: Timer | null = null;
  readonly #steps = new Map<string, Promise<void>>();
  /** When a kind of step may begin next, by the monotonic clock. */
  readonly #nextMs = new Map<string, number>();
  #isStopped = false;
  /**
   * Dead nodes that this one has cleaned up, with the list in which they stood: a later one that still has them was read
   * before, which costs a repetition, or says that they are to be cleaned up after again.
   */
  readonly #cleaned = new Map<string, readonly Lease[]>();
  /** Dead nodes that this one has cleaned up and looks at again, and when (monotonic clock). */
  readonly #late: { lease: Lease; atMs: number }[] = [];
  readonly #underWay = new Set<string>();
  /** Dead nodes that this one failed to clean up: how often, and until when it lets others try (monotonic clock). */
  readonly #failures = new Map<string, { count: number; restUntilMs: number }>();

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#warnings = new RepeatedWarnings(options.logger, options.clock);
  }

  start(): void {
    this.#timer = this.#options.clock.every(this.#options.sweepEveryMs, () => this.wake());
  }

  /** Begins a pass, as when a node has just died. What is under way still is not begun again. */
  wake(): void {
    this.#begin('cleaning up after dead nodes failed and is repeated', () => this.#cleanNodes());
    this.#begin('looking for late claims of dead nodes failed and is repeated', () => this.#letGoLate());
    this.#begin('ending due sessions failed and is repeated', () => this.#endDue());
    this.#begin('moving on messages of ended sessions failed and is repeated', () =>
      this.#options.moveOrphans(),
    );
    const { leaseMs } = this.#options;
    this.#begin('publishing left wills failed and is repeated', () => this.#finishLeftWills(), leaseMs);
    this.#begin('freeing what is over failed and is repeated', () => this.#free(), FREE_EVERY_MS);
  }

  /** Resolves when the steps under way have stopped; one that hangs is not waited for, and ends with the store. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await Promise.race([Promise.all(this.#steps.values()), delay(this.#options.clock, STOP_MS)]);
  }

  /** A kind of step is known by what is said when it fails; it begins at most every `everyMs`. */
  #begin(failure: string, run: () => Promise<void>, everyMs = 0): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#steps.has(failure) || (this.#nextMs.get(failure) ?? 0) > nowMs || !this.#isWorking()) return;
    this.#nextMs.set(failure, nowMs + everyMs);
    const step = run()
      .catch((error: unknown) => {
        if (!isClosedError(error)) this.#warnings.warn({ err: error }, failure);
      })
      .finally(() => this.#steps.delete(failure));
    this.#steps.set(failure, step);
  }

  #isWorking(): boolean {
    return !this.#isStopped && this.#options.mayWork();
  }

  // ---- dead nodes

  async #cleanNodes(): Promise<void> {
    const leases = this.#options.leases();
    const dead = leases.filter((lease) => lease.deadAt > 0 && !lease.cleaned);
    const listed = new Set(dead.map((lease) => lease.incarnation));
    for (const [incarnation, list] of this.#cleaned) if (list !== leases) this.#cleaned.delete(incarnation);
    for (const incarnation of this.#failures.keys()) {
      if (!listed.has(incarnation)) this.#failures.delete(incarnation);
    }
    const nowMs = this.#options.clock.monotonicMs();
    const open = dead.filter(
      ({ incarnation }) =>
        !this.#cleaned.has(incarnation) && (this.#failures.get(incarnation)?.restUntilMs ?? 0) <= nowMs,
    );
    const results = await Promise.allSettled(open.map((lease) => this.#cleanNode(lease)));
    results.forEach((result, index) => {
      if (result.status === 'rejected') this.#noteFailure(open[index]!.incarnation);
    });
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** What fails or hangs here may go through elsewhere: now and then the lock is left to others. */
  #noteFailure(incarnation: string): void {
    const { clock, leaseMs } = this.#options;
    const count = (this.#failures.get(incarnation)?.count ?? 0) + 1;
    const restMs = count % ATTEMPTS === 0 ? 2 * LOCK_LEASES * leaseMs : 0;
    this.#failures.set(incarnation, { count, restUntilMs: clock.monotonicMs() + restMs });
  }

  async #cleanNode(lease: Lease): Promise<void> {
    const { store, append, logger } = this.#options;
    const { incarnation, name } = lease;
    let cursor: string | null = '';
    let sessions = 0;
    let isComplete = true;
    while (cursor !== null) {
      if (!this.#isWorking() || !(await this.#lock(incarnation))) return;
      const page: Awaited<ReturnType<Store['sessionsOf']>> = await store.sessionsOf(incarnation, cursor);
      sessions += page.clientIds.length;
      const isDone = await this.#letGo(lease, page.clientIds);
      isComplete &&= isDone;
      cursor = page.cursor;
    }
    // Its sessions are found by the node that held them: that must not go before all of them have been let go of.
    if (!isComplete) throw new Error('some sessions of a dead node could not be let go of in time');
    await append({ kind: 'node-dead', incarnation });
    await store.removeNode(incarnation);
    this.#cleaned.set(incarnation, this.#options.leases());
    logger.info({ incarnation, name, sessions }, 'a dead node has been cleaned up');
    await this.#lookAgain(lease);
  }

  /** Where it came back meanwhile, a claim that it had sent may be carried out behind the reading of the cleaning. */
  async #lookAgain(lease: Lease): Promise<void> {
    const { store, clock, leaseMs } = this.#options;
    this.#late.push({ lease, atMs: clock.monotonicMs() + LATE_LEASES * leaseMs });
    await this.#letGo(lease, (await store.sessionsOf(lease.incarnation, '')).clientIds);
  }

  async #letGoLate(): Promise<void> {
    const { store, clock, leases } = this.#options;
    const nowMs = clock.monotonicMs();
    while ((this.#late[0]?.atMs ?? Number.POSITIVE_INFINITY) <= nowMs && this.#isWorking()) {
      const { lease } = this.#late.shift()!;
      // With the tombstone lost by the store, the node lives, and has its sessions.
      if (!leases().some((one) => one.incarnation === lease.incarnation && one.deadAt > 0)) continue;
      const { clientIds } = await store.sessionsOf(lease.incarnation, '');
      if (clientIds.length > 0) await this.#lookAgain(lease);
    }
  }

  /** Answers whether all of these sessions of a dead node have been let go of. */
  #letGo({ incarnation, renewedAt }: Lease, clientIds: readonly string[]): Promise<boolean> {
    const { store, onExpired } = this.#options;
    return this.#each(
      clientIds,
      (clientId) => clientId,
      async (clientId) => {
        const { endedLife, wills, discarded } = await store.disown(clientId, incarnation, renewedAt);
        if (endedLife !== 0) onExpired(clientId, discarded);
        await this.#finish(clientId, endedLife, wills);
      },
    );
  }

  #lock(incarnation: string): Promise<boolean> {
    const { store, leaseMs } = this.#options;
    return store.lockCleanup(incarnation, this.#options.incarnation, LOCK_LEASES * leaseMs);
  }

  // ---- deadlines

  async #endDue(): Promise<void> {
    const { store, random, onExpired } = this.#options;
    for (let page = 0; page < DUE_PAGES_MAX && this.#isWorking(); page++) {
      const due = await store.dueSessions(DUE_PAGE);
      if (due.length === 0) return;
      // All nodes see the same list: each begins elsewhere in it, so that they seldom do the same.
      const start = random.below(due.length);
      const rotated = [...due.slice(start), ...due.slice(0, start)];
      await this.#each(
        rotated,
        (clientId) => clientId,
        async (clientId) => {
          const { endedLife, wills, discarded } = await store.expire(clientId);
          if (endedLife !== 0) onExpired(clientId, discarded);
          await this.#finish(clientId, endedLife, wills);
        },
      );
      if (due.length < DUE_PAGE) return;
    }
  }

  async #finishLeftWills(): Promise<void> {
    const { store, leaseMs } = this.#options;
    const wills = await store.leftWills(WILL_LEASES * leaseMs, WILLS_PAGE);
    const byClient = new Map<string, TakenWill[]>();
    for (const will of wills) {
      const ofClient = byClient.get(will.clientId);
      if (ofClient) ofClient.push(will);
      else byClient.set(will.clientId, [will]);
    }
    await this.#each(
      [...byClient],
      ([clientId]) => `wills of ${clientId}`,
      ([, ofClient]) => this.#options.settleWills(ofClient),
    );
  }

  async #free(): Promise<void> {
    let isMore = true;
    while (isMore && this.#isWorking()) {
      const { retained, payloads, marks } = await this.#options.store.sweep(SWEEP_LIMIT);
      isMore = Math.max(retained, payloads, marks) >= SWEEP_LIMIT;
      await delay(this.#options.clock, FREE_PAUSE_MS);
    }
  }

  // ---- what both end in

  async #finish(clientId: string, endedLife: number, wills: readonly TakenWill[]): Promise<void> {
    if (endedLife !== 0) await this.#options.append({ kind: 'ended', clientId, life: endedLife });
    await this.#options.settleWills(wills);
  }

  /**
   * Runs a step for each, some at a time. One that is under way still is passed over, one that hangs is left behind.
   * Answers whether all are done; the first failure is thrown when the others have had their turn.
   */
  async #each<T>(
    all: readonly T[],
    keyOf: (one: T) => string,
    run: (one: T) => Promise<void>,
  ): Promise<boolean> {
    const failures: unknown[] = [];
    let next = 0;
    let done = 0;
    const work = async (): Promise<void> => {
      while (next < all.length && failures.length < CONCURRENCY && this.#isWorking()) {
        const one = all[next++] as T;
        try {
          if (await this.#patiently(keyOf(one), () => run(one))) done++;
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, all.length) }, work));
    if (failures.length > 0) throw failures[0];
    return done === all.length;
  }

  /** True when the step ended in time. */
  async #patiently(key: string, run: () => Promise<void>): Promise<boolean> {
    if (this.#underWay.has(key) || this.#underWay.size >= UNDER_WAY_MAX) return false;
    this.#underWay.add(key);
    const { clock, leaseMs } = this.#options;
    let timer: Timer | undefined;
    const patience = new Promise<boolean>((resolve) => {
      timer = clock.after(PATIENCE_LEASES * leaseMs, () => resolve(false));
    });
    const step = run()
      .then(() => true)
      .finally(() => this.#underWay.delete(key));
    try {
      return await Promise.race([step, patience]);
    } finally {
      timer?.cancel();
    }
  }
}
