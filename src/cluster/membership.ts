// This process as a member of the cluster: its incarnation, its lease, and what it knows of the others' leases. Every
// node renews its own lease and looks at all others in the same call. Death is a tombstone in the store and nothing
// else: a lease that is over makes a node suspect, and the store decides whether a tombstone may be written.
//
// Whether this node's own lease is over it judges by itself, by the monotonic clock and from the moment at which the
// last renewal that was answered had been SENT: the store cannot have counted the lease from earlier. A clock that
// stood still (suspended machine) shows as a jump of the wall clock against it and counts as over. A node whose lease
// is over holds what it would tell clients, for the others may have declared it dead; it goes on when a renewal is
// answered and no tombstone stands. A node that cannot read the route log must not be believed alive for long, since
// others wait for it: it renews only now and then, to learn whether it has been declared dead.

import type { Logger } from '../observability/logger.ts';
import type { NodeStats } from '../observability/node-stats.ts';
import type { Lease, LeaseState, NodeName, Renewal, Store } from '../store/store.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { Random } from '../util/random.ts';

/** Characters of an incarnation: 36^12 are enough for no two ever to be the same. */
const INCARNATION_CHARACTERS = 12;

export interface MembershipOptions {
  readonly store: Pick<Store, 'register' | 'renew' | 'bury' | 'resign'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stats: NodeStats;
  /** Name of the node, for people. */
  readonly name: string;
  /** config cluster.lease */
  readonly leaseMs: number;
  /** config cluster.renewEvery */
  readonly renewEveryMs: number;
  /** How long entries of the route log have been waiting to be read, ms. */
  logUnreadMs(): number;
  /** The lease is over, or runs again: what is told to clients waits meanwhile. */
  onHolding(isHolding: boolean): void;
  /** A tombstone of this node was found: its connections must end, and a new incarnation begins. Told once. */
  onSelfDead(): void;
  /** A tombstone of another node was found. Told once for each; at the start, for those that are not cleaned up. */
  onNodeDead(incarnation: string, lease: Lease): void;
}

interface Asking {
  readonly resolve: (leases: readonly Lease[]) => void;
  readonly reject: (error: unknown) => void;
}

export class Membership {
  /** Names this process start; a restarted node has another one. */
  readonly incarnation: string;
  readonly #options: MembershipOptions;
  #leases: readonly Lease[] = [];
  #states: readonly LeaseState[] = [];
  /** When the last answered renewal had been sent; null before the first. */
  #answered: { monotonicMs: number; wallMs: number } | null = null;
  #sentMs = 0;
  #isRenewing = false;
  #isHolding = true;
  #isDead = false;
  #isStopped = false;
  #isLogUnread = false;
  /** The store has changed since the renewal under way was sent: who answers that one may be no master any more. */
  #isDoubted = false;
  #timer: Timer | null = null;
  /** Who wants a list that is read after their call. */
  #asking: Asking[] = [];
  /** Other nodes that lived, and dead ones that were told of, when the list was last read. */
  #living = new Map<string, NodeName>();
  readonly #knownDead = new Set<string>();
  readonly #burying = new Set<string>();

  constructor(options: MembershipOptions) {
    this.#options = options;
    this.incarnation = options.random.id(INCARNATION_CHARACTERS);
  }

  /** Makes the lease and the inbox, and renews from now on. Rejects when the store does not answer. */
  async start(): Promise<void> {
    const { store, clock, name, leaseMs, renewEveryMs } = this.#options;
    const sent = this.#now();
    const renewal = await store.register(this.incarnation, name, leaseMs);
    this.#take(sent, renewal);
    if (!this.#isStopped) this.#timer = clock.every(renewEveryMs, () => this.#tick());
  }

  /** Writes this node's own tombstone, so that nobody waits for it, and ends renewing. */
  async stop(): Promise<void> {
    this.abandon();
    await this.#options.store.resign(this.incarnation);
  }

  /** Ends renewing without a word, as a node that is dead already. */
  abandon(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    for (const { reject } of this.#asking.splice(0)) reject(new Error('this node is no member any more'));
  }

  /**
   * The lease is over, as far as this node can tell at this very moment: nothing may be told as committed. Asked for
   * at every batch of answers, so that a process that was stopped notices before its timers do.
   */
  get holding(): boolean {
    const isHolding = this.#isDead || this.#isOver();
    if (isHolding && !this.#isHolding) this.#setHolding(true);
    return isHolding;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /**
   * StoreEvents.onHistory: the lease that runs may be one that only a master which was replaced meanwhile knew of, and the
   * others may have declared this node dead at the new one. Nothing is told until that one has renewed it.
   */
  onHistory(): void {
    if (this.#isStopped || this.#isDead) return;
    this.#answered = null;
    this.#isDoubted = true;
    this.#setHolding(true);
    this.#renewIfMay();
  }

  /** All leases as last read, tombstones among them. */
  get leases(): readonly Lease[] {
    return this.#leases;
  }

  /** What claims are told of the lives of nodes, in the store's time, as last read. */
  leaseStates(): readonly LeaseState[] {
    return this.#states;
  }

  /**
   * The leases of the nodes that live (no tombstone), read after this call. Calls at the same time share a reading.
   * Rejects when the store answers an error. Waits while this node does not renew because it cannot read the log.
   */
  live(): Promise<readonly Lease[]> {
    if (this.#isStopped || this.#isDead) return Promise.reject(new Error('this node is no member any more'));
    return new Promise((resolve, reject) => {
      this.#asking.push({ resolve, reject });
      this.#renewIfMay();
    });
  }

  // ---- the own lease

  #now(): { monotonicMs: number; wallMs: number } {
    const { clock } = this.#options;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
  }

  #isOver(): boolean {
    const answered = this.#answered;
    if (answered === null) return true;
    const { leaseMs } = this.#options;
    const now = this.#now();
    const monotonicMs = now.monotonicMs - answered.monotonicMs;
    const wallMs = now.wallMs - answered.wallMs;
    // The wall clock ahead: the monotonic one stood still. Far behind: it was set back, and may hide that.
    return monotonicMs > leaseMs || wallMs > leaseMs || monotonicMs - wallMs > leaseMs / 2;
  }

  #setHolding(isHolding: boolean): void {
    if (this.#isHolding === isHolding) return;
    this.#isHolding = isHolding;
    const { logger, onHolding } = this.#options;
    if (isHolding) logger.warn({}, 'the lease is over: answers to clients are held');
    else logger.info({}, 'the lease runs: answers to clients go on');
    onHolding(isHolding);
  }

  #tick(): void {
    const { stats, clock } = this.#options;
    if (this.#answered !== null) {
      stats.leaseAgeSeconds = (clock.monotonicMs() - this.#answered.monotonicMs) / 1000;
    }
    // Reading it tells of a change.
    if (!this.holding || !this.#isDead) this.#renewIfMay();
  }

  #renewIfMay(): void {
    if (this.#isRenewing || this.#isStopped || this.#isDead || !this.#mayRenew()) return;
    void this.#renew();
  }

  /** False while the log is unread: then one renewal in two leases shows whether a tombstone stands. */
  #mayRenew(): boolean {
    const { leaseMs, clock, logger, logUnreadMs } = this.#options;
    const isUnread = logUnreadMs() > leaseMs;
    if (isUnread !== this.#isLogUnread) {
      this.#isLogUnread = isUnread;
      if (isUnread) logger.error({}, 'the route log cannot be read: this node does not renew its lease');
      else logger.info({}, 'the route log is read again: this node renews its lease');
    }
    return !isUnread || clock.monotonicMs() - this.#sentMs > 2 * leaseMs;
  }

  async #renew(): Promise<void> {
    const { store, leaseMs, logger } = this.#options;
    const asking = this.#asking.splice(0);
    const sent = this.#now();
    this.#sentMs = sent.monotonicMs;
    this.#isRenewing = true;
    this.#isDoubted = false;
    try {
      // Behind a history that is new the store may know less than we do.
      const others = this.#answered === null ? [...this.#living.values()] : [];
      const renewal = await store.renew(this.incarnation, leaseMs, others);
      if (this.#isDoubted) throw new Error('the store has changed meanwhile');
      this.#take(sent, renewal);
      const live = this.#leases.filter((lease) => lease.deadAt === 0);
      for (const { resolve } of asking) resolve(live);
    } catch (error) {
      logger.debug({ err: error }, 'a renewal of the lease was not answered');
      // Who asks wants what the new master says.
      if (this.#isDoubted) this.#asking.unshift(...asking);
      else for (const { reject } of asking) reject(error);
    }
    this.#isRenewing = false;
    // Whoever asked meanwhile gets a list of its own; a renewal that was answered late is followed by one at once.
    if (this.#isDoubted || this.#asking.length > 0 || (this.#answered === sent && this.#isOver()))
      this.#renewIfMay();
  }

  // ---- what a renewal tells

  #take(sent: { monotonicMs: number; wallMs: number }, renewal: Renewal): void {
    if (this.#isDead || this.#isStopped) return;
    const { logger, stats } = this.#options;
    this.#leases = renewal.leases;
    this.#states = renewal.leases.map((lease) => stateOf(lease, renewal.nowMs));
    stats.clusterNodes = renewal.leases.filter((lease) => lease.deadAt === 0).length;
    const own = renewal.leases.find((lease) => lease.incarnation === this.incarnation);
    if (own === undefined || own.deadAt > 0) {
      this.#isDead = true;
      this.#timer?.cancel();
      logger.error({}, 'this node has been declared dead');
      this.#setHolding(true);
      this.#options.onSelfDead();
      return;
    }
    if (renewal.lapsed) logger.warn({}, 'the lease had lapsed before this renewal');
    this.#answered = sent;
    if (!this.#isOver()) this.#setHolding(false);
    this.#lookAtOthers(renewal);
  }

  #lookAtOthers({ leases, nowMs }: Renewal): void {
    const { logger, onNodeDead } = this.#options;
    const lived = this.#living;
    this.#living = new Map();
    const newlyDead: Lease[] = [];
    for (const lease of leases) {
      const { incarnation } = lease;
      if (incarnation === this.incarnation) continue;
      if (lease.deadAt === 0) {
        this.#living.set(incarnation, lease);
        if (lease.deadline < nowMs) void this.#bury(lease);
      } else if (!this.#knownDead.has(incarnation)) {
        this.#knownDead.add(incarnation);
        if (lived.has(incarnation) || !lease.cleaned) newlyDead.push(lease);
      }
    }
    for (const lease of newlyDead) {
      logger.warn({ incarnation: lease.incarnation, name: lease.name }, 'a node is dead');
      onNodeDead(lease.incarnation, lease);
    }
    const listed = new Set(leases.map(({ incarnation }) => incarnation));
    for (const incarnation of this.#knownDead)
      if (!listed.has(incarnation)) this.#knownDead.delete(incarnation);
  }

  async #bury({ incarnation, name }: Lease): Promise<void> {
    const { store, leaseMs, logger } = this.#options;
    if (this.#burying.has(incarnation) || this.holding) return;
    this.#burying.add(incarnation);
    try {
      const result = await store.bury(incarnation, this.incarnation, leaseMs);
      if (result === 'buried') {
        logger.warn({ incarnation, name }, 'a node did not renew its lease and was declared dead');
        // Learnt of at once, as the others learn of it.
        this.#renewIfMay();
      }
    } catch (error) {
      logger.debug({ err: error, incarnation }, 'declaring a node dead was not answered');
    } finally {
      this.#burying.delete(incarnation);
    }
  }
}

function stateOf({ incarnation, renewedAt, deadline, deadAt }: Lease, nowMs: number): LeaseState {
  return { incarnation, renewedAt, state: deadAt > 0 ? 'dead' : deadline < nowMs ? 'over' : 'live' };
}
