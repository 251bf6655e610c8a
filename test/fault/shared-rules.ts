// The rules of shared subscriptions: a group of members is judged as one receiver. What was acknowledged comes to one of
// them at least, at QoS 2 to one and once; nothing comes to somebody who is no member. What an ended session leaves goes to
// another member: so at QoS 1 a message may come again then, and at QoS 2 one that the client may have seen ends with it.
// Nothing is said of order, which a group has only for some strategies.

import { topicMatches } from '../../src/mqtt/topic.ts';
import { isCovered, name } from './message-rules.ts';
import { type Finding, onEachEra, type Rule } from './promises.ts';
import {
  type Delivery,
  type Era,
  isCertain,
  isFor,
  type Message,
  type Reading,
  type Subscription,
  sentBetween,
} from './reading.ts';

/** What one session was in a group. */
interface Member {
  readonly era: Era;
  readonly memberships: readonly Subscription[];
}

/** By the filter with its group's name. */
function groupsOf({ clients }: Reading): Map<string, Member[]> {
  const groups = new Map<string, Member[]>();
  for (const era of [...clients.values()].flatMap(({ eras }) => eras)) {
    for (const filter of new Set(era.memberships.map((one) => one.filter))) {
      const memberships = era.memberships.filter((one) => one.filter === filter);
      groups.set(filter, [...(groups.get(filter) ?? []), { era, memberships }]);
    }
  }
  return groups;
}

/** The session may have ended, or not have been told to its client, so that what it had went on to others or was dropped. */
const mayEnd = ({ isAtRest, isDoubtful }: Era): boolean => !isAtRest || isDoubtful;

/** An acknowledged message comes to a member at least, where one was there all the time that has a queue. */
export const sharedDelivered: Rule = (reading) =>
  [...groupsOf(reading)].flatMap(([filter, members]) => {
    const anchors = members.filter(
      ({ era }) => era.isPersistent && !mayEnd(era) && isCertain(reading, era.began.connackMs),
    );
    if (anchors.length === 0) return [];
    const seen = new Set(
      members.flatMap(({ era }) => [...era.shared, ...era.deliveries].map(({ message }) => message)),
    );
    const { topics } = members[0]!.memberships[0]!;
    const fromAt = Math.min(...anchors.map(({ era }) => era.began.connackAt));
    const findings: Finding[] = [];
    for (const [topic, messages] of reading.byTopic) {
      if (!topicMatches(topics, topic)) continue;
      for (const message of sentBetween(messages, fromAt, Infinity)) {
        if (message.qos === 0 || message.isWill || message.isEmpty || message.expirySec > 0) continue;
        if (message.ackedAt === Infinity || seen.has(message)) continue;
        // Which queues it has been in is not known: what was lost of them is not either.
        if (message.sentMs < reading.lastLossMs) continue;
        const isKept = ({ memberships }: Member): boolean =>
          isCovered(memberships, message, () => false) &&
          memberships.every((one) => isCertain(reading, one.sentMs) && isCertain(reading, one.ackedMs));
        if (!anchors.some(isKept) || isExcused(members, message)) continue;
        const what = `no member of ${filter} ever got ${name(message)}, which was acknowledged to ${message.publisher}`;
        findings.push({ what, client: message.publisher, at: Number.NaN });
      }
    }
    return findings;
  });

/** A member may have had it live, at QoS 0; or have been sent it at QoS 2, and its session have ended. */
function isExcused(members: readonly Member[], message: Message): boolean {
  return members.some(({ era, memberships }) => {
    if (era.endAt < message.sentAt) return false;
    const there = memberships.filter((one) => one.endAckedAt > message.sentAt);
    if (there.some((one) => one.qos === 0)) return true;
    return message.qos === 2 && mayEnd(era) && there.some((one) => one.qos === 2);
  });
}

/** A message of QoS 2 comes to one member and once; at QoS 1 again when a session that had it has ended. */
export const sharedOnce: Rule = (reading) =>
  [...groupsOf(reading)].flatMap(([filter, members]) => {
    const findings: Finding[] = [];
    const seen = new Map<Message, { client: string; era: Era; qos: number }>();
    for (const { era, delivery } of comingsOf(filter, members)) {
      const { message, qos, isDup, ms } = delivery;
      if (message.qos !== 2 || qos === 0 || message.sentMs < reading.lastLossMs) continue;
      const before = seen.get(message);
      if (before === undefined) {
        seen.set(message, { client: era.client, era, qos });
        continue;
      }
      if (qos === 1 && isDup && before.era === era) continue;
      if (Math.min(qos, before.qos) === 1 && hasEndedSince(members, message)) continue;
      const what = `${era.client} got ${name(message)} at QoS ${qos} by ${filter}, as ${before.client} had at QoS ${before.qos}`;
      findings.push({ what, client: era.client, at: ms });
    }
    return findings;
  });

/** What can have come by this group alone, in its order. */
function comingsOf(filter: string, members: readonly Member[]): { era: Era; delivery: Delivery }[] {
  const isByThis = (era: Era, { message }: Delivery): boolean => {
    const fitting = era.memberships.filter((one) => isFor(one, message, era.client));
    return fitting.every((one) => one.filter === filter) && fitting.length > 0;
  };
  return members
    .flatMap(({ era }) =>
      era.shared.filter((delivery) => isByThis(era, delivery)).map((delivery) => ({ era, delivery })),
    )
    .sort((a, b) => a.delivery.at - b.delivery.at);
}

/** A member at QoS 1 may have had the message, and its session has ended. */
function hasEndedSince(members: readonly Member[], message: Message): boolean {
  return members.some(
    ({ era, memberships }) =>
      mayEnd(era) &&
      era.endAt > message.sentAt &&
      memberships.some((one) => one.qos === 1 && one.endAckedAt > message.sentAt),
  );
}

/** Only members get what is shared, at the QoS that was granted to them, and no retained copies. */
export const sharedAsked: Rule = (reading) =>
  onEachEra(reading, (era) => {
    if (era.isDoubtful || !isCertain(reading, era.began.connackMs)) return [];
    return era.shared.flatMap((delivery) => {
      const why = unasked(reading, era, delivery);
      if (why === null) return [];
      const what = `${era.client} got ${name(delivery.message)}, ${why}`;
      return [{ what, client: era.client, at: delivery.ms }];
    });
  });

function unasked(reading: Reading, era: Era, { message, qos, isRetained }: Delivery): string | null {
  const matching = era.memberships.filter((one) => isFor(one, message, era.client));
  if (qos > Math.max(...matching.map((one) => one.qos))) return `at QoS ${qos}, which it did not ask for`;
  if (isRetained && !matching.some((one) => one.retainAsPublished))
    return 'a retained copy, for a shared subscription';
  const isBehind = (one: Subscription) =>
    one.endAckedAt < message.sentAt && isCertain(reading, one.endAckedMs);
  return matching.every(isBehind) ? 'which was sent after it had left the group' : null;
}
