// What every session of a node shares, handed down once: the store, the routes, the limits, and the two ways of telling
// its keeper that a session leaves.

import type { NodeStats } from '../observability/node-stats.ts';
import type { LocalRoutes } from '../routing/local-routes.ts';
import type { LogRecord } from '../routing/log-codec.ts';
import type { Router } from '../routing/router.ts';
import type { Owner } from '../store/operations.ts';
import type { RetainedPage, Store } from '../store/store.ts';
import type { Clock } from '../util/clock.ts';
import type { Announcer } from './announcer.ts';
import type { ProtocolVersion } from './link.ts';
import type { SharedPayloads } from './shared-payloads.ts';

export interface SessionLimits {
  readonly maxInflightMessages: number;
  readonly maxQueuedMessages: number;
  readonly maxConnectionBytes: number;
  readonly queueFullPolicy: 'drop-oldest' | 'reject';
  readonly maxRetainedPage: number;
  readonly pullBytes: number;
}

export interface SessionContext {
  readonly incarnation: string;
  readonly store: Store;
  readonly clock: Clock;
  readonly router: Router;
  readonly local: LocalRoutes;
  readonly announcer: Announcer;
  readonly payloads: SharedPayloads;
  readonly stats: NodeStats;
  readonly limits: SessionLimits;
  append(entry: LogRecord): Promise<number>;
  /** Retained `$SYS` messages of this node that match. */
  systemTopics(filter: string): RetainedPage['records'];
  onFault(error: unknown): void;
}

/** How a session leaves its node: the map of live ones lets go of it, the store takes it back. */
export interface SessionKeeper {
  forget(clientId: string, epoch: number): void;
  release(leaving: Leaving): Promise<void>;
  /** The store refused a write of this claim: somebody else has the session, or the store has lost the claim. */
  doubt(clientId: string, epoch: number): Promise<void>;
}

export interface Leaving {
  readonly clientId: string;
  readonly owner: Owner;
  /** Its row is in the log of routes: so must be its end. */
  readonly isRouted: boolean;
  readonly dropWill: boolean;
  readonly expirySec: number;
  /** Highest seq sent. */
  readonly sent: number;
}

/** What a session is made for, beside what its claim answered. */
export interface SessionRequest {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly persistent: boolean;
  readonly expirySec: number;
  /** Something was heard of the session while it was claimed. */
  readonly mayWait: boolean;
}
