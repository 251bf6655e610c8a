// Groups of shared subscriptions and the choice of a member: one message goes to one of those who share the filter, on
// whichever nodes they are connected. Membership follows from the rows of subscriptions, presence from what each node
// announces among its routes, so that choosing needs nobody else. A group is an object that a match refers to and that
// changes in place: the choice is made anew for each message, among those who are members at that moment.
// Invariant: while a member is connected somewhere, no message is given to one that is not.

import type { GroupStrategy } from '../config/schema.ts';
import { parseSharedFilter } from '../mqtt/topic.ts';
import type { Subscription } from '../store/records.ts';
import type { Random } from '../util/random.ts';
import type { Grant } from './grant.ts';
import { RecentMap } from './recent-map.ts';
import { TopicTrie } from './topic-trie.ts';

/** Keys of one group whose member is remembered, for the strategies by hash. */
const KEYS_MAX = 20_000;
/** What a member has in flight was told with the last message for it; later it is taken for nothing. */
const LOAD_KNOWN_MS = 500;

/** A session in a group. Removed ones are never changed again. */
export interface GroupMember {
  readonly group: SharedGroup;
  readonly clientId: string;
  life: number;
  grant: Grant;
  /** It outlives its connection: it may be given messages while it is away. */
  isPersistent: boolean;
  /** Incarnation of the node that it is connected to, '' for none. */
  node: string;
  /** Messages given to it by this node that the store has not answered yet. */
  pending: number;
  /** Unacknowledged in its queue as the last answer told, and when that was (monotonic ms). */
  waiting: number;
  toldAtMs: number;
}

/** Those who share one filter under one name. */
export class SharedGroup {
  /** `$share/<group>/<filter>` */
  readonly filter: string;
  readonly strategy: GroupStrategy;
  readonly members: GroupMember[] = [];
  /** Those of them that are connected. */
  readonly online: GroupMember[] = [];
  turn = 0;
  /** The one that a sticky group is at. */
  current: GroupMember | null = null;
  keys: RecentMap<string, GroupMember> | null = null;

  constructor(filter: string, strategy: GroupStrategy) {
    this.filter = filter;
    this.strategy = strategy;
  }
}

export interface SharedGroupsOptions {
  readonly selfIncarnation: string;
  readonly random: Random;
  /** By the name of the group. */
  strategyOf(group: string): GroupStrategy;
  monotonicMs(): number;
}

const NO_GROUPS: readonly SharedGroup[] = Object.freeze([]);

export class SharedGroups {
  /** Told of each filter whose groups come or go. Set by the routes. */
  onChange: (filter: string) => void = () => {};

  readonly #options: SharedGroupsOptions;
  readonly #trie = new TopicTrie<SharedGroup>();
  readonly #groups = new Map<string, SharedGroup>();
  /** Memberships of each session that has any. */
  readonly #bySession = new Map<string, GroupMember[]>();
  /** Nodes that say they have the client connected, the last one to say so at the end. */
  readonly #present = new Map<string, string[]>();
  readonly #found: SharedGroup[] = [];
  readonly #visit = (group: SharedGroup): void => {
    this.#found.push(group);
  };

  constructor(options: SharedGroupsOptions) {
    this.#options = options;
  }

  /** Groups with members. */
  get size(): number {
    return this.#groups.size;
  }

  /** The group of `$share/<group>/<filter>`, undefined when it has no members. */
  get(filter: string): SharedGroup | undefined {
    return this.#groups.get(filter);
  }

  /** Groups whose filter matches the topic. */
  match(topic: string): readonly SharedGroup[] {
    if (this.#groups.size === 0) return NO_GROUPS;
    this.#found.length = 0;
    this.#trie.match(topic, this.#visit);
    return this.#found.length === 0 ? NO_GROUPS : [...this.#found];
  }

  /** Makes the memberships of a session those of `subscriptions`, of which others than shared ones are passed over. */
  set(clientId: string, life: number, isPersistent: boolean, subscriptions: readonly Subscription[]): void {
    const known = this.#bySession.get(clientId);
    const shared = subscriptions.filter((one) => one.filter.startsWith('$share/'));
    if (known === undefined && shared.length === 0) return;
    const wanted = new Map(shared.map((one) => [one.filter, one]));
    const kept: GroupMember[] = [];
    for (const member of known ?? []) {
      const one = wanted.get(member.group.filter);
      if (one === undefined) {
        this.#leave(member);
        continue;
      }
      wanted.delete(one.filter);
      member.life = life;
      member.isPersistent = isPersistent;
      member.grant = grantOf(one);
      kept.push(member);
    }
    for (const one of wanted.values()) {
      const member = this.#join(one, clientId, life, isPersistent);
      if (member !== null) kept.push(member);
    }
    if (kept.length === 0) this.#bySession.delete(clientId);
    else this.#bySession.set(clientId, kept);
  }

  remove(clientId: string): void {
    for (const member of this.#bySession.get(clientId) ?? []) this.#leave(member);
    this.#bySession.delete(clientId);
  }

  /** A node says that the client, who is a member of groups, is connected to it, or is no more. */
  setPresent(clientId: string, incarnation: string, isPresent: boolean): void {
    const others = (this.#present.get(clientId) ?? []).filter((one) => one !== incarnation);
    const nodes = isPresent ? [...others, incarnation] : others;
    if (nodes.length === 0) this.#present.delete(clientId);
    else this.#present.set(clientId, nodes);
    const node = nodes.at(-1) ?? '';
    for (const member of this.#bySession.get(clientId) ?? []) this.#place(member, node);
  }

  /**
   * The member that gets a message, or null. At QoS 0 only one that is connected; else, where none is, one that has a
   * queue and will be back. `seed` names the message where the same choice is to be made again.
   */
  choose(
    group: SharedGroup,
    publisher: string,
    topic: string,
    isQos0: boolean,
    seed = '',
  ): GroupMember | null {
    const { online } = group;
    if (online.length === 1) return online[0]!;
    const candidates = online.length > 0 || isQos0 ? online : group.members.filter(isWaiting);
    if (candidates.length < 2) return candidates[0] ?? null;
    if (seed !== '' && !group.strategy.startsWith('hash')) return best(candidates, seed);
    switch (group.strategy) {
      case 'round-robin':
        return nextOf(group, candidates);
      case 'random':
        return candidates[this.#options.random.below(candidates.length)]!;
      case 'sticky':
        if (group.current === null || !candidates.includes(group.current)) {
          group.current = best(candidates, group.filter);
        }
        return group.current;
      case 'hash-by-publisher':
        return byKey(group, candidates, publisher);
      case 'hash-by-topic':
        return byKey(group, candidates, topic);
      case 'least-in-flight':
        return this.#leastLoaded(group, candidates);
      case 'local-first':
        return this.#localFirst(group, candidates);
    }
  }

  /** The store has answered a message for a member, whose queue then had `waiting` unacknowledged (-1: was not told). */
  answered(member: GroupMember, waiting: number): void {
    member.pending--;
    if (waiting < 0) return;
    member.waiting = waiting;
    member.toldAtMs = this.#options.monotonicMs();
  }

  #leastLoaded(group: SharedGroup, candidates: readonly GroupMember[]): GroupMember {
    const staleMs = this.#options.monotonicMs() - LOAD_KNOWN_MS;
    const start = group.turn++ % candidates.length;
    let least = candidates[start]!;
    let leastLoad = Number.POSITIVE_INFINITY;
    for (let step = 0; step < candidates.length; step++) {
      const member = candidates[(start + step) % candidates.length]!;
      const load = member.pending + (member.toldAtMs < staleMs ? 0 : member.waiting);
      if (load >= leastLoad) continue;
      least = member;
      leastLoad = load;
    }
    return least;
  }

  #localFirst(group: SharedGroup, candidates: readonly GroupMember[]): GroupMember {
    const { selfIncarnation } = this.#options;
    const start = group.turn++ % candidates.length;
    for (let step = 0; step < candidates.length; step++) {
      const member = candidates[(start + step) % candidates.length]!;
      if (member.node !== selfIncarnation) continue;
      group.turn = start + step + 1;
      return member;
    }
    return candidates[start]!;
  }

  #join(
    subscription: Subscription,
    clientId: string,
    life: number,
    isPersistent: boolean,
  ): GroupMember | null {
    const { filter } = subscription;
    const parts = parseSharedFilter(filter);
    if (parts === null) return null;
    let group = this.#groups.get(filter);
    if (group === undefined) {
      group = new SharedGroup(filter, this.#options.strategyOf(parts.group));
      this.#groups.set(filter, group);
      this.#trie.add(parts.filter, group);
      this.onChange(parts.filter);
    }
    const member: GroupMember = {
      group,
      clientId,
      life,
      grant: grantOf(subscription),
      isPersistent,
      node: '',
      pending: 0,
      waiting: 0,
      toldAtMs: 0,
    };
    group.members.push(member);
    this.#place(member, this.#present.get(clientId)?.at(-1) ?? '');
    return member;
  }

  #leave(member: GroupMember): void {
    const { group } = member;
    this.#place(member, '');
    drop(group.members, member);
    if (group.members.length > 0) return;
    this.#groups.delete(group.filter);
    const parts = parseSharedFilter(group.filter);
    if (parts === null) return;
    this.#trie.remove(parts.filter, group);
    this.onChange(parts.filter);
  }

  #place(member: GroupMember, node: string): void {
    const { online } = member.group;
    if (member.node === '' && node !== '') online.push(member);
    else if (member.node !== '' && node === '') drop(online, member);
    member.node = node;
  }
}

const isWaiting = (member: GroupMember): boolean => member.isPersistent && member.grant.qos > 0;

function grantOf({ qos, retainAsPublished, subscriptionId }: Subscription): Grant {
  return { qos, retainAsPublished, subscriptionIds: subscriptionId === 0 ? null : [subscriptionId] };
}

function drop<T>(list: T[], one: T): void {
  const at = list.indexOf(one);
  if (at >= 0) list.splice(at, 1);
}

function nextOf(group: SharedGroup, candidates: readonly GroupMember[]): GroupMember {
  const member = candidates[group.turn % candidates.length]!;
  group.turn = (group.turn % candidates.length) + 1;
  return member;
}

/** A key stays with its member while that is there; a new one goes where all nodes would put it. */
function byKey(group: SharedGroup, candidates: readonly GroupMember[], key: string): GroupMember {
  group.keys ??= new RecentMap(KEYS_MAX);
  const known = group.keys.get(key);
  // A member that has left its group is in no list of candidates.
  if (known !== undefined && candidates.includes(known)) return known;
  const member = best(candidates, key);
  group.keys.set(key, member);
  return member;
}

/** The highest of the members' scores for a key: when one goes, only its keys move. */
function best(candidates: readonly GroupMember[], key: string): GroupMember {
  let winner = candidates[0]!;
  let highest = -1;
  for (const member of candidates) {
    const score = scoreOf(key, member.clientId);
    if (score <= highest) continue;
    winner = member;
    highest = score;
  }
  return winner;
}

/** FNV-1a over both texts, mixed so that every bit depends on every character. */
function scoreOf(key: string, clientId: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ key.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ 0x2f, 0x01000193);
  for (let at = 0; at < clientId.length; at++) {
    hash = Math.imul(hash ^ clientId.charCodeAt(at), 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
