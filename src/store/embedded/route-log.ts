// The log of routes: entries with rising versions, each naming the one before, of which the newest are kept for those
// who follow; and the routes of each node as they are now, for who loads a snapshot. The entries themselves are not
// written to disk: after a start there is nobody who could have read half of them.

import type { LogAppend, LogEntry } from '../store.ts';
import type { Leases } from './leases.ts';
import type { Ledger } from './ledger.ts';
import { SortedKeys } from './sorted-keys.ts';
import { KIND, pairKey, splitPair } from './stored.ts';

/** Entries and bytes kept; who is further behind finds a gap and loads a snapshot. One process follows, and closely. */
const ENTRIES_MAX = 16_384;
const BYTES_MAX = 8_000_000;
/** Entries handed to a follower in one go. */
const READ_MAX = 1000;
const ROUTES_PAGE = 1000;

interface NodeRoutes {
  readonly filters: SortedKeys;
  readonly flags: Map<string, string>;
}

export interface RoutePage {
  routes: { filter: string; flags: string }[];
  cursor: string | null;
}

export class RouteLog {
  readonly #ledger: Ledger;
  readonly #leases: Leases;
  #entries: LogEntry[] = [];
  #bytes = 0;
  readonly #routes = new Map<string, NodeRoutes>();
  /** Version of the last entry, 0 for none. */
  last = 0;

  constructor(ledger: Ledger, leases: Leases) {
    this.#ledger = ledger;
    this.#leases = leases;
  }

  append(incarnation: string, entries: readonly LogAppend[], versionSeen: number, nowMs: number): number[] {
    const isStanding = this.#leases.isStanding(incarnation);
    return entries.map((entry) => {
      if (entry.routes.length > 0 && !isStanding) return 0;
      for (const { filter, flags } of entry.routes) this.#setRoute(incarnation, filter, flags);
      const version = this.#ledger.stamps.next(nowMs, Math.max(versionSeen, this.last));
      const payload = Buffer.from(entry.payload);
      this.#entries.push({ version, previous: this.last, from: incarnation, payload });
      this.#bytes += payload.length;
      this.last = version;
      this.#trim();
      return version;
    });
  }

  /** The next entries behind `version`; the first one's `previous` tells whether some are missing. */
  readBehind(version: number): LogEntry[] {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#entries[middle]!.version <= version) low = middle + 1;
      else high = middle;
    }
    return this.#entries.slice(low, low + READ_MAX);
  }

  readRoutes(incarnation: string, cursor: string): RoutePage {
    const routes = this.#routes.get(incarnation);
    const filters = routes?.filters.page(cursor, ROUTES_PAGE) ?? [];
    return {
      routes: filters.map((filter) => ({ filter, flags: routes!.flags.get(filter)! })),
      cursor: filters.length < ROUTES_PAGE ? null : filters[ROUTES_PAGE - 1]!,
    };
  }

  removeNode(incarnation: string): void {
    const routes = this.#routes.get(incarnation);
    if (!routes) return;
    for (const filter of routes.flags.keys()) {
      this.#ledger.writes.remove(pairKey(KIND.route, incarnation, filter));
    }
    this.#routes.delete(incarnation);
  }

  load(key: string, value: Buffer): void {
    const { first: incarnation, second: filter } = splitPair(key);
    this.#put(incarnation, filter, value.latin1Slice());
  }

  /** After a loss of the tail: the entries that the log still has of those that `other` had. */
  keepEntriesOf(other: RouteLog): void {
    this.#entries = other.#entries.filter((entry) => entry.version <= this.last);
    this.#bytes = this.#entries.reduce((sum, entry) => sum + entry.payload.length, 0);
  }

  #setRoute(incarnation: string, filter: string, flags: string): void {
    const key = pairKey(KIND.route, incarnation, filter);
    if (flags !== '') {
      this.#put(incarnation, filter, flags);
      if (this.#ledger.writes.isKept) this.#ledger.writes.put(key, Buffer.from(flags, 'latin1'));
      return;
    }
    const routes = this.#routes.get(incarnation);
    if (!routes?.flags.delete(filter)) return;
    routes.filters.delete(filter);
    this.#ledger.writes.remove(key);
  }

  #put(incarnation: string, filter: string, flags: string): void {
    let routes = this.#routes.get(incarnation);
    if (!routes) {
      routes = { filters: new SortedKeys(), flags: new Map() };
      this.#routes.set(incarnation, routes);
    }
    routes.filters.add(filter);
    routes.flags.set(filter, flags);
  }

  #trim(): void {
    // Half goes at once, so that trimming costs little per entry; never the newest, which nobody has read.
    if (this.#entries.length <= ENTRIES_MAX && this.#bytes <= BYTES_MAX) return;
    const gone = this.#entries.splice(0, this.#entries.length >> 1);
    for (const entry of gone) this.#bytes -= entry.payload.length;
  }
}
