// The Redis masters there are and the connections to each: one for the lane (batches, with WAIT on it), one beside it for
// what must not wait for a batch (leases, reads). Standalone and Sentinel are one master; in a Redis Cluster there is one
// plain client per master and a slot map of our own, read again whenever a master says MOVED or goes away. It tells
// availability and changes of history; it sends nothing of the broker itself.

import type { Timer } from '../../util/clock.ts';
import { SwarmqError } from '../../util/errors.ts';
import { Connection, type ServerFacts, type Target } from './client.ts';
import { findMisfit } from './fitness.ts';
import type { RedisStoreOptions } from './options.ts';
import { encodeCommand, type Reply } from './resp.ts';
import { allScripts } from './script.ts';
import { readClusterSlots, SLOTS, type SlotRange } from './slots.ts';

/** A server that leaves a command unanswered that long is connected to again. */
const SILENCE_MS = 10_000;
const REFRESH_MS = 30_000;
const REFRESH_RETRY_MS = 200;
/** A server that does not fit is asked again after this. */
const UNFIT_RETRY_MS = 3000;
const CLUSTER_SLOTS = encodeCommand('CLUSTER', 'SLOTS');

export interface TopologyEvents {
  /** A master's lane connection can be used (again). */
  onMasterReady(master: Master): void;
  /** The slots of some master have changed hands. */
  onMoved(): void;
  onAvailability(available: boolean, reason: string): void;
  onHistory(): void;
  /** A server does not fit: told once by open(), logged later. */
  onMisfit(error: SwarmqError): void;
}

/** One master with its two connections. */
export class Master {
  /** host:port in a Cluster, 'main' otherwise. */
  readonly name: string;
  readonly target: Target;
  lane!: Connection;
  side!: Connection;
  /** History id of the lane's last connection, '' before the first. */
  history = '';
  downReason = 'not connected yet';
  /** Why the server does not fit, as its last connection found it; null where it does. */
  misfit: string | null = null;
  isFit = false;
  /** It has been lost or refused at least once: until then it is only being connected to. */
  hasFailed = false;
  /** Position among the masters: the lane's number. */
  index = 0;

  constructor(name: string, target: Target) {
    this.name = name;
    this.target = target;
  }

  get isReady(): boolean {
    return this.isFit && this.lane.isReady && this.side.isReady;
  }
}

export class Topology {
  readonly #options: RedisStoreOptions;
  readonly #events: TopologyEvents;
  readonly #silenceMs: number;
  #masters: Master[] = [];
  #slotMaster: (Master | undefined)[] = [];
  #seeds: Connection[] = [];
  #isClosed = false;
  #hasSeedFailed = false;
  #isRefreshing = false;
  #refreshWanted = false;
  #told: { available: boolean; reason: string } = { available: false, reason: '' };
  /** Masters whose batches do not come back although the connection stands, and why. */
  readonly #stalled = new Map<Master, string>();
  #refreshTimer: Timer | null = null;

  constructor(options: RedisStoreOptions, events: TopologyEvents) {
    this.#options = options;
    this.#events = events;
    this.#silenceMs =
      SILENCE_MS + (options.durability.level === 'written' ? 0 : options.durability.timeoutMs);
  }

  get masters(): readonly Master[] {
    return this.#masters;
  }

  get isCluster(): boolean {
    return this.#options.redis.mode === 'cluster';
  }

  masterOf(slot: number): Master | undefined {
    return this.isCluster ? this.#slotMaster[slot] : this.#masters[0];
  }

  open(): void {
    const { mode, endpoints } = this.#options.redis;
    if (mode === 'cluster') {
      this.#refresh();
      this.#refreshTimer = this.#options.clock.every(REFRESH_MS, () => this.refresh());
      return;
    }
    const first = endpoints[0]!;
    this.#masters = [this.#connect(new Master('main', mode === 'sentinel' ? null : first), 0)];
  }

  close(): void {
    this.#isClosed = true;
    this.#refreshTimer?.cancel();
    for (const master of this.#masters) {
      master.lane.close();
      master.side.close();
    }
    for (const seed of this.#seeds) seed.close();
  }

  /** A connection for blocking reads of keys of this master. The caller closes it. */
  openReader(
    master: Master,
    blockMs: number,
    events: { onReady(): void; onDown(reason: string): void },
  ): Connection {
    const { redis, clock } = this.#options;
    return new Connection(redis, master.target, 'reader', this.#silenceMs + blockMs, clock, events);
  }

  #connect(master: Master, index: number): Master {
    const { redis, clock } = this.#options;
    master.index = index;
    master.lane = new Connection(redis, master.target, 'lane', this.#silenceMs, clock, {
      onReady: (facts) => this.#laneReady(master, facts),
      onDown: (reason) => this.#down(master, reason),
    });
    master.side = new Connection(redis, master.target, 'side', this.#silenceMs, clock, {
      onReady: (facts) => this.#sideReady(master, facts),
      onDown: (reason) => this.#down(master, reason),
    });
    return master;
  }

  /**
   * Sentinel may have named different servers for the two connections, one of them on its way out: what is written there
   * beside the lane (a renewed lease) is lost. Which one is right nobody knows here, so both ask again.
   */
  #sideReady(master: Master, facts: ServerFacts): void {
    if (!this.isCluster && master.lane.isReady && master.lane.history !== facts.history) {
      master.side.cut('the master has changed');
      master.lane.cut('the master has changed');
      return;
    }
    this.#tell();
  }

  #laneReady(master: Master, facts: ServerFacts): void {
    if (this.#isClosed) return;
    if (!facts.isMaster) {
      // A Cluster node that was a master until now; the slot map says who is.
      master.downReason = 'the server is a replica';
      this.refresh();
      this.#options.clock.after(REFRESH_RETRY_MS, () => master.lane.cut('the server is a replica'));
      this.#tell();
      return;
    }
    const misfit = findMisfit(facts, this.#options.redis, this.#options.durability);
    const isNews = misfit !== master.misfit;
    master.misfit = misfit;
    if (misfit !== null) {
      master.isFit = false;
      master.hasFailed = true;
      if (isNews) this.#events.onMisfit(new SwarmqError('SWARMQ_ERR_STORE_UNFIT', misfit));
      // Its operator may set it right: another connection asks again.
      this.#options.clock.after(UNFIT_RETRY_MS, () => {
        if (!this.#isClosed) master.lane.cut(misfit);
      });
      this.#tell();
      return;
    }
    const isOther = master.history !== '' && master.history !== facts.history;
    master.history = facts.history;
    this.loadScripts(master, (isLoaded) => {
      if (!isLoaded) return;
      master.isFit = true;
      // Sentinel may have named another server: the connection beside the lane must be to the same one.
      if (!this.isCluster && master.side.isReady && master.side.history !== facts.history) {
        master.side.cut('the master has changed');
      }
      if (isOther) this.#events.onHistory();
      this.#tell();
      this.#events.onMasterReady(master);
    });
  }

  /** Makes the scripts known to the server; tried again until it has them all or the connection is cut (false). */
  loadScripts(master: Master, done: (isLoaded: boolean) => void): void {
    const commands = allScripts().map(({ source }) => encodeCommand('SCRIPT', 'LOAD', source));
    master.lane.run(commands, (replies) => {
      const refused = replies.find((reply): reply is Error => reply instanceof Error);
      if (!refused) return done(true);
      master.downReason = refused.message;
      this.#options.clock.after(REFRESH_RETRY_MS, () => {
        if (!this.#isClosed && master.lane.isReady) this.loadScripts(master, done);
        else done(false);
      });
    });
  }

  #down(master: Master, reason: string): void {
    master.downReason = reason;
    master.hasFailed = true;
    this.#options.counters.disconnects++;
    if (this.isCluster) this.refresh();
    this.#tell();
  }

  /** The lanes' own watch: '' or why the batches of a master do not come back although the connection stands. */
  tellStalled(master: Master, reason: string): void {
    if ((this.#stalled.get(master) ?? '') === reason) return;
    if (reason === '') this.#stalled.delete(master);
    else this.#stalled.set(master, reason);
    this.#tell();
  }

  #tell(): void {
    if (this.#isClosed) return;
    const down = this.#masters.find((master) => !master.isReady);
    let reason = this.#stalled.values().next().value ?? '';
    if (this.#masters.length === 0) reason = 'no node of the Redis Cluster can be reached';
    else if (down?.misfit) reason = `${down.name}: ${down.misfit}`;
    else if (down) reason = down.lane.isReady ? 'connecting' : `${down.name}: ${down.downReason}`;
    const available = reason === '';
    // The first connecting is no outage yet.
    const isFirst = this.#told.reason === '' && !this.#told.available;
    if (!available && isFirst && !this.#hasSeedFailed && !this.#masters.some(({ hasFailed }) => hasFailed))
      return;
    // One outage is told once, but for what only its operator can end.
    const isTold = available === this.#told.available && (available || this.#told.reason !== '');
    if (isTold && (!down?.misfit || reason === this.#told.reason)) return;
    this.#told = { available, reason };
    this.#events.onAvailability(available, available ? 'connected' : reason);
  }

  get isAvailable(): boolean {
    return this.#told.available;
  }

  // ---- Redis Cluster

  /** Reads the slot map again; several requests at once are one. */
  refresh(): void {
    if (!this.isCluster || this.#isClosed) return;
    if (this.#isRefreshing) {
      this.#refreshWanted = true;
      return;
    }
    this.#refresh();
  }

  #refresh(): void {
    this.#isRefreshing = true;
    this.#refreshWanted = false;
    const asked = this.#masters.find((master) => master.side.isReady && master.lane.isReady);
    if (asked) {
      asked.side.run([CLUSTER_SLOTS], ([reply]) => this.#refreshed(reply, asked.target?.host ?? ''));
      return;
    }
    this.#askSeeds();
  }

  /** Asks every seed; the first answer counts. */
  #askSeeds(): void {
    const { redis, clock } = this.#options;
    let isAnswered = false;
    const ask = (seed: Connection, host: string) =>
      seed.run([CLUSTER_SLOTS], ([reply]) => {
        if (isAnswered || this.#isClosed) return;
        isAnswered = true;
        for (const one of this.#seeds) one.close();
        this.#seeds = [];
        this.#refreshed(reply, host);
      });
    this.#seeds = redis.endpoints.map((endpoint) => {
      const seed: Connection = new Connection(redis, endpoint, 'seed', this.#silenceMs, clock, {
        onReady: (facts) => {
          const misfit = findMisfit(facts, redis, this.#options.durability);
          if (misfit !== null) this.#events.onMisfit(new SwarmqError('SWARMQ_ERR_STORE_UNFIT', misfit));
          else ask(seed, endpoint.host);
        },
        onDown: () => {
          this.#hasSeedFailed = true;
          this.#tell();
        },
      });
      return seed;
    });
  }

  #refreshed(reply: Reply | undefined, askedHost: string): void {
    if (this.#isClosed) return;
    const ranges = reply === undefined || reply instanceof Error ? [] : readClusterSlots(reply, askedHost);
    if (ranges.length === 0) {
      this.#options.clock.after(REFRESH_RETRY_MS, () => {
        if (!this.#isClosed) this.#refresh();
      });
      return;
    }
    this.#isRefreshing = false;
    this.#apply(ranges);
    const isWhole = this.#masters.every((master) => master.isReady);
    if (this.#refreshWanted || !isWhole) {
      this.#options.clock.after(REFRESH_RETRY_MS, () => {
        if (!this.#isClosed && !this.#isRefreshing) this.#refresh();
      });
    }
  }

  #apply(ranges: readonly SlotRange[]): void {
    const before = new Map(this.#masters.map((master) => [master.name, master]));
    const now = new Map<string, Master>();
    const slots: (Master | undefined)[] = new Array(SLOTS);
    let hasMoved = false;
    for (const { from, to, host, port } of ranges) {
      const name = `${host}:${port}`;
      let master = now.get(name) ?? before.get(name);
      if (!master) master = this.#connect(new Master(name, { host, port }), now.size);
      now.set(name, master);
      for (let slot = from; slot <= to; slot++) {
        if (this.#slotMaster[slot] !== master) hasMoved = true;
        slots[slot] = master;
      }
    }
    const gone = this.#masters.filter((master) => !now.has(master.name));
    this.#masters = [...now.values()];
    for (const [index, master] of this.#masters.entries()) master.index = index;
    this.#slotMaster = slots;
    for (const master of gone) {
      this.#stalled.delete(master);
      master.lane.close();
      master.side.close();
    }
    this.#tell();
    if (hasMoved) this.#events.onMoved();
    // A master whose slots all went elsewhere has failed over (or left): who has them now may be behind it.
    if (gone.length > 0) this.#events.onHistory();
  }
}
