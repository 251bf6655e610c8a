// What a receiver's matching subscriptions grant together, and how a subscription is packed into one number. The tries
// hold such numbers instead of objects: a slot (the receiver's place in its table) and the few options that decide on
// a delivery. A receiver with subscription identifiers is computed from its list instead; the numbers cannot hold them.

import { topicMatches } from '../mqtt/topic.ts';
import type { Subscription } from '../store/records.ts';

/** What all matching subscriptions of one receiver grant together [MQTT-3.3.5-1]. */
export interface Grant {
  /** Highest QoS among them. */
  readonly qos: 0 | 1 | 2;
  /** Any of them asked for the retain flag as published. */
  readonly retainAsPublished: boolean;
  /** The Subscription Identifiers of all of them [MQTT-3.3.4-3], null when they have none. */
  readonly subscriptionIds: readonly number[] | null;
}

/** Grants for messages of any publisher, and for messages of the receiver itself (without No Local ones). */
export interface Grants {
  readonly grant: Grant | null;
  readonly grantOthers: Grant | null;
}

const QOS_MASK = 3;
const NO_LOCAL = 4;
const RETAIN_AS_PUBLISHED = 8;
const SLOT_SHIFT = 4;
/** Slots there are: a packed number stays a small integer of V8. */
export const SLOT_LIMIT = 2 ** 27;

export function packSubscription(slot: number, subscription: Subscription): number {
  return (
    (slot << SLOT_SHIFT) |
    subscription.qos |
    (subscription.noLocal ? NO_LOCAL : 0) |
    (subscription.retainAsPublished ? RETAIN_AS_PUBLISHED : 0)
  );
}

export const slotOf = (packed: number): number => packed >>> SLOT_SHIFT;

/** Packed numbers so that those of one slot lie together; one alone, which is the usual, is the list itself. */
export function bySlot(list: readonly number[]): ArrayLike<number> {
  return list.length < 2 ? list : new Int32Array(list).sort();
}

/** Grants without identifiers are shared by all receivers. */
const PLAIN: readonly Grant[] = [0, 1, 2, 0, 1, 2].map((qos, index) =>
  Object.freeze({ qos: qos as 0 | 1 | 2, retainAsPublished: index > 2, subscriptionIds: null }),
);

function plainGrant(qos: number, retainAsPublished: boolean): Grant {
  return PLAIN[retainAsPublished ? qos + 3 : qos]!;
}

/** Grants of the packed subscriptions in `[from, to)`, all of one receiver. */
export function grantsOfPacked(packed: ArrayLike<number>, from: number, to: number): Grants {
  let qos = 0;
  let retainAsPublished = false;
  let othersQos = -1;
  let othersRetain = false;
  for (let at = from; at < to; at++) {
    const one = packed[at]!;
    const retain = (one & RETAIN_AS_PUBLISHED) !== 0;
    qos = Math.max(qos, one & QOS_MASK);
    retainAsPublished ||= retain;
    if ((one & NO_LOCAL) !== 0) continue;
    othersQos = Math.max(othersQos, one & QOS_MASK);
    othersRetain ||= retain;
  }
  return {
    grant: plainGrant(qos, retainAsPublished),
    grantOthers: othersQos < 0 ? null : plainGrant(othersQos, othersRetain),
  };
}

/** Grants of those among a receiver's subscriptions that match the topic; shared ones do not count. */
export function grantsOfList(subscriptions: readonly Subscription[], topic: string): Grants {
  const matching = subscriptions.filter((one) => isRouted(one.filter) && topicMatches(one.filter, topic));
  return { grant: grantOf(matching), grantOthers: grantOf(matching.filter((one) => !one.noLocal)) };
}

function grantOf(subscriptions: readonly Subscription[]): Grant | null {
  if (subscriptions.length === 0) return null;
  let qos: 0 | 1 | 2 = 0;
  let retainAsPublished = false;
  let ids: number[] | null = null;
  for (const one of subscriptions) {
    if (one.qos > qos) qos = one.qos;
    retainAsPublished ||= one.retainAsPublished;
    if (one.subscriptionId === 0) continue;
    ids ??= [];
    ids.push(one.subscriptionId);
  }
  if (ids === null) return plainGrant(qos, retainAsPublished);
  return Object.freeze({ qos, retainAsPublished, subscriptionIds: ids });
}

/** False for shared subscriptions, which are no receivers by their own filter. */
export function isRouted(filter: string): boolean {
  return !filter.startsWith('$share/');
}

/**
 * The subscriptions that went from `before` and that came with `after`; one whose options changed is in both.
 * Lists that grow at their end, the usual case, are compared without a Map.
 */
export function compareSubscriptions(
  before: readonly Subscription[],
  after: readonly Subscription[],
): { gone: Subscription[]; come: Subscription[] } {
  let same = 0;
  while (same < before.length && same < after.length && isSameSubscription(before[same]!, after[same]!))
    same++;
  const gone: Subscription[] = [];
  const come: Subscription[] = [];
  if (same === before.length) return { gone, come: after.slice(same) };
  const old = new Map<string, Subscription>();
  for (let at = same; at < before.length; at++) old.set(before[at]!.filter, before[at]!);
  for (let at = same; at < after.length; at++) {
    const one = after[at]!;
    const previous = old.get(one.filter);
    if (previous !== undefined && isSameSubscription(previous, one)) old.delete(one.filter);
    else come.push(one);
  }
  for (const one of old.values()) gone.push(one);
  return { gone, come };
}

/** Whether a SUBSCRIBE asks for what there is. */
export function isUnchanged(one: Subscription, other: Subscription): boolean {
  return isSameSubscription(one, other) && one.retainHandling === other.retainHandling;
}

/** Whether they grant the same to a live message. */
export function isSameSubscription(one: Subscription, other: Subscription): boolean {
  return (
    one === other ||
    (one.filter === other.filter &&
      one.qos === other.qos &&
      one.noLocal === other.noLocal &&
      one.retainAsPublished === other.retainAsPublished &&
      one.subscriptionId === other.subscriptionId)
  );
}
