// One start of a node: everything that lives and dies with its incarnation, from the store's connections to those of the
// clients. A node that finds its own tombstone throws this away as a whole and makes a new one, so that nothing that
// thought itself alive goes on. Only this file and node.ts construct; what inner parts tell outer ones is wired here.

import { Authentication } from './auth/authentication.ts';
import { Barrier } from './cluster/barrier.ts';
import { Inbox } from './cluster/inbox.ts';
import { KeyHints } from './cluster/key-hints.ts';
import { Membership } from './cluster/membership.ts';
import { Peers, peersLimits } from './cluster/peers.ts';
import { RouteLog } from './cluster/route-log.ts';
import { Sweeper } from './cluster/sweeper.ts';
import type { CompiledConfig } from './config/compile.ts';
import type { AedesShell } from './connection/aedes-shell.ts';
import { Connections } from './connection/connections.ts';
import { Arrivals, sendToNodes } from './delivery/arrivals.ts';
import { FanOut, queueDeadline } from './delivery/fan-out.ts';
import { Gate } from './delivery/gate.ts';
import { GroupFanOut } from './delivery/group-fan-out.ts';
import { InboxFence } from './delivery/inbox-fence.ts';
import { Ingress } from './delivery/ingress.ts';
import { LocalDelivery } from './delivery/local.ts';
import { NodeMarks } from './delivery/marks.ts';
import { OrphanMover } from './delivery/orphan-mover.ts';
import { SystemTopics } from './delivery/system-topics.ts';
import { Wills } from './delivery/wills.ts';
import { ReasonCode } from './mqtt/reason-code.ts';
import type { Logger } from './observability/logger.ts';
import { Drop, Limit, type NodeStats, SessionHappening } from './observability/node-stats.ts';
import { LocalRoutes } from './routing/local-routes.ts';
import { Router } from './routing/router.ts';
import { Routes } from './routing/routes.ts';
import { SharedGroups } from './routing/shared-groups.ts';
import { Announcer } from './session/announcer.ts';
import type { Session } from './session/session.ts';
import { Sessions } from './session/sessions.ts';
import { SharedPayloads } from './session/shared-payloads.ts';
import type { Lease, Store } from './store/store.ts';
import { type Clock, delay, type Timer } from './util/clock.ts';
import { SwarmqError } from './util/errors.ts';
import type { Random } from './util/random.ts';

/** Topics whose receivers are remembered. */
const ROUTE_CACHE = 200_000;
/** Marks of live receivers that a node keeps. */
const NODE_MARKS = 200_000;
/** Bytes of shared payloads that a node keeps at hand. */
const SHARED_PAYLOAD_BYTES = 64 * 1024 * 1024;

/** What an ended session has left is one node's to move on for so many leases after each page. */
const ORPHANS_LEASES = 4;

/** How long each step of a clean end waits for the store. */
const STOP_PATIENCE_MS = 2000;

export interface IncarnationOptions {
  readonly config: CompiledConfig;
  readonly store: Store;
  readonly shell: AedesShell;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly stats: NodeStats;
  /** This incarnation has been declared dead: it serves nobody any more. */
  onDead(): void;
  /** Readiness may have changed. */
  onChange(): void;
}

/** The parts that carry messages, as the constructor puts them together. */
interface Delivery {
  readonly local: LocalDelivery;
  readonly marks: NodeMarks;
  readonly groups: GroupFanOut;
  readonly fanOut: FanOut;
  readonly wills: Wills;
  readonly ingress: Ingress;
}

export class Incarnation {
  readonly id: string;
  readonly store: Store;
  readonly sessions: Sessions;
  readonly connections: Connections;
  readonly membership: Membership;
  readonly systemTopics: SystemTopics;
  readonly router: Router;
  readonly #options: IncarnationOptions;
  readonly #routes: Routes;
  readonly #peers: Peers;
  readonly #keyHints: KeyHints;
  readonly #routeLog: RouteLog;
  readonly #barrier: Barrier;
  readonly #announcer: Announcer;
  readonly #local: LocalRoutes;
  readonly #payloads: SharedPayloads;
  readonly #delivery: Delivery;
  readonly #sweeper: Sweeper;
  readonly #inbox: Inbox;
  readonly #gate: Gate;
  #isAvailable = false;
  /** The store has told something of its availability: until then, connecting is no outage. */
  #isToldOfStore = false;
  #unavailableBecause = 'the store has not been reached yet';
  #isServing = false;
  #isOver = false;
  #beginServing: () => void = () => {};
  readonly #serving: Promise<void>;
  #reconcile: Timer | null = null;

  constructor(options: IncarnationOptions) {
    const { config, store, clock, logger, stats } = options;
    this.#options = options;
    this.store = store;
    this.#gate = new Gate(() => this.membership.holding, clock);
    this.#serving = new Promise((resolve) => {
      this.#beginServing = resolve;
    });
    this.membership = this.#makeMembership();
    const incarnation = this.membership.incarnation;
    this.id = incarnation;
    const live = (): Promise<readonly Lease[]> => this.membership.live();
    this.#routes = new Routes({ selfIncarnation: incarnation, groups: this.#makeGroups() });
    const limits = peersLimits(config.limits.maxPeerBytes);
    this.#peers = new Peers({ selfIncarnation: incarnation, store, stats, limits });
    const peers = this.#peers;
    this.#keyHints = new KeyHints({ peers, clock, others: () => this.#otherNodes() });
    this.#announcer = new Announcer({
      incarnation,
      append: (entry) => this.#routeLog.append(entry),
      reached: (version) => this.#barrier.wait(version),
    });
    this.#local = new LocalRoutes({ onRoutes: this.#announcer.onRouteChanges });
    this.#routeLog = new RouteLog({
      store,
      incarnation,
      routes: this.#routes,
      local: this.#local,
      peers,
      clock,
      logger,
      live,
      probeEveryMs: config.cluster.renewEveryMs,
    });
    this.#barrier = new Barrier({ incarnation, routeLog: this.#routeLog, peers, clock, stats, live });
    this.router = new Router({
      routes: this.#routes,
      local: this.#local,
      selfIncarnation: incarnation,
      cacheMax: ROUTE_CACHE,
    });
    this.#payloads = new SharedPayloads(store, SHARED_PAYLOAD_BYTES);
    this.sessions = this.#makeSessions();
    this.#delivery = this.#makeDelivery();
    this.systemTopics = new SystemTopics(this.router, this.#delivery.local);
    this.#inbox = this.#makeInbox();
    this.#sweeper = this.#makeSweeper();
    this.connections = new Connections({
      limits: config.limits,
      policy: config.connection,
      clock,
      random: options.random,
      logger,
      stats,
      shell: options.shell,
      authenticator: new Authentication({ ...config.auth, random: options.random }),
      sessions: this.sessions,
      ingress: { open: (link, session) => this.#delivery.ingress.open(link, session as Session) },
    });
  }

  #makeGroups(): SharedGroups {
    const { config, clock, random, stats } = this.#options;
    const { strategy, groups } = config.sharedSubscriptions;
    const strategies = new Map(Object.entries(groups).map(([name, group]) => [name, group.strategy]));
    return new SharedGroups({
      selfIncarnation: this.id,
      random,
      strategyOf: (group) => strategies.get(group) ?? strategy,
      monotonicMs: () => clock.monotonicMs(),
      loadHere: (clientId) => this.sessions.get(clientId)?.unacknowledged ?? -1,
      keysMax: config.limits.maxGroupKeys,
      onKeysForgotten: (count) => {
        stats.limitRejections[Limit.GROUP_KEYS] += count;
      },
      onKeyNews: (group) => this.#keyHints.note(group),
    });
  }

  /** The other nodes that live, as last heard; a dead one is found out by whoever writes to it. */
  #otherNodes(): string[] {
    if (this.#isOver) return [];
    return this.membership.leases
      .filter((lease) => lease.deadAt === 0 && lease.incarnation !== this.id)
      .map(({ incarnation }) => incarnation);
  }

  #makeMembership(): Membership {
    const { config, store, clock, random, logger, stats } = this.#options;
    return new Membership({
      store,
      clock,
      random,
      logger,
      stats,
      name: config.node.name,
      leaseMs: config.cluster.leaseMs,
      renewEveryMs: config.cluster.renewEveryMs,
      logUnreadMs: () => this.#routeLog.unreadMs(),
      onHolding: (isHolding) => this.#hold(isHolding),
      onSelfDead: () => this.#options.onDead(),
      onNodeDead: (incarnation) => this.#nodeDied(incarnation),
    });
  }

  #makeSessions(): Sessions {
    const { config, store, clock, stats, logger } = this.#options;
    return new Sessions({
      incarnation: this.id,
      store,
      clock,
      router: this.router,
      local: this.#local,
      announcer: this.#announcer,
      payloads: this.#payloads,
      stats,
      limits: { ...config.limits, pullBytes: config.limits.maxPullBytes },
      append: (entry) => this.#routeLog.append(entry),
      systemTopics: (filter) => this.systemTopics.matching(filter),
      serving: () => this.#serving,
      leases: () => this.membership.leaseStates(),
      // When this incarnation ends, the closed store refuses whoever waits.
      mayClaim: () => this.#isOver || !this.membership.holding,
      notifyTakeover: (owner, clientId, epoch) => this.#peers.takeover(owner, clientId, epoch),
      publishWill: (will) => this.#delivery.wills.publish(will),
      onFault: (error) => logger.error({ module: 'session', err: error }, 'background work failed'),
    });
  }

  #makeDelivery(): Delivery {
    const { config, store, clock, stats } = this.#options;
    const peers = this.#peers;
    const marks = new NodeMarks(NODE_MARKS);
    const local = new LocalDelivery(stats);
    const groups = new GroupFanOut({
      incarnation: this.id,
      store,
      router: this.router,
      peers,
      sessions: this.sessions,
      marks,
      stats,
      queueDeadline: () => queueDeadline(store, config.limits.maxQueueTimeMs),
    });
    const fanOut = new FanOut({
      groups,
      incarnation: this.id,
      store,
      router: this.router,
      peers,
      sessions: this.sessions,
      payloads: this.#payloads,
      stats,
      limits: config.limits,
      clock,
      deliverCopy: (targets, message) => local.deliverCopy(targets, message),
    });
    const fence = new InboxFence(store, (error) => this.#fault(error));
    const shared = { store, router: this.router, fanOut, local, marks, gate: this.#gate, fence, stats };
    const wills = new Wills(shared);
    const ingress = new Ingress({
      ...shared,
      clock,
      limits: config.limits,
      checkPayloadFormat: config.connection.checkPayloadFormat,
      toNodes: (match, reader, topic, publisher, body) =>
        sendToNodes(peers, groups, store, match, reader, topic, publisher, body),
    });
    return { local, marks, groups, fanOut, wills, ingress };
  }

  #makeInbox(): Inbox {
    const { logger, stats } = this.#options;
    const { local, marks, groups } = this.#delivery;
    const arrivals = new Arrivals({ router: this.router, local, marks, stats });
    return new Inbox({
      stats,
      logger,
      onDamage: () => this.#inboxLost(),
      handlers: {
        onLive: (message) => arrivals.receive(message),
        onMember: (clientId, filter, message) => groups.arrived(clientId, filter, message),
        onPush: (clientId, life, seq, header, body) => this.sessions.push(clientId, life, seq, header, body),
        onRun: (run) => this.sessions.pushRun(run),
        onTakeover: (clientId, epoch) => this.sessions.takenOver(clientId, epoch),
        onApplied: (from, version) => this.#barrier.applied(from, version),
        onAsk: (from, version) => this.#routeLog.asked(from, version),
        onKeys: (filter, clientId, rank, keys) => this.#routes.groups.hearKeys(filter, clientId, rank, keys),
        onAskKeys: (from) => this.#keyHints.asked(from, this.#routes.groups),
      },
    });
  }

  /** Items of the inbox are gone: sessions are looked at, and what was told of keys is asked for again. */
  #inboxLost(): void {
    this.#background(this.sessions.inboxLost());
    this.#keyHints.ask();
  }

  #makeSweeper(): Sweeper {
    const { config, store, clock, random, logger, stats } = this.#options;
    const mover = new OrphanMover({
      store,
      incarnation: this.id,
      groups: this.#delivery.groups,
      stats,
      holdMs: ORPHANS_LEASES * config.cluster.leaseMs,
      mayWork: () => this.#mayWork(),
      onFault: (error) => logger.error({ module: 'delivery', err: error }, 'a message left cannot be read'),
    });
    return new Sweeper({
      store,
      incarnation: this.id,
      clock,
      random,
      logger,
      leaseMs: config.cluster.leaseMs,
      sweepEveryMs: config.cluster.sweepEveryMs,
      leases: () => this.membership.leases,
      mayWork: () => this.#mayWork(),
      moveOrphans: () => mover.run(),
      append: (record) => this.#routeLog.append(record),
      settleWills: (wills) => this.sessions.settleWills(wills),
      onExpired: (_clientId, discarded) => {
        stats.sessionEvents[SessionHappening.EXPIRED]++;
        stats.messagesDropped[Drop.SESSION_ENDED] += discarded;
      },
    });
  }

  /** Before the routes are loaded a will, or a message that was left, would be published to nobody. */
  #mayWork(): boolean {
    return this.#isServing && this.#isAvailable && !this.membership.holding;
  }

  /** Groups of shared subscriptions with members. */
  get groupCount(): number {
    return this.#routes.groups.size;
  }

  /** Subscriptions of all sessions in the routing table, wherever they are. */
  get subscriptionCounts(): { subscriptions: number; sharedSubscriptions: number } {
    const { subscriptions, sharedSubscriptions } = this.#routes.sizes;
    return { subscriptions, sharedSubscriptions };
  }

  /** Keys of groups whose member this node remembers. */
  get groupKeyCount(): number {
    return this.#routes.groups.keyCount;
  }

  /** Receivers in the routing table: sessions and routes of nodes. */
  get routeCount(): number {
    const { sessions, nodeRoutes } = this.#routes.sizes;
    return sessions + nodeRoutes;
  }

  /** Why this incarnation should get no new clients; empty when it should. */
  reasons(): string[] {
    const reasons: string[] = [];
    if (!this.#isAvailable) reasons.push(this.#unavailableBecause);
    else if (!this.#isServing) reasons.push('the routes are being loaded');
    if (this.membership.holding && this.#isServing) reasons.push('the lease of this node is over');
    return reasons;
  }

  /** Connects, registers, loads the routes. Resolves when clients may be served; waits while the store is away. */
  async start(): Promise<void> {
    const { store, clock, config } = this.#options;
    await store.open({
      onInbox: (payloads) => this.#inbox.receive(payloads),
      onInboxGap: () => {
        this.#options.stats.limitRejections[Limit.INBOX_BYTES]++;
        this.#inboxLost();
      },
      onLog: (entries) => this.#routeLog.onLog(entries),
      onAvailability: (available, reason) => this.#availability(available, reason),
      onHistory: () => this.#storeLostTail(),
    });
    if (store.isAvailable()) this.#availability(true, '');
    await this.membership.start();
    await this.#routeLog.start();
    this.#keyHints.ask();
    this.#sweeper.start();
    this.#isServing = true;
    this.#beginServing();
    this.#reconcile = clock.every(config.cluster.reconcileEveryMs, () => this.#passOver());
    this.#options.onChange();
  }

  /** Ends cleanly: connections, their releases, the lease, the store. */
  async stop(): Promise<void> {
    this.#isServing = false;
    this.#isOver = true;
    this.#reconcile?.cancel();
    this.#keyHints.stop();
    const hasReference = this.#options.config.connection.serverReference !== undefined;
    await this.connections.closeAll(
      hasReference ? ReasonCode.USE_ANOTHER_SERVER : ReasonCode.SERVER_SHUTTING_DOWN,
    );
    this.#barrier.stop();
    await this.#patiently(this.#sweeper.stop());
    await this.#patiently(this.membership.stop());
    this.#routeLog.stop();
    await this.store.close();
    this.connections.stop();
  }

  /** Ends without a word to the store, which has given everything of this incarnation away. */
  async abandon(): Promise<void> {
    this.#isServing = false;
    this.#isOver = true;
    this.#reconcile?.cancel();
    this.#keyHints.stop();
    this.sessions.loseAll();
    await this.connections.closeAll(ReasonCode.SESSION_TAKEN_OVER);
    await this.#sweeper.stop();
    this.#barrier.stop();
    this.membership.abandon();
    this.#routeLog.stop();
    await this.store.close();
    this.#delivery.ingress.end();
    this.connections.stop();
  }

  /** The store may be away, or closed because it does not fit: then whatever is left is found by the other nodes. */
  async #patiently(step: Promise<void>): Promise<void> {
    try {
      await Promise.race([step, delay(this.#options.clock, STOP_PATIENCE_MS)]);
    } catch (error) {
      if (!(error instanceof SwarmqError)) throw error;
    }
  }

  #hold(isHolding: boolean): void {
    if (isHolding) this.#gate.shut();
    else this.#gate.open();
    this.#options.onChange();
  }

  #availability(available: boolean, reason: string): void {
    const { logger, stats } = this.#options;
    stats.storeUp = available ? 1 : 0;
    this.#unavailableBecause = `the store is not available: ${reason}`;
    if (available === this.#isAvailable && this.#isToldOfStore) return;
    this.#isAvailable = available;
    this.#isToldOfStore = true;
    // The Redis store says so by itself, also where no node stands behind it.
    if (this.store.kind === 'embedded') {
      if (available) logger.info({ module: 'store' }, 'the store can be used');
      else logger.warn({ module: 'store', reason }, 'the store cannot be used');
    }
    this.#options.onChange();
  }

  #passOver(): void {
    this.#background(this.sessions.passOver());
  }

  /** Everything cached is read anew, and what this node holds and the store does not is written back. */
  #storeLostTail(): void {
    this.#options.logger.warn({ module: 'store' }, 'the store has lost its tail, or was replaced: reloading');
    this.membership.onHistory();
    this.#routeLog.onHistory();
    this.#background(this.sessions.restoreAll());
  }

  /** A node's tombstone was found: nobody waits for it any more, and what it may not have told is looked for. */
  #nodeDied(incarnation: string): void {
    this.#barrier.nodeDead(incarnation);
    this.#routes.nodeDied(incarnation);
    this.#routeLog.forget(incarnation);
    this.#peers.forget(incarnation);
    this.#passOver();
    this.#sweeper.wake();
  }

  #background(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.#fault(error));
  }

  #fault(error: unknown): void {
    this.#options.logger.error({ err: error }, 'background work failed');
  }
}
