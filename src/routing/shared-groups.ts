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
import { GroupKeys } from './group-keys.ts';
import { leastLoaded, MemberLoad } from './group-load.ts';
import { best, hashOf } from './key-scores.ts';
import { TopicTrie } from './topic-trie.ts';

/** A session in a group. Removed ones are never changed again. */
export interface GroupMember {
  readonly group: SharedGroup;
  readonly clientId: string;
  /** hashOf(clientId) */
  readonly hash: number;
  life: number;
  grant: Grant;
  /** It outlives its connection: it may be given messages while it is away. */
  isPersistent: boolean;
  /** Incarnation of the node that it is connected to, '' for none. */
  node: string;
  /** Another number each time that it comes or goes away. */
  stay: number;
  readonly load: MemberLoad;
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
  /** Where messages of one key go to one member; null for the strategies without keys. */
  readonly keys: GroupKeys<GroupMember> | null;

  constructor(filter: string, strategy: GroupStrategy, options: SharedGroupsOptions) {
    this.filter = filter;
    this.strategy = strategy;
    const hasKeys = strategy === 'sticky' || strategy.startsWith('hash');
    this.keys = hasKeys
      ? new GroupKeys({
          max: options.keysMax,
          onForgotten: (count) => options.onKeysForgotten(count),
          onNews: () => options.onKeyNews(this),
        })
      : null;
  }
}

export interface SharedGroupsOptions {
  readonly selfIncarnation: string;
  readonly random: Random;
  /** By the name of the group. */
  strategyOf(group: string): GroupStrategy;
  monotonicMs(): number;
  /** Unacknowledged messages of a client's session on this node, -1 where it has none. */
  loadHere(clientId: string): number;
  /** limits.maxGroupKeys: keys of one group whose member is remembered. */
  readonly keysMax: number;
  /** So many keys were forgotten because of that. */
  onKeysForgotten(count: number): void;
  /** Other nodes ought to hear of keys of this group: see GroupKeys.takeNews. */
  onKeyNews(group: SharedGroup): void;
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
  readonly #hereOf = ({ node, clientId }: GroupMember): number =>
    node === this.#options.selfIncarnation ? this.#options.loadHere(clientId) : -1;
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

  /** Keys whose member is remembered, of all groups; for metrics. */
  get keyCount(): number {
    let count = 0;
    for (const { keys } of this.#groups.values()) count += keys?.size ?? 0;
    return count;
  }

  /** Groups with keys. */
  *keyed(): IterableIterator<SharedGroup> {
    for (const group of this.#groups.values()) if (group.keys !== null) yield group;
  }

  /** Another node has given keys of a group to this client. One that is no member, as far as is known here, gets none. */
  hearKeys(filter: string, clientId: string, rank: number, keys: string[]): void {
    const group = this.#groups.get(filter);
    const member = group?.members.find((one) => one.clientId === clientId);
    if (member !== undefined) group?.keys?.hear({ member, rank, keys });
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
    const { online, keys } = group;
    // Also the only one there is has a key from now on: others may join.
    if (online.length === 1 && keys === null) return online[0]!;
    const candidates = online.length > 0 || isQos0 ? online : group.members.filter(isWaiting);
    if (candidates.length === 0) return null;
    if (seed !== '' && !group.strategy.startsWith('hash')) return best(candidates, seed);
    if (keys !== null) return keys.choose(keyOf(group, publisher, topic), candidates);
    return this.#chooseAny(group, candidates, isQos0);
  }

  /** By a strategy without keys. */
  #chooseAny(group: SharedGroup, candidates: readonly GroupMember[], isQos0: boolean): GroupMember {
    switch (group.strategy) {
      case 'random':
        return candidates[this.#options.random.below(candidates.length)]!;
      case 'least-in-flight':
        return this.#leastLoaded(group, candidates, isQos0);
      case 'local-first':
        return this.#localFirst(group, candidates);
      default:
        return nextOf(group, candidates);
    }
  }

  /** The store has answered a message for a member, whose queue then had `waiting` unacknowledged (-1: was not told). */
  answered(member: GroupMember, waiting: number): void {
    member.load.pending--;
    if (waiting >= 0) member.load.told(waiting, this.#options.monotonicMs());
  }

  #leastLoaded(group: SharedGroup, candidates: readonly GroupMember[], isQos0: boolean): GroupMember {
    const start = group.turn++ % candidates.length;
    // What a message of QoS 0 meets nobody tells.
    const nowMs = isQos0 ? null : this.#options.monotonicMs();
    return leastLoaded(candidates, start, nowMs, this.#hereOf);
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
      group = new SharedGroup(filter, this.#options.strategyOf(parts.group), this.#options);
      this.#groups.set(filter, group);
      this.#trie.add(parts.filter, group);
      this.onChange(parts.filter);
    }
    const member: GroupMember = {
      group,
      clientId,
      hash: hashOf(clientId),
      life,
      grant: grantOf(subscription),
      isPersistent,
      node: '',
      stay: 0,
      load: new MemberLoad(),
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
    const { online, keys } = member.group;
    const isComing = member.node === '' && node !== '';
    if (isComing) online.push(member);
    else if (member.node !== '' && node === '') drop(online, member);
    if ((member.node === '') !== (node === '')) member.stay++;
    member.node = node;
    if (!isComing) return;
    member.load.came();
    keys?.came(member);
  }
}

/** What messages have in common that are to go to one member. */
function keyOf({ strategy, filter }: SharedGroup, publisher: string, topic: string): string {
  if (strategy === 'hash-by-topic') return topic;
  return strategy === 'sticky' ? filter : publisher;
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
