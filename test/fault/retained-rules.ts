// The rules of retained messages, for topics with one publisher: a new subscription sees a value, none older than the last
// one acknowledged before its SUBSCRIBE was sent, and none behind a newer one.

import { name } from './message-rules.ts';
import { type Finding, onEachEra, type Rule } from './promises.ts';
import {
  type Delivery,
  type Era,
  faultsBetween,
  isFor,
  type Message,
  type Reading,
  type Subscription,
} from './reading.ts';

/** A reading of the few topics that a crowd has takes less, where nothing holds it up. */
const READING_MS = 3000;

/** Topics with writes of one publisher that say what comes last; without those whose outcome is open. */
function countersOf({ byTopic }: Reading): Map<string, Message[]> {
  const counters = new Map<string, Message[]>();
  for (const [topic, messages] of byTopic) {
    const writes = messages.filter(({ retain }) => retain);
    const isCounter = writes.every(
      (one) => one.publisher === writes[0]!.publisher && one.qos > 0 && one.expirySec === 0 && !one.isWill,
    );
    if (writes.length > 0 && isCounter && !writes.some(({ isGivenUp }) => isGivenUp))
      counters.set(topic, writes);
  }
  return counters;
}

const isAsking = ({ retainHandling, isNew }: Subscription): boolean =>
  retainHandling === 0 || (retainHandling === 1 && isNew);

const lastAckedBefore = (writes: readonly Message[], at: number): Message | undefined =>
  writes.findLast((write) => write.ackedAt < at);

/** No retained copy is older than what was acknowledged before the first SUBSCRIBE that can have asked for it. */
export const retainedFresh: Rule = (reading) => {
  const counters = countersOf(reading);
  return onEachEra(reading, (era) => {
    if (era.isDoubtful || reading.losses.length > 0) return [];
    const findings: Finding[] = [];
    for (const { message, isRetained, ms } of era.deliveries) {
      const writes = counters.get(message.topic);
      if (!isRetained || writes === undefined) continue;
      const matching = era.subscriptions.filter((one) => isFor(one, message, era.client));
      if (matching.some((one) => one.retainAsPublished)) continue;
      const first = matching.find(isAsking);
      const stood = first && lastAckedBefore(writes, first.sentAt);
      if (stood === undefined || message.sentAt >= stood.sentAt) continue;
      const what = `${era.client} got the retained ${name(message)}, older than ${stood.id}, which was acknowledged before its SUBSCRIBE`;
      findings.push({ what, client: era.client, at: ms });
    }
    return findings;
  });
};

/** No retained copy comes behind a newer message of its topic. */
export const retainedForward: Rule = (reading) => {
  const counters = countersOf(reading);
  return onEachEra(reading, (era) => {
    if (reading.losses.length > 0) return [];
    const findings: Finding[] = [];
    const newest = new Map<string, Delivery>();
    for (const delivery of era.deliveries) {
      const { message, isRetained, isDup, ms } = delivery;
      if (!message.retain || isDup || !counters.has(message.topic)) continue;
      const before = newest.get(message.topic);
      if (before === undefined || before.message.sentAt < message.sentAt) newest.set(message.topic, delivery);
      else if (isRetained && before.message !== message && !isExcused(era, before, delivery)) {
        const what = `${era.client} got the retained ${name(message)} behind ${before.message.id}`;
        findings.push({ what, client: era.client, at: ms });
      }
    }
    return findings;
  });
};

/** What was under way when a subscription was made may have come by another one, ahead of its retained write. */
function isExcused(era: Era, before: Delivery, { message, qos, connection }: Delivery): boolean {
  // What came at QoS 0 is known as long as the connection.
  if (connection !== before.connection && (qos === 0 || before.qos === 0)) return true;
  return era.subscriptions.some(
    (one) =>
      (one.retainAsPublished && isFor(one, message, era.client)) ||
      (one.ackedAt > before.message.sentAt && one.sentAt < before.message.ackedAt),
  );
}

/** A subscription that asks for retained messages gets the value that stood before it, or a newer one. */
export const retainedSeen: Rule = (reading) => {
  const counters = countersOf(reading);
  return onEachEra(reading, (era) => {
    if (era.isDoubtful || reading.losses.length > 0) return [];
    const newest = newestOf(era);
    return era.subscriptions.flatMap((one) => {
      if (!isAsking(one) || one.qos === 0 || one.ackedAt === Infinity) return [];
      const untilMs = one.ackedMs + READING_MS;
      const isCalm = faultsBetween(reading, one.sentMs - READING_MS, untilMs).length === 0;
      // It has to stay until the reading is over.
      const stays = era.isPersistent ? era.isAtRest : era.isAtRest || (isCalm && era.last.endMs > untilMs);
      if (!stays || one.endSentMs < (isCalm ? untilMs : Infinity)) return [];
      return [...counters.values()].flatMap((writes) => {
        if (!isFor(one, writes[0]!, era.client)) return [];
        const stood = lastAckedBefore(writes, one.sentAt);
        if (stood === undefined || (newest.get(stood.topic) ?? 0) >= stood.sentAt) return [];
        if (isCleared(era, one, writes, stood, isCalm)) return [];
        const what = `${era.client} subscribed to ${one.filter} and never saw ${name(stood)} or a later value`;
        return [{ what, client: era.client, at: Number.NaN }];
      });
    });
  });
};

/**
 * Where the newest message of each topic that the session got was sent. What another subscription brought while a reading
 * was under way is not brought again by that.
 */
function newestOf({ deliveries }: Era): Map<string, number> {
  const newest = new Map<string, number>();
  for (const { message } of deliveries) {
    newest.set(message.topic, Math.max(newest.get(message.topic) ?? 0, message.sentAt));
  }
  return newest;
}

/** A value that was cleared meanwhile need not be seen; a session that was away may read long after. */
function isCleared(
  era: Era,
  one: Subscription,
  writes: readonly Message[],
  stood: Message,
  isCalm: boolean,
): boolean {
  const lateMs = isCalm && !era.isPersistent ? one.ackedMs + READING_MS : Infinity;
  return writes.some((write) => write.isEmpty && write.sentAt >= stood.sentAt && write.sentMs < lateMs);
}
