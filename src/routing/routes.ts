// The cluster's table of receivers: the sessions that have a queue, and the nodes that have somebody to serve live. It is
// fed by the route log and by snapshots and is the same on every node that has applied the same version. Entries may
// come late or twice (a frozen node wakes, a sweeper is slow), so an order of its own decides what counts: a session's
// life, then its rev; whatever is not newer than what is known changes nothing, and the lives that ended last are
// remembered. A snapshot is laid over the table in place, so that there is no moment at which it is empty.

import { decodeRow, type Row, type Subscription } from '../store/records.ts';
import {
  bySlot,
  compareSubscriptions,
  type Grant,
  type Grants,
  grantsOfList,
  grantsOfPacked,
  isRouted,
  packSubscription,
  slotOf,
} from './grant.ts';
import { decodeLogRecord, type LogRecord, type RouteChange, type RouteFlags } from './log-codec.ts';
import { NodeRoutes, nodeSlotOf, wantsAll } from './node-routes.ts';
import { RecentMap } from './recent-map.ts';
import { SessionRows } from './session-rows.ts';
import type { SharedGroup, SharedGroups } from './shared-groups.ts';
import { TopicTrie } from './topic-trie.ts';

/** A persistent session with a matching subscription of QoS 1 or 2: its queue takes messages of QoS 1 and 2. */
export interface SessionTarget {
  readonly clientId: string;
  readonly life: number;
  /** Of all matching subscriptions; its QoS is 1 or 2. */
  readonly grant: Grant;
  /** For messages of this client itself: without No Local subscriptions. Null when those of QoS 1 or 2 all have it. */
  readonly grantOthers: Grant | null;
}

export interface RoutesMatch {
  /** Groups of shared subscriptions, each of which gets the message once. */
  readonly groups: readonly SharedGroup[];
  readonly sessions: SessionTarget[];
  readonly nodesAll: string[];
  readonly nodesQos0: string[];
}

export interface RoutesOptions {
  /** Routes of this node are not kept: its receivers are found in LocalRoutes. */
  readonly selfIncarnation: string;
  readonly groups: SharedGroups;
  /** How many ended lives are remembered; a late entry of a forgotten one costs a refused enqueue ('gone'). */
  readonly endedMax?: number;
}

const ENDED_MAX = 100_000;
const DEAD_NODES_MAX = 1024;

export class Routes {
  /** Version of the log up to which the table has applied it. Set by cluster/route-log. */
  version = 0;
  /** Told of each filter whose receivers changed. Set by the router. */
  onChange: (filter: string) => void = () => {};

  /** The shared subscriptions of all sessions. */
  readonly groups: SharedGroups;
  readonly #self: string;
  readonly #trie = new TopicTrie<number>();
  readonly #sessions = new SessionRows();
  readonly #nodes = new NodeRoutes(
    this.#trie,
    (filter) => this.onChange(filter),
    (clientId, incarnation, isPresent) => this.groups.setPresent(clientId, incarnation, isPresent),
  );
  readonly #ended: RecentMap<string, number>;
  readonly #dead = new RecentMap<string, true>(DEAD_NODES_MAX);
  readonly #unseenNodes = new Set<string>();
  #snapshot = 0;
  /** In all rows, the shared ones apart. */
  #subscriptions = 0;
  #sharedSubscriptions = 0;

  readonly #foundSessions: number[] = [];
  readonly #foundNodes: number[] = [];
  readonly #visit = (value: number): void => {
    if (value >= 0) this.#foundSessions.push(value);
    else this.#foundNodes.push(value);
  };

  constructor(options: RoutesOptions) {
    this.#self = options.selfIncarnation;
    this.groups = options.groups;
    this.groups.onChange = (filter) => this.onChange(filter);
    this.#ended = new RecentMap(options.endedMax ?? ENDED_MAX);
  }

  /** Counts for metrics. */
  get sizes() {
    return {
      sessions: this.#sessions.size,
      filters: this.#trie.filterCount,
      wildcardFilters: this.#trie.wildcardCount,
      nodeRoutes: this.#nodes.size,
      subscriptions: this.#subscriptions,
      sharedSubscriptions: this.#sharedSubscriptions,
    };
  }

  /** Applies a payload of the log and answers what it said. Throws SWARMQ_ERR_RECORD_* and changes nothing then. */
  applyEntry(payload: Buffer): LogRecord {
    const change = decodeLogRecord(payload);
    if (change.kind === 'row') this.applyRow(change.clientId, change.row);
    else if (change.kind === 'ended') this.applyEnded(change.clientId, change.life);
    else if (change.kind === 'routes') this.applyRoutes(change.incarnation, change.changes);
    else this.applyNodeDead(change.incarnation);
    return change;
  }

  /** Takes a row (records.encodeRow) unless one as new is known or its life has ended. Throws SWARMQ_ERR_RECORD_*. */
  applyRow(clientId: string, bytes: Buffer): void {
    const row = decodeRow(bytes);
    const slot = this.#sessions.find(clientId);
    if (row.life <= (this.#ended.get(clientId) ?? 0)) return;
    if (slot >= 0) {
      const life = this.#sessions.lifeOf(slot);
      if (row.life < life || (row.life === life && row.rev <= this.#sessions.revOf(slot))) return;
    }
    this.#putRow(clientId, slot, row, bytes);
  }

  /** Removes a session of this life or an older one, and remembers that the life has ended. */
  applyEnded(clientId: string, life: number): void {
    if (life > (this.#ended.get(clientId) ?? 0)) this.#ended.set(clientId, life);
    const slot = this.#sessions.find(clientId);
    if (slot >= 0 && this.#sessions.lifeOf(slot) <= life) this.#removeRow(slot);
  }

  applyRoutes(incarnation: string, changes: readonly RouteChange[]): void {
    if (incarnation === this.#self || this.#dead.get(incarnation)) return;
    this.#nodes.apply(incarnation, changes);
  }

  /** A node's tombstone stands: its clients are gone from it. Its routes go when it has been cleaned up after. */
  nodeDied(incarnation: string): void {
    this.#nodes.removePresences(incarnation);
  }

  applyNodeDead(incarnation: string): void {
    this.#dead.set(incarnation, true);
    this.#nodes.remove(incarnation);
  }

  /**
   * Begins to lay a snapshot over the table; what is loaded until endSnapshot() is right whatever was known, and what
   * is not loaded disappears there. `isOtherHistory`: the store has lost its tail, so what ended in it may live again.
   * Beginning anew gives up an unfinished one.
   */
  beginSnapshot(isOtherHistory: boolean): void {
    this.#snapshot++;
    this.#unseenNodes.clear();
    for (const incarnation of this.#nodes.incarnations()) this.#unseenNodes.add(incarnation);
    if (!isOtherHistory) return;
    this.#ended.clear();
    this.#dead.clear();
  }

  /** Throws SWARMQ_ERR_RECORD_* for a row that cannot be read. */
  loadRow(clientId: string, bytes: Buffer): void {
    const slot = this.#sessions.find(clientId);
    if (slot >= 0 && this.#sessions.holds(slot, bytes)) this.#sessions.stamp(slot, this.#snapshot);
    else this.#putRow(clientId, slot, decodeRow(bytes), bytes);
  }

  /** All routes of one node that is not dead. */
  loadNode(incarnation: string, routes: ReadonlyMap<string, RouteFlags>): void {
    if (incarnation === this.#self) return;
    this.#unseenNodes.delete(incarnation);
    this.#nodes.replace(incarnation, routes);
  }

  endSnapshot(): void {
    for (const slot of this.#sessions.unstamped(this.#snapshot)) this.#removeRow(slot);
    for (const incarnation of this.#unseenNodes) this.#nodes.remove(incarnation);
    this.#unseenNodes.clear();
  }

  /** The row as the table knows it, null for an unknown session. */
  sessionRow(clientId: string): Row | null {
    const slot = this.#sessions.find(clientId);
    return slot < 0 ? null : this.#sessions.rowOf(slot);
  }

  /** What a node wants of a filter, as the table knows it. */
  nodeFlags(incarnation: string, filter: string): RouteFlags {
    return this.#nodes.flagsOf(incarnation, filter);
  }

  match(topic: string): RoutesMatch {
    this.#foundSessions.length = 0;
    this.#foundNodes.length = 0;
    this.#trie.match(topic, this.#visit);
    const groups = this.groups.match(topic);
    const match: RoutesMatch = { sessions: [], nodesAll: [], nodesQos0: [], groups };
    if (this.#foundSessions.length > 0) this.#addSessions(topic, match.sessions);
    if (this.#foundNodes.length > 0) this.#addNodes(match);
    return match;
  }

  /** What match() would say of one session. */
  matchSession(clientId: string, topic: string): SessionTarget | null {
    const slot = this.#sessions.find(clientId);
    if (slot < 0) return null;
    const row = this.#sessions.rowOf(slot);
    return row.persistent ? this.#targetOf(slot, grantsOfList(row.subscriptions, topic)) : null;
  }

  #addSessions(topic: string, targets: SessionTarget[]): void {
    const packed = bySlot(this.#foundSessions);
    for (let from = 0; from < packed.length; ) {
      const slot = slotOf(packed[from]!);
      let to = from + 1;
      while (to < packed.length && slotOf(packed[to]!) === slot) to++;
      const grants = this.#sessions.isPlain(slot)
        ? grantsOfPacked(packed, from, to)
        : grantsOfList(this.#sessions.rowOf(slot).subscriptions, topic);
      const target = this.#targetOf(slot, grants);
      if (target !== null) targets.push(target);
      from = to;
    }
  }

  #targetOf(slot: number, { grant, grantOthers }: Grants): SessionTarget | null {
    if (grant === null || grant.qos === 0) return null;
    return {
      clientId: this.#sessions.clientIdOf(slot),
      life: this.#sessions.lifeOf(slot),
      grant,
      grantOthers: grantOthers === null || grantOthers.qos === 0 ? null : grantOthers,
    };
  }

  #addNodes(match: RoutesMatch): void {
    // Numbers of one node lie together when sorted, that of 'a' before that of '0'.
    const packed = bySlot(this.#foundNodes);
    let last = -1;
    for (let at = 0; at < packed.length; at++) {
      const one = packed[at]!;
      const slot = nodeSlotOf(one);
      if (slot === last) continue;
      last = slot;
      (wantsAll(one) ? match.nodesAll : match.nodesQos0).push(this.#nodes.incarnationOf(slot));
    }
  }

  #putRow(clientId: string, known: number, row: Row, bytes: Buffer): void {
    const knownRow = known < 0 ? null : this.#sessions.rowOf(known);
    const before = knownRow === null ? NOTHING : receivingOf(knownRow);
    if (knownRow !== null) this.#count(knownRow, -1);
    this.#count(row, 1);
    const after = receivingOf(row);
    // Matches remember the life: with another one every filter of the row is to be looked up again.
    const isSameLife = known >= 0 && this.#sessions.lifeOf(known) === row.life;
    const { gone, come } = compareSubscriptions(before, after);
    const slot = known < 0 ? this.#sessions.add(clientId) : known;
    this.#sessions.put(slot, row, bytes, isPlainRow(after), this.#snapshot);
    this.groups.set(clientId, row.life, row.persistent, row.subscriptions);
    for (const one of gone) if (one.qos > 0) this.#trie.remove(one.filter, packSubscription(slot, one));
    for (const one of come) if (one.qos > 0) this.#trie.add(one.filter, packSubscription(slot, one));
    for (const one of gone) this.onChange(one.filter);
    for (const one of isSameLife ? come : after) this.onChange(one.filter);
  }

  #count(row: Row, sign: 1 | -1): void {
    for (const { filter } of row.subscriptions) {
      if (isRouted(filter)) this.#subscriptions += sign;
      else this.#sharedSubscriptions += sign;
    }
  }

  #removeRow(slot: number): void {
    const row = this.#sessions.rowOf(slot);
    const before = receivingOf(row);
    this.#count(row, -1);
    this.groups.remove(this.#sessions.clientIdOf(slot));
    for (const one of before) {
      if (one.qos > 0) this.#trie.remove(one.filter, packSubscription(slot, one));
    }
    this.#sessions.remove(slot);
    for (const one of before) this.onChange(one.filter);
  }
}

const NOTHING: readonly Subscription[] = [];

/** The subscriptions by which a queue may receive: none of a session that ends with its connection. */
function receivingOf(row: Row): readonly Subscription[] {
  return row.persistent ? row.subscriptions.filter((one) => isRouted(one.filter)) : NOTHING;
}

/** Those of QoS 0 are not in the trie, and identifiers do not fit into its numbers: such rows are read at a match. */
function isPlainRow(subscriptions: readonly Subscription[]): boolean {
  if (subscriptions.some((one) => one.subscriptionId !== 0)) return false;
  return subscriptions.every((one) => one.qos > 0) || subscriptions.every((one) => one.qos === 0);
}
