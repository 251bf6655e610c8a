// Keeps this node's routing table equal to the cluster's: loads a snapshot, follows the log behind it, and tells who
// waits how far it has come. A snapshot is right for the version that the log had before its reading began, and for
// some entries beyond; applying those again changes nothing. So after a gap (entries trimmed unread) or when the store
// has lost its tail the same is done again, over the table in use.
// Invariant: `applied` never names a version whose entries this node might not have applied; after a loss of the
// store's tail it is 0 until the table has been loaded again.

import type { Logger } from '../observability/logger.ts';
import type { LocalRoutes } from '../routing/local-routes.ts';
import type { LogRecord, RouteChange } from '../routing/log-codec.ts';
import type { Routes } from '../routing/routes.ts';
import type { Lease, LogEntry, Store } from '../store/store.ts';
import { type Clock, delay, type Timer } from '../util/clock.ts';
import { isClosedError, LogAppender } from './log-appender.ts';
import type { Peers } from './peers.ts';
import { loadSnapshot, readOwnRoutes } from './route-snapshot.ts';

const RETRY_MS = 500;
/** Changes of routes in one log entry, when many are announced again. */
const CHANGES_MAX = 500;

export type RouteLogStore = Pick<Store, 'appendLog' | 'logVersion' | 'followLog' | 'readRows' | 'readRoutes'>;

export interface RouteLogOptions {
  readonly store: RouteLogStore;
  readonly incarnation: string;
  readonly routes: Routes;
  readonly local: LocalRoutes;
  readonly peers: Pick<Peers, 'applied'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Leases of the nodes that live, read now. */
  live(): Promise<readonly Lease[]>;
  /** How often the log's version is asked for, so that a reader that hears nothing is noticed. */
  readonly probeEveryMs: number;
}

export class RouteLog {
  /** The store lost its tail: what was told of versions before means nothing. Set by the barrier. */
  onReset: () => void = () => {};
  /** The table was loaded again after a gap or a loss of the tail. Set by the composition root where it matters. */
  onReloaded: () => void = () => {};

  readonly #options: RouteLogOptions;
  readonly #appender: LogAppender;
  #state: 'new' | 'loading' | 'following' | 'stopped' = 'new';
  #applied = 0;
  /** Highest version this node has heard of. */
  #seen = 0;
  #isOtherHistory = false;
  /** Changes with each cause to load, so that a loading under way knows that it is outdated. */
  #cause = 0;
  #isLoading = false;
  #waiters: { version: number; run: () => void }[] = [];
  readonly #askers = new Map<string, number>();
  /** A version known to be in the log and not read yet, and since when, by the monotonic clock. */
  #unread: { version: number; sinceMs: number } | null = null;
  #progressMs = 0;
  #isProbing = false;
  #onFirstLoad: () => void = () => {};
  #timer: Timer | null = null;
  /** How often the table was loaded. */
  loads = 0;
  /** Entries and rows that could not be decoded. */
  unreadable = 0;

  constructor(options: RouteLogOptions) {
    this.#options = options;
    this.#appender = new LogAppender({
      ...options,
      versionSeen: () => this.#seen,
      onAppended: (version) => this.#expect(version, options.clock.monotonicMs()),
    });
  }

  /** Version up to which the table has applied the log; 0 while it is not loaded. */
  get applied(): number {
    return this.#applied;
  }

  get isFollowing(): boolean {
    return this.#state === 'following';
  }

  /** Loads the table and resolves when the log has been replayed to its end. The node is registered by then. */
  async start(): Promise<void> {
    const { clock, probeEveryMs, store } = this.#options;
    this.#timer = clock.every(probeEveryMs, () => void this.#probe());
    await new Promise<void>((resolve) => {
      this.#onFirstLoad = resolve;
      this.#load(false);
    });
    const end = await store.logVersion();
    await new Promise<void>((resolve) => this.whenApplied(end, resolve));
  }

  stop(): void {
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#appender.close();
  }

  /** Appends an entry and resolves with its version; see LogAppender. */
  append(record: LogRecord): Promise<number> {
    return this.#appender.append(record);
  }

  /** Calls `run` once the log has been applied to `version`: now, or later in the order of calls. */
  whenApplied(version: number, run: () => void): void {
    this.#seen = Math.max(this.#seen, version);
    if (this.#applied >= version) run();
    else this.#waiters.push({ version, run });
  }

  /** The node `from` waits until this one has applied `version`: it is told what is applied, and again then. */
  asked(from: string, version: number): void {
    this.#seen = Math.max(this.#seen, version);
    if (this.#applied > 0) this.#options.peers.applied(from, this.#applied);
    if (this.#applied < version) this.#askers.set(from, Math.max(version, this.#askers.get(from) ?? 0));
  }

  /** A node is dead: it waits for nothing any more. */
  forget(incarnation: string): void {
    this.#askers.delete(incarnation);
  }

  /** How long something that is known to be in the log has not been read, ms; 0 when all was. */
  unreadMs(): number {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#state === 'loading') return nowMs - this.#progressMs;
    if (this.#state !== 'following' || this.#unread === null) return 0;
    return nowMs - Math.max(this.#unread.sinceMs, this.#progressMs);
  }

  /** StoreEvents.onLog */
  onLog(entries: readonly LogEntry[]): void {
    // While a snapshot loads nothing is missed: the log is followed from before its reading.
    if (this.#state !== 'following') return;
    const tell = new Set<string>();
    for (const entry of entries) {
      if (entry.version <= this.#applied) continue;
      if (entry.previous !== this.#applied) {
        const { version, previous } = entry;
        this.#options.logger.warn(
          { version, previous, applied: this.#applied },
          'entries of the route log are missing',
        );
        this.#load(false);
        break;
      }
      if (!this.#apply(entry, tell)) break;
    }
    this.#progressMs = this.#options.clock.monotonicMs();
    this.#tell(tell);
  }

  /** StoreEvents.onHistory */
  onHistory(): void {
    if (this.#state === 'stopped' || this.#state === 'new') return;
    this.#applied = 0;
    this.onReset();
    this.#load(true);
  }

  /** False where the entry cannot be read: the snapshot behind it holds what it said. */
  #apply(entry: LogEntry, tell: Set<string>): boolean {
    const { routes, incarnation, logger } = this.#options;
    try {
      const record = routes.applyEntry(entry.payload);
      if (entry.from !== incarnation && isWaitedFor(record)) tell.add(entry.from);
    } catch (error) {
      this.unreadable++;
      logger.error(
        { err: error, version: entry.version, from: entry.from },
        'an entry of the route log cannot be read',
      );
      this.#load(false);
      return false;
    }
    this.#advance(entry.version);
    return true;
  }

  #advance(version: number): void {
    this.#applied = version;
    this.#options.routes.version = version;
    this.#seen = Math.max(this.#seen, version);
    if (this.#unread !== null && this.#unread.version <= version) this.#unread = null;
  }

  /** Tells those who wait for other nodes, and runs what waits here. */
  #tell(appenders: Set<string>): void {
    for (const [from, version] of this.#askers) {
      if (this.#applied < version || this.#applied === 0) continue;
      this.#askers.delete(from);
      appenders.add(from);
    }
    if (this.#applied > 0) for (const from of appenders) this.#options.peers.applied(from, this.#applied);
    if (this.#waiters.length === 0) return;
    const due = this.#waiters.filter(({ version }) => version <= this.#applied);
    if (due.length === 0) return;
    this.#waiters = this.#waiters.filter(({ version }) => version > this.#applied);
    for (const { run } of due) run();
  }

  #expect(version: number, sinceMs: number): void {
    this.#seen = Math.max(this.#seen, version);
    if (version > this.#applied && this.#unread === null) this.#unread = { version, sinceMs };
  }

  // ---- loading

  #load(isOtherHistory: boolean): void {
    if (this.#state === 'stopped') return;
    this.#cause++;
    this.#isOtherHistory ||= isOtherHistory;
    this.#state = 'loading';
    this.#progressMs = this.#options.clock.monotonicMs();
    if (!this.#isLoading) void this.#loadUntilDone();
  }

  async #loadUntilDone(): Promise<void> {
    const { clock, logger } = this.#options;
    this.#isLoading = true;
    while (this.#state === 'loading') {
      try {
        await this.#loadOnce();
      } catch (error) {
        if (isClosedError(error)) break;
        logger.warn({ err: error }, 'loading the routing table failed and is repeated');
      }
      // Also after a success, so that a log that is trimmed as fast as it is read costs a snapshot now and then only.
      await delay(clock, RETRY_MS);
    }
    this.#isLoading = false;
  }

  async #loadOnce(): Promise<void> {
    const { store, routes, incarnation, live, logger } = this.#options;
    const cause = this.#cause;
    const isOtherHistory = this.#isOtherHistory;
    const isCurrent = (): boolean => {
      this.#progressMs = this.#options.clock.monotonicMs();
      return this.#state === 'loading' && this.#cause === cause;
    };
    const position = await store.logVersion();
    const leases = (await live()).filter((lease) => lease.incarnation !== incarnation);
    if (!isCurrent()) return;
    const onUnreadable = (clientId: string, error: unknown): void => {
      this.unreadable++;
      logger.error({ err: error, clientId }, 'a row of subscriptions cannot be read');
    };
    if (!(await loadSnapshot({ store, routes, leases, isOtherHistory, isCurrent, onUnreadable }))) return;
    this.loads++;
    this.#isOtherHistory = false;
    this.#unread = null;
    this.#state = 'following';
    this.#advance(position);
    store.followLog(position);
    this.#tell(new Set());
    if (isOtherHistory) void this.#announceAgain();
    if (this.loads > 1) this.onReloaded();
    this.#onFirstLoad();
  }

  /** After a loss of the store's tail: brings what it holds of this node's routes to what they are. */
  async #announceAgain(): Promise<void> {
    const { store, incarnation, local, logger } = this.#options;
    try {
      const stored = await readOwnRoutes(store, incarnation);
      const changes: RouteChange[] = [];
      for (const route of local.routes()) {
        if (stored.get(route.filter) !== route.flags) changes.push(route);
        stored.delete(route.filter);
      }
      for (const filter of stored.keys()) changes.push({ filter, flags: '' });
      for (let at = 0; at < changes.length; at += CHANGES_MAX) {
        await this.append({ kind: 'routes', incarnation, changes: changes.slice(at, at + CHANGES_MAX) });
      }
    } catch (error) {
      if (isClosedError(error)) return;
      logger.warn({ err: error }, 'announcing the routes of this node again failed and is repeated');
      await delay(this.#options.clock, RETRY_MS);
      if (this.#state !== 'stopped') await this.#announceAgain();
    }
  }

  // ---- noticing that the reader hears nothing

  async #probe(): Promise<void> {
    if (this.#isProbing || this.#state !== 'following') return;
    this.#isProbing = true;
    const sentMs = this.#options.clock.monotonicMs();
    const wanted = this.#wanted();
    const cause = this.#cause;
    try {
      const version = await this.#options.store.logVersion();
      if (cause === this.#cause) {
        this.#expect(version, sentMs);
        // Somebody waits for a version that the log does not have: it was lost with the store's tail. An entry that
        // says nothing, with a version above all that was seen, lets them go on.
        const { incarnation } = this.#options;
        if (wanted > version) await this.append({ kind: 'routes', incarnation, changes: [] });
      }
    } catch {
      // The store is away: whoever has to know is told by its availability.
    } finally {
      this.#isProbing = false;
    }
  }

  #wanted(): number {
    let wanted = 0;
    for (const { version } of this.#waiters) wanted = Math.max(wanted, version);
    return wanted;
  }
}

/** Ends and removals are waited for by nobody: no SUBACK stands behind them. */
function isWaitedFor(record: LogRecord): boolean {
  if (record.kind === 'routes')
    return record.changes.length === 0 || record.changes.some(({ flags }) => flags !== '');
  return record.kind === 'row';
}
