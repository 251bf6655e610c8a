// Reads a snapshot of the routing table from the store, page by page: the rows of all sessions, and the routes of every
// node that lives. A page is applied in one go and the next one asked for meanwhile; the event loop gets its turn
// between them.

import type { RouteFlags } from '../routing/log-codec.ts';
import type { Routes } from '../routing/routes.ts';
import type { Lease, Store } from '../store/store.ts';

export type SnapshotStore = Pick<Store, 'readRows' | 'readRoutes'>;

export interface SnapshotOptions {
  readonly store: SnapshotStore;
  readonly routes: Routes;
  /** Nodes that live. */
  readonly leases: readonly Lease[];
  readonly isOtherHistory: boolean;
  /** Asked after every page: false gives the reading up. */
  isCurrent(): boolean;
  onUnreadable(clientId: string, error: unknown): void;
}

/** Lays the snapshot over `routes`; answers false when it was given up, and the table is what it was, more or less. */
export async function loadSnapshot(options: SnapshotOptions): Promise<boolean> {
  const { store, routes, leases, isCurrent, onUnreadable } = options;
  routes.beginSnapshot(options.isOtherHistory);
  let page = await store.readRows('');
  for (;;) {
    if (!isCurrent()) return false;
    const next = page.cursor === null ? null : store.readRows(page.cursor);
    // Its failure is met where it is awaited; without this it would count as unhandled while the page is applied.
    next?.catch(() => {});
    for (const { clientId, row } of page.rows) {
      try {
        routes.loadRow(clientId, row);
      } catch (error) {
        onUnreadable(clientId, error);
      }
    }
    if (next === null) break;
    page = await next;
  }
  for (const { incarnation } of leases) {
    const flags = await readNodeRoutes(store, incarnation, isCurrent);
    if (!isCurrent()) return false;
    routes.loadNode(incarnation, flags);
  }
  routes.endSnapshot();
  return true;
}

/** What the store holds of one node's routes. */
export function readOwnRoutes(store: SnapshotStore, incarnation: string): Promise<Map<string, RouteFlags>> {
  return readNodeRoutes(store, incarnation, () => true);
}

async function readNodeRoutes(
  store: SnapshotStore,
  incarnation: string,
  isCurrent: () => boolean,
): Promise<Map<string, RouteFlags>> {
  const all = new Map<string, RouteFlags>();
  for (let cursor: string | null = ''; cursor !== null && isCurrent(); ) {
    const page: Awaited<ReturnType<Store['readRoutes']>> = await store.readRoutes(incarnation, cursor);
    for (const { filter, flags } of page.routes) all.set(filter, flags === 'a' ? 'a' : '0');
    cursor = page.cursor;
  }
  return all;
}
