// From a topic to everybody who gets its messages: the cluster's table and the connections of this node put together
// and remembered by topic. This is on the way of every message: a known topic costs one look-up and no allocation, and
// a match is never changed once it is made, so that it may be kept while a message waits.

import type { LocalRoutes, LocalTarget } from './local-routes.ts';
import { MatchCache } from './match-cache.ts';
import type { Routes, SessionTarget } from './routes.ts';

import type { SharedGroup, SharedGroups } from './shared-groups.ts';

export type { Grant } from './grant.ts';
export type { LocalTarget, SessionTarget };

/** Receivers of one topic. */
export interface Match {
  /** Persistent sessions whose queues take messages of QoS 1 and 2, each once. */
  readonly sessions: readonly SessionTarget[];
  /** Other nodes with receivers of every message, by incarnation. */
  readonly nodesAll: readonly string[];
  /** Other nodes with receivers of QoS 0 messages only. */
  readonly nodesQos0: readonly string[];
  /** Groups of shared subscriptions, in each of which one member gets the message. */
  readonly groups: readonly SharedGroup[];
  /** Connections of this node. */
  readonly local: readonly LocalTarget[];
}

export const EMPTY_MATCH: Match = Object.freeze({
  sessions: Object.freeze([]),
  nodesAll: Object.freeze([]),
  nodesQos0: Object.freeze([]),
  groups: Object.freeze([]),
  local: Object.freeze([]),
});

export interface RouterOptions {
  readonly routes: Routes;
  readonly local: LocalRoutes;
  readonly selfIncarnation: string;
  /** Topics that are remembered; one with many receivers counts for several. */
  readonly cacheMax: number;
}

/** Receivers that weigh as much as one more topic. */
const RECEIVERS_PER_WEIGHT = 8;

export class Router {
  readonly #routes: Routes;
  readonly #local: LocalRoutes;
  readonly #cache: MatchCache<Match>;
  /** The topic that was known last, null when something has changed since: messages come in bursts. */
  #lastTopic: string | null = null;
  #lastMatch = EMPTY_MATCH;

  constructor(options: RouterOptions) {
    this.#routes = options.routes;
    this.#local = options.local;
    this.#cache = new MatchCache(options.cacheMax);
    const touch = (filter: string): void => {
      this.#lastTopic = null;
      this.#cache.touch(filter);
    };
    options.routes.onChange = touch;
    options.local.onChange = touch;
    options.local.onPresence = (clientId, isPresent) =>
      options.routes.groups.setPresent(clientId, options.selfIncarnation, isPresent);
  }

  /** Log version at which a match made now is right: what publishers send along with it. */
  get version(): number {
    return this.#routes.version;
  }

  /** Topics that are remembered, for metrics. */
  get cacheSize(): number {
    return this.#cache.size;
  }

  match(topic: string): Match {
    if (topic === this.#lastTopic) return this.#lastMatch;
    const known = this.#cache.get(topic);
    if (known === undefined) return this.#find(topic);
    this.#lastTopic = topic;
    this.#lastMatch = known;
    return known;
  }

  /** The target of one session, matched anew: for a message that the store refused as matched too long ago. */
  matchSession(clientId: string, topic: string): SessionTarget | null {
    return this.#routes.matchSession(clientId, topic);
  }

  /** The groups of shared subscriptions, for the choice of members. */
  get groups(): SharedGroups {
    return this.#routes.groups;
  }

  /** The store answered 'gone' for this life of a session: it is a receiver no more. */
  dropSession(clientId: string, life: number): void {
    this.#routes.applyEnded(clientId, life);
  }

  /** Forgets all topics. Changes of the tables do by themselves what is needed. */
  invalidate(): void {
    this.#lastTopic = null;
    this.#cache.clear();
  }

  #find(topic: string): Match {
    const { sessions, nodesAll, nodesQos0, groups } = this.#routes.match(topic);
    const local = this.#local.match(topic);
    const receivers = sessions.length + nodesAll.length + nodesQos0.length + groups.length + local.length;
    const match = receivers === 0 ? EMPTY_MATCH : { sessions, nodesAll, nodesQos0, groups, local };
    this.#cache.set(topic, match, 1 + Math.floor(receivers / RECEIVERS_PER_WEIGHT));
    return match;
  }
}
