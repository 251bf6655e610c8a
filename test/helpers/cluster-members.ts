// Members of a cluster over one MemoryWorld, without connections or sessions: what cluster/ and routing/ make of a node,
// wired as the composition root does it. Time moves only when a test says so, in the order of the timers; a member can
// be frozen as by SIGSTOP (its timers and its connection stand still while time goes on).

import { Barrier } from '../../src/cluster/barrier.ts';
import { Inbox } from '../../src/cluster/inbox.ts';
import { Membership } from '../../src/cluster/membership.ts';
import { Peers, peersLimits } from '../../src/cluster/peers.ts';
import { RouteLog } from '../../src/cluster/route-log.ts';
import { Sweeper } from '../../src/cluster/sweeper.ts';
import { silentLogger } from '../../src/observability/logger.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { LocalRoutes } from '../../src/routing/local-routes.ts';
import type { RouteChange } from '../../src/routing/log-codec.ts';
import { Router } from '../../src/routing/router.ts';
import { Routes } from '../../src/routing/routes.ts';
import { EarlierWills } from '../../src/session/earlier-wills.ts';
import type { EmbeddedStore } from '../../src/store/embedded/embedded-store.ts';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import type { Subscription } from '../../src/store/records.ts';
import type { Lease, Store, TakenWill } from '../../src/store/store.ts';
import type { Clock, Timer } from '../../src/util/clock.ts';
import { seededRandom } from '../../src/util/random.ts';
import { groupsOf } from './groups.ts';

export const LEASE_MS = 3000;
export const RENEW_MS = 500;

export const STORE_LIMITS: StoreLimits = {
  maxQueuedMessages: 1000,
  maxQueuedBytes: 1e7,
  queueFullPolicy: 'drop-oldest',
  windowMax: 128,
  maxRetainedMessages: 1000,
  maxRetainedBytes: 1e7,
  maxInboxBytes: 1e7,
  markLifeMs: 86_400_000,
};

interface Due {
  atMs: number;
  readonly run: () => void;
}

/** Time that stands still until `pass`. What is to run soon runs in the event loop's own time. */
export class TestTime implements Clock {
  #nowMs = 1_700_000_000_000;
  readonly #due = new Set<Due>();

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  turnMs(): number {
    return this.monotonicMs();
  }

  after(delayMs: number, run: () => void): Timer {
    const due: Due = { atMs: this.#nowMs + delayMs, run: () => run() };
    this.#due.add(due);
    return { cancel: () => this.#due.delete(due) };
  }

  every(periodMs: number, run: () => void): Timer {
    let timer = this.after(periodMs, again);
    const every = { cancel: () => timer.cancel() };
    const renew = () => {
      timer = this.after(periodMs, again);
    };
    function again(): void {
      renew();
      run();
    }
    return every;
  }

  soon(run: () => void): void {
    setImmediate(run);
  }

  /** Lets `ms` pass; after each timer, what it started comes to rest. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await rest();
    for (;;) {
      let next: Due | null = null;
      for (const due of this.#due)
        if (due.atMs <= endMs && (next === null || due.atMs < next.atMs)) next = due;
      if (next === null) break;
      this.#due.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
      await rest();
    }
    this.#nowMs = endMs;
    await rest();
  }

  /** Lets time pass until `check` holds; fails after `withinMs` of it. Answers how long it took. */
  async until(what: string, check: () => boolean, withinMs: number): Promise<number> {
    const start = this.#nowMs;
    await rest();
    while (!check()) {
      if (this.#nowMs - start > withinMs) throw new Error(`not within ${withinMs} ms: ${what}`);
      await this.pass(10);
    }
    return this.#nowMs - start;
  }
}

/** Turns of the event loop in which the store's batches and the promises behind them come to an end. */
export async function rest(turns = 12): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A clock whose timers wait while its process is stopped. */
class ProcessClock implements Clock {
  readonly #time: TestTime;
  #isStopped = false;
  readonly #late: (() => void)[] = [];
  /** Added to the wall clock: a jump of this machine's. */
  wallJumpMs = 0;

  constructor(time: TestTime) {
    this.#time = time;
  }

  wallMs(): number {
    return this.#time.wallMs() + this.wallJumpMs;
  }
  monotonicMs(): number {
    return this.#time.monotonicMs();
  }

  turnMs(): number {
    return this.monotonicMs();
  }
  after(delayMs: number, run: () => void): Timer {
    return this.#time.after(delayMs, () => this.#enter(run));
  }
  every(periodMs: number, run: () => void): Timer {
    return this.#time.every(periodMs, () => this.#enter(run));
  }
  soon(run: () => void): void {
    this.#time.soon(() => this.#enter(run));
  }
  stop(): void {
    this.#isStopped = true;
  }
  goOn(): void {
    this.#isStopped = false;
    for (const run of this.#late.splice(0)) run();
  }
  #enter(run: () => void): void {
    if (!this.#isStopped) run();
    else if (!this.#late.includes(run)) this.#late.push(run);
  }
}

export function newWorld(time: TestTime): MemoryWorld {
  return new MemoryWorld({ clock: time, limits: STORE_LIMITS, journal: new MemoryImage() });
}

export interface PartsOptions<S extends Store, C extends Clock> {
  readonly store: S;
  readonly clock: C;
  readonly name: string;
  readonly leaseMs: number;
  readonly renewMs: number;
}

/** What cluster/ and routing/ make of a node, over any store. */
export class NodeParts<S extends Store, C extends Clock> {
  readonly store: S;
  readonly clock: C;
  readonly stats = new NodeStats();
  readonly membership: Membership;
  readonly routes: Routes;
  readonly local: LocalRoutes;
  readonly router: Router;
  readonly peers: Peers;
  readonly routeLog: RouteLog;
  readonly barrier: Barrier;
  readonly inbox: Inbox;
  readonly sweeper: Sweeper;
  /** What happened, in order. */
  readonly holdings: boolean[] = [];
  readonly nodeDeaths: string[] = [];
  readonly wills: TakenWill[] = [];
  readonly expired: string[] = [];
  selfDeaths = 0;
  inboxGaps = 0;
  histories = 0;
  isAvailable = false;
  publishWill: (will: TakenWill) => Promise<void> = async (will) => void this.wills.push(will);

  constructor({ store, clock, name, leaseMs, renewMs }: PartsOptions<S, C>) {
    this.store = store;
    this.clock = clock;
    const { stats } = this;
    const logger = silentLogger;
    const random = seededRandom([...name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
    this.membership = new Membership({
      ...{ store, clock, random, logger, stats, name, leaseMs, renewEveryMs: renewMs },
      logUnreadMs: () => this.routeLog.unreadMs(),
      onHolding: (isHolding) => this.holdings.push(isHolding),
      onSelfDead: () => this.selfDeaths++,
      onNodeDead: (incarnation) => this.#onNodeDead(incarnation),
    });
    const { incarnation } = this.membership;
    const live = (): Promise<readonly Lease[]> => this.membership.live();
    this.routes = new Routes({ selfIncarnation: incarnation, groups: groupsOf(incarnation) });
    this.local = new LocalRoutes({ onRoutes: (changes) => void this.announce(changes).catch(() => {}) });
    this.router = new Router({
      routes: this.routes,
      local: this.local,
      selfIncarnation: incarnation,
      cacheMax: 100,
    });
    const limits = peersLimits(8 * 1024 * 1024);
    this.peers = new Peers({ selfIncarnation: incarnation, store, stats, limits });
    const { routes, local, peers } = this;
    this.routeLog = new RouteLog({
      ...{ store, incarnation, routes, local, peers, clock, logger, live },
      probeEveryMs: renewMs,
    });
    this.barrier = new Barrier({ incarnation, routeLog: this.routeLog, peers, clock, stats, live });
    this.inbox = new Inbox({
      ...{ stats, logger },
      onDamage: () => this.inboxGaps++,
      handlers: {
        onLive() {},
        onMember() {},
        onPush() {},
        onRun() {},
        onTakeover() {},
        onApplied: (from, version) => this.barrier.applied(from, version),
        onAsk: (from, version) => this.routeLog.asked(from, version),
        onKeys() {},
        onAskKeys() {},
      },
    });
    const earlierWills = new EarlierWills({
      ...{ store, clock },
      publishWill: (will) => this.publishWill(will),
      onFault: (error) => logger.error({ err: error }, 'wills'),
    });
    this.sweeper = new Sweeper({
      ...{ store, incarnation, clock, random, logger, leaseMs, sweepEveryMs: renewMs },
      leases: () => this.membership.leases,
      mayWork: () => !this.membership.holding,
      append: (record) => this.routeLog.append(record),
      settleWills: (wills) => earlierWills.settle(wills),
      moveOrphans: async () => {},
      onExpired: (clientId) => this.expired.push(clientId),
    });
  }

  get incarnation(): string {
    return this.membership.incarnation;
  }

  async start(): Promise<this> {
    await this.store.open({
      onInbox: (payloads) => this.inbox.receive(payloads),
      onInboxGap: () => this.inboxGaps++,
      onLog: (entries) => this.routeLog.onLog(entries),
      onAvailability: (isAvailable) => {
        this.isAvailable = isAvailable;
      },
      onHistory: () => {
        this.histories++;
        this.membership.onHistory();
        this.routeLog.onHistory();
      },
    });
    await this.membership.start();
    await this.routeLog.start();
    return this;
  }

  /** Appends changes of the node's routes; resolves with their version. */
  announce(changes: readonly RouteChange[]): Promise<number> {
    return this.routeLog.append({ kind: 'routes', incarnation: this.incarnation, changes });
  }

  /** Ends without a word to the others. */
  async stop(): Promise<void> {
    this.membership.abandon();
    this.barrier.stop();
    this.routeLog.stop();
    await this.store.close();
  }

  #onNodeDead(incarnation: string): void {
    this.nodeDeaths.push(incarnation);
    this.peers.forget(incarnation);
    this.routeLog.forget(incarnation);
    this.barrier.nodeDead(incarnation);
  }
}

/** A node on a MemoryWorld and in its time. */
export class Member extends NodeParts<EmbeddedStore, ProcessClock> {
  constructor(world: MemoryWorld, time: TestTime, name: string) {
    const clock = new ProcessClock(time);
    super({ store: world.connect(), clock, name, leaseMs: LEASE_MS, renewMs: RENEW_MS });
  }

  /** The process stands still and hears nothing, while time goes on for the others. */
  freeze(): void {
    this.clock.stop();
    this.store.cut();
  }

  thaw(): void {
    this.clock.goOn();
    this.store.reconnect();
  }

  /** As after SIGKILL. */
  kill(): void {
    this.freeze();
  }
}

/** A subscription with the options that do not matter left at their defaults. */
export const sub = (filter: string, qos: 0 | 1 | 2 = 1, extra: Partial<Subscription> = {}): Subscription => ({
  filter,
  qos,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0,
  subscriptionId: 0,
  ...extra,
});
