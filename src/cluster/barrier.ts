// Waits until every live node has applied a version of the route log: what stands between SUBSCRIBE and SUBACK. The nodes
// to wait for are those in the list of leases as read after the append was answered; a node that registers later loads
// a snapshot that holds the entry. They tell what they have applied by their inboxes; who does not is asked again. A
// tombstone releases, and nothing else does: a frozen node holds SUBACKs up until it is declared dead.
// Many who wait share one reading of the list: they form a round, and a round ends in the order of versions.

import type { NodeStats } from '../observability/node-stats.ts';
import type { Lease } from '../store/store.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { Peers } from './peers.ts';
import type { RouteLog } from './route-log.ts';

/** How often a node that has not told is asked again. Not an option: an inbox entry is lost only when a node dies. */
const ASK_EVERY_MS = 500;

export interface BarrierOptions {
  readonly incarnation: string;
  readonly routeLog: RouteLog;
  readonly peers: Pick<Peers, 'ask'>;
  readonly clock: Clock;
  readonly stats: NodeStats;
  /** Leases of the nodes that live, read now. */
  live(): Promise<readonly Lease[]>;
}

interface Waiter {
  readonly version: number;
  /** The others tell by themselves, as they do after an append of this node. */
  isTold: boolean;
  readonly sinceMs: number;
  readonly resolve: () => void;
}

interface Round {
  nodes: string[];
  waiters: Waiter[];
}

export class Barrier {
  readonly #options: BarrierOptions;
  /** Waiters for whom the list of nodes has not been read yet. */
  #unlisted: Waiter[] = [];
  #rounds: Round[] = [];
  /** What other nodes have applied, as far as they told. */
  readonly #applied = new Map<string, number>();
  #isListing = false;
  #isListingAgain = false;
  /** Changes when what was told before means nothing any more. */
  #history = 0;
  #timer: Timer | null = null;
  #isChecking = false;

  constructor(options: BarrierOptions) {
    this.#options = options;
    options.routeLog.onReset = () => this.#restart();
  }

  /** Who waits now. */
  get waiting(): number {
    let waiting = this.#unlisted.length;
    for (const round of this.#rounds) waiting += round.waiters.length;
    return waiting;
  }

  /**
   * Resolves when every live node has applied `version`, which the log has given out. `isOwn`: this node has just
   * appended it, so that the others tell unasked; for a version of somebody else they are asked at once.
   */
  wait(version: number, isOwn = true): Promise<void> {
    if (version <= 0) return Promise.resolve();
    return new Promise((resolve) => {
      const waiter = { version, isTold: isOwn, sinceMs: this.#options.clock.monotonicMs(), resolve };
      this.#unlisted.push(waiter);
      this.#timer ??= this.#options.clock.every(ASK_EVERY_MS, () => this.#tick());
      this.#watchOwn(waiter);
      this.#list();
    });
  }

  /** The node `from` has told what it has applied. */
  applied(from: string, version: number): void {
    if (version <= (this.#applied.get(from) ?? 0)) return;
    this.#applied.set(from, version);
    if (this.#rounds.length > 0) this.#check();
  }

  /** A tombstone stands: nobody waits for that node. */
  nodeDead(incarnation: string): void {
    this.#applied.delete(incarnation);
    for (const round of this.#rounds) round.nodes = round.nodes.filter((node) => node !== incarnation);
    this.#check();
  }

  /** Ends the timer; who waits is not answered. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#unlisted = [];
    this.#rounds = [];
  }

  /** The store has lost its tail: what was told may be about entries that are gone. */
  #restart(): void {
    this.#history++;
    this.#applied.clear();
    for (const round of this.#rounds.splice(0)) this.#unlisted.push(...round.waiters);
    if (this.#unlisted.length === 0) return;
    this.#askAnew(this.#unlisted);
    this.#list();
  }

  #askAnew(waiters: readonly Waiter[]): void {
    for (const waiter of waiters) {
      waiter.isTold = false;
      this.#watchOwn(waiter);
    }
  }

  #watchOwn({ version }: Waiter): void {
    const { routeLog } = this.#options;
    if (routeLog.applied < version) routeLog.whenApplied(version, () => this.#checkSoon());
  }

  /** Many waiters of one batch of the log are checked together. */
  #checkSoon(): void {
    if (this.#isChecking) return;
    this.#isChecking = true;
    queueMicrotask(() => {
      this.#isChecking = false;
      this.#check();
    });
  }

  #tick(): void {
    if (this.waiting > 0) this.#list();
    else {
      this.#timer?.cancel();
      this.#timer = null;
    }
  }

  /** Reads the list of nodes, for those who came since the last reading was sent. */
  #list(): void {
    if (this.#isListing) this.#isListingAgain = true;
    else void this.#readList();
  }

  async #readList(): Promise<void> {
    this.#isListing = true;
    do {
      this.#isListingAgain = false;
      const waiters = this.#unlisted.splice(0);
      const history = this.#history;
      try {
        const leases = await this.#options.live();
        if (history === this.#history) this.#useList(leases, waiters);
        else {
          this.#askAnew(waiters);
          this.#unlisted.push(...waiters);
          this.#isListingAgain = true;
        }
      } catch {
        // The store is away: the next tick reads again.
        this.#unlisted.push(...waiters);
        break;
      }
    } while (this.#isListingAgain);
    this.#isListing = false;
  }

  #useList(leases: readonly Lease[], waiters: Waiter[]): void {
    const { incarnation } = this.#options;
    const nodes: string[] = [];
    for (const lease of leases) if (lease.incarnation !== incarnation) nodes.push(lease.incarnation);
    const living = new Set(nodes);
    for (const round of this.#rounds) round.nodes = round.nodes.filter((node) => living.has(node));
    for (const node of this.#applied.keys()) if (!living.has(node)) this.#applied.delete(node);
    if (waiters.length > 0) this.#rounds.push({ nodes, waiters });
    this.#check();
    this.#ask();
  }

  #check(): void {
    const { routeLog, clock, stats } = this.#options;
    const nowMs = clock.monotonicMs();
    for (const round of this.#rounds) {
      let reached = routeLog.applied;
      for (const node of round.nodes) reached = Math.min(reached, this.#applied.get(node) ?? 0);
      if (round.waiters.every(({ version }) => version > reached)) continue;
      const done = round.waiters.filter(({ version }) => version <= reached);
      round.waiters = round.waiters.filter(({ version }) => version > reached);
      for (const { sinceMs, resolve } of done) {
        stats.subscribeBarrierDuration.observe((nowMs - sinceMs) / 1000);
        resolve();
      }
    }
    this.#rounds = this.#rounds.filter((round) => round.waiters.length > 0);
  }

  /** Asks nodes for the highest version that somebody waits for and that they have not told of. */
  #ask(): void {
    const { peers, clock } = this.#options;
    const nowMs = clock.monotonicMs();
    const versions = new Map<string, number>();
    for (const { nodes, waiters } of this.#rounds) {
      let wanted = 0;
      for (const { version, isTold, sinceMs } of waiters) {
        if (!isTold || nowMs - sinceMs >= ASK_EVERY_MS) wanted = Math.max(wanted, version);
      }
      for (const node of nodes) {
        if ((this.#applied.get(node) ?? 0) < wanted)
          versions.set(node, Math.max(wanted, versions.get(node) ?? 0));
      }
    }
    for (const [node, version] of versions) peers.ask(node, version);
  }
}
