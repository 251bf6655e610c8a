// The $SYS figures of the cluster: every node tells the others its own by the control bus, adds up what it has heard of
// those that live, and gives the result to its own subscribers. What a node told is forgotten when it has been silent
// for three intervals. Also brings those numbers of the node up to date that nobody counts as they happen, whenever they
// are about to be told: for $SYS and for /metrics.

import type { ControlBus } from './cluster/control-bus.ts';
import type { Incarnation } from './incarnation.ts';
import type { NodeStats } from './observability/node-stats.ts';
import { type SysReport, SysTree, sumReports, sysReport } from './observability/sys-tree.ts';
import type { StoreCounters } from './store/redis/options.ts';
import { type Clock, delay, type Timer } from './util/clock.ts';

export interface SystemFiguresOptions {
  readonly bus: ControlBus;
  readonly clock: Clock;
  readonly stats: NodeStats;
  readonly counters: StoreCounters;
  /** 0: nothing is published. */
  readonly intervalMs: number;
  /** The incarnation that serves now, or null. */
  incarnation(): Incarnation | null;
}

/** Reports kept at most: more nodes than any cluster of ours has. */
const REPORTS_MAX = 1024;
/** How often the highest number of clients is looked for. */
const GAUGES_MS = 1000;
/** How long the store's totals are waited for: beyond that the last ones are told. */
const TOTALS_PATIENCE_MS = 500;

export class SystemFigures {
  readonly #options: SystemFiguresOptions;
  readonly #tree: SysTree;
  readonly #reports = new Map<string, { atMs: number; report: SysReport }>();
  readonly #timers: Timer[] = [];
  #heapMax = 0;
  #reading: Promise<void> | null = null;

  constructor(options: SystemFiguresOptions) {
    this.#options = options;
    this.#tree = new SysTree(options.clock.monotonicMs());
  }

  start(): void {
    const { bus, clock, intervalMs } = this.#options;
    bus.start();
    this.#timers.push(clock.every(GAUGES_MS, () => this.#readGauges()));
    if (intervalMs === 0) return;
    this.#timers.push(clock.every(intervalMs, () => void this.#publish()));
    void this.#publish();
  }

  /** Brings all numbers up to date; those of the store as far as it answers soon. */
  async refresh(): Promise<void> {
    this.#readGauges();
    const serving = this.#options.incarnation();
    if (serving === null) return;
    // One at a time: while the store is away they would pile up.
    this.#reading ??= this.#readTotals(serving).finally(() => {
      this.#reading = null;
    });
    await Promise.race([this.#reading, delay(this.#options.clock, TOTALS_PATIENCE_MS)]);
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    const { bus, clock } = this.#options;
    await bus.close((delayMs, run) => clock.after(delayMs, run));
  }

  /** A message of the bus: a node's incarnation and report. Anything else is passed over. */
  heard(payload: string): void {
    let message: { incarnation?: unknown; report?: SysReport } | null;
    try {
      message = JSON.parse(payload) as typeof message;
    } catch {
      return;
    }
    if (message === null) return;
    const { incarnation, report } = message;
    if (typeof incarnation !== 'string' || typeof report !== 'object' || report === null) return;
    if (!this.#reports.has(incarnation) && this.#reports.size >= REPORTS_MAX) return;
    this.#reports.set(incarnation, { atMs: this.#options.clock.monotonicMs(), report });
  }

  async #publish(): Promise<void> {
    const { bus, clock, stats, intervalMs, incarnation } = this.#options;
    await this.refresh();
    const serving = incarnation();
    if (serving === null) return;
    const { heapUsed } = process.memoryUsage();
    this.#heapMax = Math.max(this.#heapMax, heapUsed);
    const own = sysReport(stats, heapUsed, this.#heapMax);
    bus.publish(JSON.stringify({ incarnation: serving.id, report: own }));
    const nowMs = clock.monotonicMs();
    const reports = [own];
    for (const [id, { atMs, report }] of this.#reports) {
      if (nowMs - atMs > 3 * intervalMs) this.#reports.delete(id);
      else if (id !== serving.id) reports.push(report);
    }
    serving.systemTopics.publish(this.#tree.update(sumReports(reports), stats.totals, nowMs));
  }

  async #readTotals(serving: Incarnation): Promise<void> {
    try {
      Object.assign(this.#options.stats.totals, await serving.store.totals());
    } catch {
      // The store is closed: the last figures stand.
    }
  }

  #readGauges(): void {
    const { stats, counters, incarnation } = this.#options;
    stats.storeRetries = counters.repetitions;
    stats.storeReconnects = counters.disconnects;
    const serving = incarnation();
    if (serving === null) return;
    let inflight = 0;
    let live = 0;
    let plain = 0;
    let wildcard = 0;
    let outsideRoutes = 0;
    for (const session of serving.sessions.all()) {
      inflight += session.inflight;
      if (session.live !== null) live += session.live.inflight + session.live.backlog;
      if (!session.isRouted) outsideRoutes += session.subscriptionCount();
      for (const { filter } of session.subscriptions()) {
        if (filter.includes('+') || filter.includes('#')) wildcard++;
        else plain++;
      }
    }
    stats.inflightMessages = inflight;
    stats.liveMessages = live;
    stats.routes = serving.routeCount;
    stats.sharedGroups = serving.groupCount;
    stats.liveSubscriptions = outsideRoutes;
    Object.assign(stats.totals, serving.subscriptionCounts);
    stats.sharedGroupKeys = serving.groupKeyCount;
    stats.subscriptions.plain = plain;
    stats.subscriptions.wildcard = wildcard;
    stats.sessionsConnected = serving.sessions.size;
    stats.sessionsConnectedMax = Math.max(stats.sessionsConnectedMax, serving.sessions.size);
  }
}
