// The store on Redis: puts its parts together and answers the contract of store.ts. Delivery's operations go through
// commits.ts, everything else through the part that knows it. It owns the estimate of the store's time, and tells its
// node what changes by itself (availability, history, inbox, log).

import type { Timer } from '../../util/clock.ts';
import { SwarmqError } from '../../util/errors.ts';
import type { Operation } from '../operations.ts';
import type {
  ClaimRequest,
  Fenced,
  LogAppend,
  NodeName,
  OrphanTurn,
  ReleaseRequest,
  Renewal,
  Restoration,
  RetainedCopies,
  RowSettle,
  RowWrite,
  Store,
  StoreEvents,
  StoreTotals,
} from '../store.ts';
import { Commits } from './commits.ts';
import { Deadlines } from './deadlines.ts';
import { InboxReader } from './inbox-reader.ts';
import { Keyspace, payloadBucketOf, SESSION_BUCKETS } from './keyspace.ts';
import { Leases } from './leases.ts';
import type { RedisStoreOptions } from './options.ts';
import { Orphans } from './orphans.ts';
import { CLUSTER_SLOT, PAYLOAD_SLOTS, SESSION_SLOTS, slotOfReceiver } from './receiver-slot.ts';
import { asList, asNumber, encodeCommand, type Reply } from './resp.ts';
import { Retained } from './retained.ts';
import { RetainedSizes } from './retained-call.ts';
import { RouteLogStore } from './route-log.ts';
import { Sessions } from './sessions.ts';
import { SideCalls } from './side-calls.ts';
import { type Master, Topology } from './topology.ts';
import { WillReader } from './wills.ts';

/** How often the sizes of the retained shards are read again, and masters' clocks compared. */
const REFRESH_MS = 5000;
/** Masters' clocks may differ by that much. */
const CLOCKS_APART_MS = 1000;

export class RedisStore implements Store {
  readonly kind = 'redis';
  readonly #options: RedisStoreOptions;
  readonly #keyspace: Keyspace;
  readonly #topology: Topology;
  readonly #commits: Commits;
  readonly #side: SideCalls;
  readonly #sessions: Sessions;
  readonly #deadlines: Deadlines;
  readonly #orphans: Orphans;
  readonly #leases: Leases;
  readonly #log: RouteLogStore;
  readonly #retained: Retained;
  #events: StoreEvents | null = null;
  #inbox: InboxReader | null = null;
  #incarnation = '';
  #isClosed = false;
  #timer: Timer | null = null;
  /** Store time less monotonic time. */
  #timeOffset: number;
  #opened: { resolve: () => void; reject: (error: Error) => void } | null = null;

  constructor(options: RedisStoreOptions) {
    this.#options = options;
    const { clock, limits } = options;
    this.#timeOffset = clock.wallMs() - clock.monotonicMs();
    const keyspace = new Keyspace(options.redis.prefix);
    const sizes = new RetainedSizes();
    const onTime = (storeMs: number) => {
      this.#timeOffset = storeMs - clock.monotonicMs();
    };
    this.#keyspace = keyspace;
    this.#topology = new Topology(options, {
      onMasterReady: (master) => this.#masterReady(master),
      onMoved: () => this.#commits.moved(),
      onAvailability: (available, reason) => this.#availability(available, reason),
      onHistory: () => this.#history(),
      onMisfit: (error) => this.#misfit(error),
    });
    this.#side = new SideCalls(options, this.#topology);
    this.#commits = new Commits(options, this.#topology, keyspace, sizes);
    const wills = new WillReader(options.log);
    this.#sessions = new Sessions(this.#commits, this.#side, keyspace, options.random, wills, {
      tell: onTime,
      nowMs: () => this.nowMs(),
      monotonicMs: () => clock.monotonicMs(),
    });
    this.#deadlines = new Deadlines(this.#sessions, this.#side, keyspace, limits, wills, () => this.nowMs());
    this.#orphans = new Orphans(this.#sessions, this.#side, keyspace, limits, () => this.nowMs());
    this.#leases = new Leases(this.#side, keyspace, onTime);
    this.#retained = new Retained(this.#side, keyspace, sizes);
    this.#log = new RouteLogStore(this.#topology, this.#commits, this.#side, keyspace, clock, (entries) =>
      this.#events?.onLog(entries),
    );
  }

  // ---- life

  /** Waits for a store that cannot be reached, as long as it takes; throws SWARMQ_ERR_STORE_UNFIT or _CLOSED. */
  open(events: StoreEvents): Promise<void> {
    this.#events = events;
    return new Promise((resolve, reject) => {
      this.#opened = { resolve, reject };
      this.#topology.open();
      this.#timer = this.#options.clock.every(REFRESH_MS, () => this.#refresh());
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#inbox?.close();
    this.#log.close();
    this.#side.close();
    this.#topology.close();
    this.#commits.close();
    this.#opened?.reject(new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'before it could be reached'));
    this.#opened = null;
  }

  isAvailable(): boolean {
    return this.#topology.isAvailable;
  }

  nowMs(): number {
    return this.#timeOffset + this.#options.clock.turnMs();
  }

  #masterReady(master: Master): void {
    this.#commits.masterReady(master);
    if (this.#topology.masterOf(CLUSTER_SLOT) === master) this.#log.followHistory(master.history);
    if (this.#inbox && this.#topology.masterOf(this.#inbox.slot) === master)
      this.#inbox.follow(master.history);
  }

  #availability(available: boolean, reason: string): void {
    const { log } = this.#options;
    if (available) {
      log('info', 'the store can be used', { masters: this.#topology.masters.length });
      for (const master of this.#topology.masters) this.#commits.masterReady(master);
      this.#finishOpen();
    } else {
      log('warn', 'the store cannot be used', { reason });
    }
    this.#events?.onAvailability(available, reason);
  }

  /** The first time that all masters can be used. */
  #finishOpen(): void {
    const opened = this.#opened;
    if (!opened) return;
    this.#opened = null;
    this.#refresh().then(opened.resolve, opened.reject);
  }

  #misfit(error: SwarmqError): void {
    const opened = this.#opened;
    this.#opened = null;
    if (opened) {
      opened.reject(error);
      this.close().catch(() => {});
    } else {
      this.#options.log('error', 'the store does not fit any more', { reason: error.message });
    }
  }

  #history(): void {
    this.#options.log('warn', 'the store may be older than what was seen of it');
    this.#events?.onHistory();
  }

  /** Reads what this node keeps an estimate of: sizes of the retained shards, the store's time. */
  async #refresh(): Promise<void> {
    if (!this.#topology.isAvailable) return;
    try {
      const [times] = await Promise.all([this.#readTimes(), this.#retained.refreshSizes()]);
      const apart = Math.max(...times) - Math.min(...times);
      if (apart > CLOCKS_APART_MS) {
        this.#options.log('warn', 'the clocks of the Redis masters differ', { ms: Math.round(apart) });
      }
    } catch (error) {
      // The end of the store; anything else was repeated until it was answered.
      if (!this.#isClosed) throw error;
    }
  }

  /** Differences of the masters' clocks to the monotonic clock, ms; that of the cluster's master is the store's time. */
  async #readTimes(): Promise<number[]> {
    const { clock } = this.#options;
    const own = this.#topology.masterOf(CLUSTER_SLOT);
    const read = (master: Master) =>
      new Promise<number | null>((resolve) => {
        master.side.run([encodeCommand('TIME')], ([reply]) => {
          if (!Array.isArray(reply)) return resolve(null);
          const storeMs = asNumber(reply[0]) * 1000 + asNumber(reply[1]) / 1000;
          const offset = storeMs - clock.monotonicMs();
          if (master === own) this.#timeOffset = offset;
          resolve(offset);
        });
      });
    const offsets = await Promise.all(this.#topology.masters.map(read));
    return offsets.filter((offset) => offset !== null);
  }

  // ---- delivery

  submit(operation: Operation): void {
    this.#commits.submit(operation);
  }

  hurry(operation: Operation): void {
    this.#commits.hurry(operation);
  }

  get laneCount(): number {
    return Math.max(1, this.#topology.masters.length);
  }

  laneOf(receiver: string): number {
    if (!this.#topology.isCluster) return 0;
    return this.#topology.masterOf(slotOfReceiver(receiver))?.index ?? 0;
  }

  lanePending(lane: number): number {
    return this.#commits.pendingOf(this.#topology.masters[lane]);
  }

  // ---- sessions

  claim(request: ClaimRequest) {
    return this.#sessions.claim(request);
  }

  release(request: ReleaseRequest) {
    return this.#sessions.release(request);
  }

  writeRow(write: RowWrite) {
    return this.#sessions.writeRow(write);
  }

  settleRow(settle: RowSettle) {
    return this.#sessions.settleRow(settle);
  }

  enqueueCopies(copies: RetainedCopies) {
    return this.#sessions.enqueueCopies(copies);
  }

  restore(restored: Restoration): Promise<Fenced> {
    return this.#sessions.restore(restored);
  }

  inspect(clientIds: readonly string[]) {
    return this.#sessions.inspect(clientIds);
  }

  async readPayloads(payloadIds: readonly string[]): Promise<(Buffer | null)[]> {
    const read = (payloadId: string) => encodeCommand('HGET', this.#keyspace.payloadBody(payloadId), 'b');
    if (payloadIds.length === 0) return [];
    const replies: Reply[] = this.#topology.isCluster
      ? await Promise.all(
          payloadIds.map((id) => this.#side.run(PAYLOAD_SLOTS[payloadBucketOf(id)]!, () => read(id))),
        )
      : await this.#side.runAll(0, () => payloadIds.map(read));
    return replies as (Buffer | null)[];
  }

  // ---- deadlines

  sessionsOf(incarnation: string, cursor: string) {
    return this.#deadlines.sessionsOf(incarnation, cursor);
  }

  disown(clientId: string, incarnation: string, renewedAt: number) {
    return this.#deadlines.disown(clientId, incarnation, renewedAt);
  }

  dueSessions(limit: number) {
    return this.#deadlines.dueSessions(limit);
  }

  expire(clientId: string) {
    return this.#deadlines.expire(clientId);
  }

  leftWills(olderThanMs: number, limit: number) {
    return this.#deadlines.leftWills(olderThanMs, limit);
  }

  settleWill(clientId: string, id: string, isLast: boolean) {
    return this.#deadlines.settleWill(clientId, id, isLast);
  }

  finishWill(clientId: string, id: string) {
    return this.#deadlines.finishWill(clientId, id);
  }

  orphanedClients(limit: number) {
    return this.#orphans.clients(limit);
  }

  readOrphans(clientId: string, by: string, holdMs: number, limit: number) {
    return this.#orphans.read(clientId, by, holdMs, limit);
  }

  assignOrphans(clientId: string, life: number, turns: readonly OrphanTurn[]) {
    return this.#orphans.assign(clientId, life, turns);
  }

  removeOrphans(clientId: string, life: number, seqs: readonly number[]) {
    return this.#orphans.remove(clientId, life, seqs);
  }

  sweep(limit: number) {
    return this.#deadlines.sweep(limit);
  }

  // ---- routes

  appendLog(incarnation: string, entries: readonly LogAppend[], versionSeen: number) {
    return this.#log.append(incarnation, entries, versionSeen);
  }

  logVersion() {
    return this.#log.version();
  }

  followLog(version: number): void {
    this.#log.follow(version);
  }

  readRows(cursor: string) {
    return this.#log.readRows(cursor);
  }

  readRoutes(incarnation: string, cursor: string) {
    return this.#log.readRoutes(incarnation, cursor);
  }

  // ---- nodes

  async register(incarnation: string, name: string, leaseMs: number): Promise<Renewal> {
    const renewal = await this.#leases.register(incarnation, name, leaseMs);
    if (this.#incarnation !== incarnation) {
      this.#inbox?.close();
      this.#incarnation = incarnation;
      this.#inbox = new InboxReader(
        this.#topology,
        this.#side,
        this.#keyspace,
        this.#options.clock,
        incarnation,
        this.#options.limits.maxInboxBytes,
        {
          onInbox: (payloads) => this.#events?.onInbox(payloads),
          onInboxGap: () => this.#events?.onInboxGap(),
        },
      );
      await this.#inbox.open();
    }
    return renewal;
  }

  async renew(incarnation: string, leaseMs: number, others?: readonly NodeName[]): Promise<Renewal> {
    const renewal = await this.#leases.renew(incarnation, leaseMs, others);
    const own = renewal.leases.find((lease) => lease.incarnation === incarnation);
    if (own && own.deadAt > 0 && incarnation === this.#incarnation && this.#inbox) this.#inbox.isDead = true;
    return renewal;
  }

  bury(incarnation: string, by: string, leaseMs: number) {
    return this.#leases.bury(incarnation, by, leaseMs);
  }

  resign(incarnation: string) {
    return this.#leases.resign(incarnation);
  }

  lockCleanup(incarnation: string, by: string, holdMs: number) {
    return this.#leases.lockCleanup(incarnation, by, holdMs);
  }

  removeNode(incarnation: string) {
    return this.#leases.removeNode(incarnation);
  }

  async inboxEnd(): Promise<string> {
    return this.#inbox ? this.#inbox.end() : '';
  }

  async waitInbox(position: string): Promise<void> {
    await this.#inbox?.wait(position);
  }

  // ---- retained, totals

  readRetained(filter: string, cursor: string, limit: number, version: number) {
    return this.#retained.read(filter, cursor, limit, version);
  }

  async totals(): Promise<StoreTotals> {
    const buckets = Array.from({ length: SESSION_BUCKETS }, (_none, bucket) => bucket);
    const read = (bucket: number) => encodeCommand('HMGET', this.#keyspace.counts(bucket), 's', 'q', 'w');
    const [retained, counts] = await Promise.all([
      this.#retained.refreshSizes(),
      this.#topology.isCluster
        ? Promise.all(buckets.map((bucket) => this.#side.run(SESSION_SLOTS[bucket]!, () => read(bucket))))
        : this.#side.runAll(0, () => buckets.map(read)),
    ]);
    let sessions = 0;
    let queuedMessages = 0;
    let queuedBytes = 0;
    for (const reply of counts) {
      sessions += asNumber(asList(reply)[0]);
      queuedMessages += asNumber(asList(reply)[1]);
      queuedBytes += asNumber(asList(reply)[2]);
    }
    const { messages, bytes } = retained;
    return { sessions, retainedMessages: messages, retainedBytes: bytes, queuedMessages, queuedBytes };
  }
}
