// The subscriptions of connections on this node, of clean and persistent sessions alike: who gets a message live. From
// them follow the node's own routes, by which other nodes know what to send here; a change of such a route is reported
// and appended to the log by the caller. It knows no socket: a receiver is an object with a client id.

import type { Subscription } from '../store/records.ts';
import {
  bySlot,
  compareSubscriptions,
  type Grant,
  grantsOfList,
  grantsOfPacked,
  isRouted,
  packSubscription,
  slotOf,
} from './grant.ts';
import type { RouteChange, RouteFlags } from './log-codec.ts';
import { presenceRoute } from './node-routes.ts';
import { TopicTrie } from './topic-trie.ts';

/** A connected session on this node. */
export interface LiveReceiver {
  readonly clientId: string;
  /** It has a queue: its QoS 1 and 2 messages come by that. */
  readonly persistent: boolean;
}

export interface LocalTarget {
  readonly receiver: LiveReceiver;
  readonly grant: Grant;
  /** For messages of this client itself: without No Local subscriptions. */
  readonly grantOthers: Grant | null;
  /** QoS 1 and 2 messages come by its queue, only QoS 0 goes live. */
  readonly queued: boolean;
  /** The same for messages of this client itself. */
  readonly queuedOthers: boolean;
}

interface Connected {
  readonly slot: number;
  readonly isPersistent: boolean;
  subscriptions: readonly Subscription[];
  /** Without identifiers: what the trie's numbers say is all there is. */
  isPlain: boolean;
  /** It has shared subscriptions. */
  isMember: boolean;
}

/**
 * Counts of a filter in one number: its live subscriptions times 2^26, plus the others. A small integer for the usual
 * filter, exact for any.
 */
const LIVE = 2 ** 26;

export class LocalRoutes {
  /** Told of each filter whose receivers changed. Set by the router. */
  onChange: (filter: string) => void = () => {};
  /** Told of each client with shared subscriptions that is connected here, or is no more. Set by the router. */
  onPresence: (clientId: string, isPresent: boolean) => void = () => {};

  readonly #onRoutes: (changes: RouteChange[]) => void;
  readonly #connected = new Map<LiveReceiver, Connected>();
  readonly #receivers: (LiveReceiver | null)[] = [];
  readonly #free: number[] = [];
  readonly #trie = new TopicTrie<number>();
  readonly #counts = new Map<string, number>();
  readonly #found: number[] = [];
  readonly #visit = (value: number): void => {
    this.#found.push(value);
  };

  /** `onRoutes` is told of changes of the node's routes, those of one set() or remove() together, in order. */
  constructor(options: { onRoutes: (changes: RouteChange[]) => void }) {
    this.#onRoutes = options.onRoutes;
  }

  get receiverCount(): number {
    return this.#connected.size;
  }

  /** Distinct filters: the node's routes. */
  get filterCount(): number {
    return this.#counts.size;
  }

  /** Puts the receiver's subscriptions in the place of those it had; the list is kept and not to be changed. */
  set(receiver: LiveReceiver, subscriptions: readonly Subscription[]): void {
    const entry = this.#connected.get(receiver) ?? this.#connect(receiver);
    const { gone, come } = compareSubscriptions(entry.subscriptions, subscriptions);
    entry.subscriptions = subscriptions;
    entry.isPlain = subscriptions.every((one) => one.subscriptionId === 0);
    const isMember = subscriptions.some((one) => !isRouted(one.filter));
    this.#change(receiver, entry, gone, come, isMember);
  }

  remove(receiver: LiveReceiver): void {
    const entry = this.#connected.get(receiver);
    if (entry === undefined) return;
    this.#change(receiver, entry, entry.subscriptions, [], false);
    this.#connected.delete(receiver);
    this.#receivers[entry.slot] = null;
    this.#free.push(entry.slot);
  }

  /** What this node wants of a filter. */
  flagsOf(filter: string): RouteFlags {
    return flagsOfCount(this.#counts.get(filter) ?? 0);
  }

  /** All routes of this node. */
  *routes(): Generator<RouteChange> {
    for (const [filter, count] of this.#counts) yield { filter, flags: flagsOfCount(count) };
  }

  match(topic: string): LocalTarget[] {
    this.#found.length = 0;
    this.#trie.match(topic, this.#visit);
    const targets: LocalTarget[] = [];
    if (this.#found.length === 0) return targets;
    const packed = bySlot(this.#found);
    for (let from = 0; from < packed.length; ) {
      const slot = slotOf(packed[from]!);
      let to = from + 1;
      while (to < packed.length && slotOf(packed[to]!) === slot) to++;
      const target = this.#targetOf(slot, topic, packed, from, to);
      if (target !== null) targets.push(target);
      from = to;
    }
    return targets;
  }

  #targetOf(
    slot: number,
    topic: string,
    packed: ArrayLike<number>,
    from: number,
    to: number,
  ): LocalTarget | null {
    const receiver = this.#receivers[slot]!;
    const entry = this.#connected.get(receiver)!;
    const { grant, grantOthers } = entry.isPlain
      ? grantsOfPacked(packed, from, to)
      : grantsOfList(entry.subscriptions, topic);
    if (grant === null) return null;
    return {
      receiver,
      grant,
      grantOthers,
      queued: entry.isPersistent && grant.qos > 0,
      queuedOthers: entry.isPersistent && grantOthers !== null && grantOthers.qos > 0,
    };
  }

  #connect(receiver: LiveReceiver): Connected {
    const slot = this.#free.pop() ?? this.#receivers.length;
    const entry = {
      slot,
      isPersistent: receiver.persistent,
      subscriptions: [],
      isPlain: true,
      isMember: false,
    };
    this.#receivers[slot] = receiver;
    this.#connected.set(receiver, entry);
    return entry;
  }

  #change(
    receiver: LiveReceiver,
    entry: Connected,
    gone: readonly Subscription[],
    come: readonly Subscription[],
    isMember: boolean,
  ): void {
    // A subscription with new options is in both lists; its route is reported only if it is another one afterwards.
    const before = new Map<string, RouteFlags>();
    for (const one of gone) {
      if (!isRouted(one.filter)) continue;
      this.#trie.remove(one.filter, packSubscription(entry.slot, one));
      this.#count(one, entry, -1, before);
    }
    for (const one of come) {
      if (!isRouted(one.filter)) continue;
      this.#trie.add(one.filter, packSubscription(entry.slot, one));
      this.#count(one, entry, 1, before);
    }
    const changes: RouteChange[] = [];
    for (const [filter, flagsBefore] of before) {
      this.onChange(filter);
      const flags = this.flagsOf(filter);
      if (flags !== flagsBefore) changes.push({ filter, flags });
    }
    if (isMember !== entry.isMember) changes.push(this.#setMember(receiver, entry, isMember));
    if (changes.length > 0) this.#onRoutes(changes);
  }

  #setMember(receiver: LiveReceiver, entry: Connected, isMember: boolean): RouteChange {
    entry.isMember = isMember;
    const route = presenceRoute(receiver.clientId);
    const count = (this.#counts.get(route) ?? 0) + (isMember ? LIVE : -LIVE);
    if (count === 0) this.#counts.delete(route);
    else this.#counts.set(route, count);
    this.onPresence(receiver.clientId, count > 0);
    return { filter: route, flags: flagsOfCount(count) };
  }

  #count(one: Subscription, entry: Connected, step: 1 | -1, before: Map<string, RouteFlags>): void {
    const { filter } = one;
    const count = this.#counts.get(filter) ?? 0;
    if (!before.has(filter)) before.set(filter, flagsOfCount(count));
    const next = count + step * (entry.isPersistent && one.qos > 0 ? 1 : LIVE);
    if (next === 0) this.#counts.delete(filter);
    else this.#counts.set(filter, next);
  }
}

function flagsOfCount(count: number): RouteFlags {
  if (count === 0) return '';
  return count >= LIVE ? 'a' : '0';
}
