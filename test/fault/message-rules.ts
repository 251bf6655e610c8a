// The rules of messages and subscriptions: what was acknowledged comes, nothing comes that was not sent or not asked for,
// at QoS 2 once, in order, and not when it has expired.

import { topicMatches } from '../../src/mqtt/topic.ts';
import { type Finding, onEachEra, type Promises, type Rule } from './promises.ts';
import {
  type Delivery,
  type Era,
  faultsBetween,
  isCertain,
  isFor,
  type Message,
  type Reading,
  type Subscription,
  sentBetween,
} from './reading.ts';

/** A session without a queue has got a message so long after its ack, when nothing holds it up. */
const LIVE_MS = 5000;

/** The subscriptions of an era by the topics that they match. */
function byTopicOf(era: Era): (message: Message) => Subscription[] {
  // By publisher, topic and QoS: No Local makes it a matter of the publisher too.
  const known = new Map<number, Subscription[]>();
  return (message) => {
    let found = known.get(message.line);
    if (found === undefined) {
      found = era.subscriptions.filter((one) => isFor(one, message, era.client));
      known.set(message.line, found);
    }
    return found;
  };
}

/** Nothing is delivered that was not sent before, at a higher QoS, or as retained when it was not. */
export const sent: Rule = (reading) => {
  const findings: Finding[] = reading.unknown.map(({ client, at, id, topic }) => ({
    what: `${client} got ${id} on ${topic}, which nobody sent`,
    client,
    at,
  }));
  const others = onEachEra(reading, ({ client, deliveries, shared }) => {
    const found: Finding[] = [];
    for (const { message, qos, isRetained, ms } of [...deliveries, ...shared]) {
      if (qos <= message.qos && (!isRetained || message.retain)) continue;
      const how = qos > message.qos ? `at QoS ${qos}` : 'as retained';
      found.push({ what: `${client} got ${name(message)} ${how}, as it was not sent`, client, at: ms });
    }
    return found;
  });
  return findings.concat(others);
};

export const name = ({ id, topic, qos }: Message): string => `${id} (${topic}, QoS ${qos})`;

/**
 * Whether the subscriber had a matching subscription of QoS 1 or 2 from before the message was sent until `isOver` says
 * that it need not be there any more. One that takes another's place carries on for it.
 */
export function isCovered(
  subscriptions: readonly Subscription[],
  message: Message,
  isOver: (one: Subscription) => boolean,
): boolean {
  return subscriptions.some((first) => {
    if (first.ackedAt > message.sentAt) return false;
    let one: Subscription | null = first;
    while (one !== null && one.qos > 0) {
      if (one.endSentAt === Infinity || isOver(one)) return true;
      one = one.next;
    }
    return false;
  });
}

/** An acknowledged message that a session had asked for is delivered to it. */
export const delivered: Rule = (reading, promises) =>
  onEachEra(reading, (era) => {
    if (era.isDoubtful || (era.isPersistent && !era.isAtRest)) return [];
    const findings: Finding[] = [];
    const seen = new Set(era.deliveries.map(({ message }) => message));
    const subscriptionsOf = byTopicOf(era);
    const isDropped = droppedBy(era, promises);
    for (const messages of reading.byTopic.values()) {
      if (!era.subscriptions.some(({ filter }) => topicMatches(filter, messages[0]!.topic))) continue;
      for (const message of sentBetween(messages, era.began.connackAt, era.endAt)) {
        if (message.qos === 0 || message.isWill || message.isEmpty || message.expirySec > 0) continue;
        if (message.ackedAt === Infinity || seen.has(message)) continue;
        if (!isDue(reading, era, message, subscriptionsOf(message))) continue;
        if (isDropped(message)) continue;
        const what = `${era.client} never got ${name(message)}, which was acknowledged to ${message.publisher}`;
        findings.push({ what, client: era.client, at: Number.NaN });
      }
    }
    return findings;
  });

function isDue(reading: Reading, era: Era, message: Message, subscriptions: Subscription[]): boolean {
  if (reading.losses.length > 0) {
    if (!isCertain(reading, message.ackedMs) || !isCertain(reading, message.sentMs)) return false;
    const lostMs = reading.lastLossMs;
    if (message.sentMs < lostMs && (message.ackedMs > lostMs || !era.isPersistent)) return false;
    // What it stands on must not have been lost either.
    if (!isCertain(reading, era.began.connackMs)) return false;
    if (subscriptions.some((one) => !isCertain(reading, one.sentMs) || !isCertain(reading, one.ackedMs)))
      return false;
  }
  if (era.isPersistent) return isCovered(subscriptions, message, (one) => one.endSentAt > message.ackedAt);
  // Without a queue it gets what reaches its node while it is connected, matched once more there.
  const untilMs = message.ackedMs + LIVE_MS;
  const isCalm = faultsBetween(reading, message.sentMs - LIVE_MS, untilMs).length === 0;
  if (!isCovered(subscriptions, message, (one) => isCalm && one.endSentMs > untilMs)) return false;
  return era.isAtRest || (isCalm && era.last.endMs > untilMs);
}

/**
 * Tells of a message whether the session got as many later ones as it may have waiting: its queue may have been full then,
 * and have dropped it.
 */
function droppedBy(era: Era, { maxQueued }: Promises): (message: Message) => boolean {
  if (era.deliveries.length < maxQueued) return () => false;
  const places = Float64Array.from(era.deliveries, ({ message }) => message.sentAt).sort();
  return (message) => places[places.length - maxQueued]! > message.sentAt;
}

/** Nothing comes that was not asked for, and nothing that was sent behind UNSUBACK. */
export const asked: Rule = (reading) =>
  onEachEra(reading, (era) => {
    if (era.isDoubtful || !isCertain(reading, era.began.connackMs)) return [];
    const subscriptionsOf = byTopicOf(era);
    const findings: Finding[] = [];
    for (const delivery of era.deliveries) {
      const why = unasked(reading, era, delivery, subscriptionsOf(delivery.message));
      if (why === null) continue;
      const what = `${era.client} got ${name(delivery.message)}, ${why}`;
      findings.push({ what, client: era.client, at: delivery.ms });
    }
    return findings;
  });

function unasked(
  reading: Reading,
  era: Era,
  { message, at, qos, isRetained, isDup }: Delivery,
  subscriptions: Subscription[],
): string | null {
  // The usual case first.
  const isPlain = (one: Subscription) =>
    one.ackedAt < message.sentAt && one.endSentAt === Infinity && one.qos >= qos;
  if (subscriptions.some(isPlain)) return null;
  const matching = subscriptions.filter((one) => one.sentAt < at);
  if (matching.length === 0) return 'to which it never subscribed';
  if (qos > Math.max(...matching.map((one) => one.qos))) return `at QoS ${qos}, which it did not ask for`;
  const isBehind = (one: Subscription) =>
    one.endAckedAt < message.sentAt && isCertain(reading, one.endAckedMs);
  if (matching.every(isBehind)) return 'which was sent after UNSUBACK';
  // What waits in a node's inbox is matched when it is read; a queue is not.
  const isQueued = era.isPersistent && qos > 0 && !isRetained && !isDup && message.sends === 1;
  const isTooLate = (one: Subscription) => one.sentAt > message.ackedAt;
  if (isQueued && matching.every((one) => isBehind(one) || isTooLate(one)))
    return 'which was acknowledged before its SUBSCRIBE';
  return null;
}

/** QoS 2 comes once; and what was published at QoS 2 is not repeated at QoS 1 but as a retransmission. */
export const once: Rule = (reading) =>
  onEachEra(reading, ({ client, deliveries }) => {
    const findings: Finding[] = [];
    const seen = new Set<Message>();
    for (const { message, qos, isDup, isRetained, isOpen, ms } of deliveries) {
      if (message.qos !== 2 || qos === 0 || isRetained || isOpen || (qos === 1 && isDup)) continue;
      // After a loss what was done is done again.
      if (message.sentMs < reading.lastLossMs) continue;
      if (seen.has(message))
        findings.push({ what: `${client} got ${name(message)} at QoS ${qos} again`, client, at: ms });
      seen.add(message);
    }
    return findings;
  });

/** Messages of one publisher, topic and QoS come in their order, by first occurrence. */
export const ordered: Rule = (reading) =>
  onEachEra(reading, (era) => {
    const findings: Finding[] = [];
    const last = new Map<number, Delivery>();
    const seen = new Set<Message>();
    const subscriptionsOf = byTopicOf(era);
    for (const delivery of era.deliveries) {
      const { message } = delivery;
      if (seen.has(message) || !hasPlace(reading, delivery, subscriptionsOf)) continue;
      seen.add(message);
      const before = last.get(message.line);
      if (before === undefined || before.message.sentAt < message.sentAt || !isOneWay(before, delivery)) {
        last.set(message.line, delivery);
        continue;
      }
      if (wasOver(before, delivery)) continue;
      const what = `${era.client} got ${name(message)} behind ${before.message.id}`;
      findings.push({ what, client: era.client, at: delivery.ms });
    }
    return findings;
  });

function hasPlace(
  reading: Reading,
  { message, qos, isRetained, isOpen }: Delivery,
  subscriptionsOf: (message: Message) => Subscription[],
): boolean {
  if (isOpen || isRetained || message.isGivenUp || message.isWill || message.sentMs < reading.lastLossMs)
    return false;
  if (qos === 0 && message.qos > 0) return false;
  if (message.sends === 1) return true;
  // It may have been over when it was sent first, and comes by a later sending; or was sent while there was no subscription
  // that brings it so, or while that was in no routing table behind a lost tail, and again behind it.
  if (message.expirySec > 0) return false;
  const subscriptions = subscriptionsOf(message).filter((one) => isCertain(reading, one.ackedMs));
  return isCovered(subscriptions, message, (one) => one.endSentAt > message.ackedAt);
}

/**
 * It was over when its turn came, on a connection that ended before that was committed: the next one cannot know that it was
 * not sent, and sends it again.
 */
function wasOver(before: Delivery, { message, isDup, connection }: Delivery): boolean {
  if (message.expirySec === 0 || !isDup || connection === before.connection) return false;
  return before.ms >= message.sentMs + message.expirySec * 1000;
}

/** QoS 0 is sent once and on no other connection: its order holds for one connection at each end. */
function isOneWay(before: Delivery, { message, connection }: Delivery): boolean {
  if (message.qos > 0) return true;
  return before.connection === connection && before.message.connection === message.connection;
}

/** Nothing comes when its expiry is over, but for the time in which a fault held it on its way out. */
export const expired: Rule = (reading, { expirySlackMs }) =>
  onEachEra(reading, ({ client, deliveries, shared }) => {
    const findings: Finding[] = [];
    for (const { message, ms, isDup } of [...deliveries, ...shared]) {
      if (message.expirySec === 0 || message.ackedMs === Infinity || isDup) continue;
      const overMs = ms - message.ackedMs - message.expirySec * 1000;
      if (overMs < expirySlackMs) continue;
      let heldMs = expirySlackMs;
      for (const { fromMs, toMs } of faultsBetween(reading, message.ackedMs - expirySlackMs, ms)) {
        heldMs += expirySlackMs + Math.min(toMs, ms) - Math.max(fromMs, message.ackedMs);
      }
      if (overMs < heldMs) continue;
      const what = `${client} got ${name(message)} ${overMs.toFixed(0)} ms behind its expiry`;
      findings.push({ what, client, at: ms });
    }
    return findings;
  });
