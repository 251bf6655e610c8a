// What each subscriber must and may have seen, judged from the history alone when a run has come to rest. A rule answers
// with sentences, none where it holds. Where a fault makes something uncertain (an ack that may have been lost with the
// store's tail, a message that its publisher gave up) a rule says nothing rather than guess; everything else is strict.

import { isSharedFilter, parseSharedFilter, topicMatches } from '../../src/mqtt/topic.ts';
import type { Loss } from './cluster.ts';
import type { Delivery, Era, History, Message, SubscriptionRecord } from './history.ts';

export interface ModelInput {
  readonly history: History;
  readonly losses: readonly Loss[];
  readonly faultsMs: readonly number[];
  readonly endMs: number;
  /** Eras whose device was connected and drained when the run came to rest. */
  readonly drained: ReadonlySet<Era>;
  /** Eras of sessions that may have missed live messages: their node's inbox was trimmed, or a fault hit the way. */
  readonly retained: ReadonlyMap<string, string>;
}

type Rule = (input: ModelInput, index: Index) => string[];

/** What rules look up again and again. */
interface Index {
  readonly byEra: Map<Era, Delivery[]>;
  readonly messages: readonly Message[];
}

export function judge(input: ModelInput): string[] {
  const byEra = new Map<Era, Delivery[]>();
  for (const era of input.history.eras) byEra.set(era, []);
  for (const delivery of input.history.deliveries) byEra.get(delivery.era)!.push(delivery);
  const index = { byEra, messages: [...input.history.messages.values()] };
  const breaches = [...input.history.breaches];
  for (const rule of RULES) breaches.push(...rule(input, index));
  return breaches;
}

const lastLossAt = ({ losses }: ModelInput): number => losses.at(-1)?.at ?? 0;

/** An answer that left before a loss may arrive so long after it. */
const UNDER_WAY_MS = 250;

/** What happened at `ms` is certain: no tail that was lost had it. */
export function isCertain({ losses }: Pick<ModelInput, 'losses'>, ms: number): boolean {
  return losses.every((loss) => ms < loss.fromMs || ms > loss.atMs + UNDER_WAY_MS);
}

function matches(one: SubscriptionRecord, message: Message, device: string): boolean {
  return !(one.noLocal && message.publisher === device) && topicMatches(one.filter, message.topic);
}

/** The same by what a group shares: what reaches which member is for the stories to say, here only that it may. */
function mayMatch(one: SubscriptionRecord, message: Message, device: string): boolean {
  const shared = parseSharedFilter(one.filter);
  return shared === null ? matches(one, message, device) : topicMatches(shared.filter, message.topic);
}

/**
 * Whether the subscriber had a matching subscription of QoS 1 or 2 from before the message was sent until it was
 * acknowledged. A subscription that replaces another one of the same filter carries on for it.
 */
function isCovered(era: Era, message: Message): boolean {
  for (const first of era.subscriptions) {
    if (first.qos === 0 || first.ackedAt === 0 || first.ackedAt > message.sentAt) continue;
    if (!matches(first, message, era.device)) continue;
    let one: SubscriptionRecord | undefined = first;
    while (one !== undefined && one.qos > 0 && matches(one, message, era.device)) {
      const { endSentAt, isReplaced, filter }: SubscriptionRecord = one;
      // Without a queue it is matched once more when its node reads it.
      const isAnswered = message.ackedAt > 0 && endSentAt > message.ackedAt;
      if (endSentAt === Infinity || (era.isPersistent && isAnswered)) return true;
      one = isReplaced
        ? era.subscriptions.find((next) => next.filter === filter && next.sentAt === endSentAt)
        : undefined;
    }
  }
  return false;
}

/** An acknowledged message that matched is delivered. */
const delivered: Rule = (input, { byEra, messages }) => {
  const breaches: string[] = [];
  for (const era of input.drained) {
    const seen = new Set(byEra.get(era)!.map(({ message }) => message));
    for (const message of messages) {
      if (message.qos === 0 || message.isWill || message.isEmpty || message.expirySec > 0) continue;
      if (message.ackedAt === 0 || message.isRefused || seen.has(message)) continue;
      if (message.sentAt < era.beganAt || !isCovered(era, message)) continue;
      if (input.losses.length > 0 && isExcusedByLoss(input, era, message)) continue;
      breaches.push(`${era.device} never got ${message.id} (${message.topic}), which was acknowledged`);
    }
  }
  return breaches;
};

function isExcusedByLoss(input: ModelInput, era: Era, message: Message): boolean {
  // A session that ends with its connection gets messages by its node's inbox, which a loss may take.
  const isSafe = era.isPersistent
    ? isCertain(input, message.ackedMs) || message.sentAt > lastLossAt(input)
    : message.sentAt > lastLossAt(input);
  if (!isSafe || message.sentMs < lastLossMs(input) !== message.ackedMs < lastLossMs(input)) return true;
  return !era.subscriptions.some(
    (one) =>
      one.qos > 0 &&
      one.ackedAt > 0 &&
      one.ackedAt < message.sentAt &&
      one.endSentAt === Infinity &&
      isCertain(input, one.ackedMs) &&
      isCertain(input, one.sentMs) &&
      isCertain(input, era.beganMs) &&
      matches(one, message, era.device),
  );
}

const lastLossMs = ({ losses }: ModelInput): number => losses.at(-1)?.atMs ?? 0;

/** Nothing comes that was not asked for, and nothing that was sent behind UNSUBACK. */
const asked: Rule = (input, { byEra }) => {
  const breaches: string[] = [];
  for (const [era, deliveries] of byEra) {
    // The life before it may be back, with its subscriptions.
    if (!isCertain(input, era.beganMs)) continue;
    for (const { message, at, isRetained, isDup, qos } of deliveries) {
      const what = `${era.device} got ${message.id} (${message.topic})`;
      // What waits in a node's inbox is matched when it is read.
      const isQueued = era.isPersistent && qos > 0 && !message.isWill;
      if (message.sentAt === 0 || message.sentAt > at) breaches.push(`${what} before it was sent`);
      const matching = era.subscriptions.filter(
        (one) => one.sentAt < at && mayMatch(one, message, era.device),
      );
      if (matching.length === 0) breaches.push(`${what} and never subscribed to it`);
      else if (matching.every((one) => one.endAckedAt < message.sentAt && isCertain(input, one.endAckedMs))) {
        breaches.push(`${what}, sent after UNSUBACK`);
      } else if (isQueued && !isRetained && !isDup && message.sends === 1 && message.ackedAt > 0) {
        // What another member left may be older than the subscription.
        if (matching.every((one) => one.sentAt > message.ackedAt && !isSharedFilter(one.filter))) {
          breaches.push(`${what}, acknowledged before its SUBSCRIBE`);
        }
      }
      if (isRetained && !message.retain) breaches.push(`${what} as retained`);
      if (qos > message.qos) breaches.push(`${what} at QoS ${qos}, published at ${message.qos}`);
      if (qos > Math.max(0, ...matching.map((one) => one.qos))) breaches.push(`${what} at QoS ${qos}`);
    }
  }
  return breaches;
};

/** QoS 2 once; and what was published at QoS 2 is not repeated at QoS 1 but as a retransmission. */
const once: Rule = (input, { byEra }) => {
  const breaches: string[] = [];
  for (const [era, deliveries] of byEra) {
    const counts = new Map<Message, number>();
    for (const { message, qos, isDup, isRetained } of deliveries) {
      if (message.qos !== 2 || qos === 0 || isRetained || (qos === 1 && isDup)) continue;
      // After a loss what was done is done again.
      if (input.losses.length > 0 && message.sentAt < lastLossAt(input)) continue;
      const count = (counts.get(message) ?? 0) + 1;
      counts.set(message, count);
      if (count === 2) breaches.push(`${era.device} got ${message.id} (QoS 2, as QoS ${qos}) twice`);
    }
  }
  return breaches;
};

/** Whether a message with the retain flag may have come live: the subscription asks for the flag as published. */
const isAsPublished = (era: Era, message: Message, at: number): boolean =>
  era.subscriptions.some(
    (one) =>
      one.retainAsPublished && one.sentAt < at && at < one.endAckedAt && matches(one, message, era.device),
  );

/** It was sent before the shared subscription by which it comes: another member had it, and its session has ended. */
const isLeftByMember = (era: Era, message: Message): boolean => {
  const subscriptions = era.subscriptions.filter((one) => mayMatch(one, message, era.device));
  const isLate = subscriptions.every((one) => isSharedFilter(one.filter) && one.ackedAt > message.sentAt);
  return isLate && subscriptions.length > 0;
};

/** Messages of one publisher, topic and QoS come in their order, by first occurrence. */
const ordered: Rule = (input, { byEra }) => {
  const breaches: string[] = [];
  for (const [era, deliveries] of byEra) {
    const last = new Map<string, Message>();
    const seen = new Set<Message>();
    for (const { message, qos, isRetained, isDup, connection, at } of deliveries) {
      // What came live with its flag and was sent again by its publisher may come again, behind newer ones.
      if (isRetained && message.sends > 1 && isAsPublished(era, message, at)) seen.add(message);
      if (isRetained || seen.has(message) || message.isGivenUp || message.isWill) continue;
      // It may have been over when it came the first time, and is sent with a new one.
      if (message.expirySec > 0 && message.sends > 1) continue;
      if (input.losses.length > 0 && message.sentAt < lastLossAt(input)) continue;
      if (qos === 0 && message.qos > 0) continue;
      // Sent before the subscription and again behind it, it comes behind what was sent between the two.
      if (message.sends > 1 && !isCovered(era, message)) continue;
      if (isLeftByMember(era, message)) continue;
      // QoS 0 is sent once and on no other connection: order holds for one at each end.
      const way = qos === 0 ? `0 ${connection} ${message.connection} ${isDup}` : '1';
      seen.add(message);
      const key = `${message.publisher} ${message.topic} ${message.qos} ${way}`;
      const before = last.get(key);
      if (before !== undefined && before.order > message.order) {
        breaches.push(
          `${era.device} got ${message.id} behind ${before.id} (${message.topic} q${message.qos})`,
        );
      } else {
        last.set(key, message);
      }
    }
  }
  return breaches;
};

/** Nothing comes when its expiry was over; where no fault can have held it on its way out. */
const expired: Rule = (input, { byEra }) => {
  const breaches: string[] = [];
  for (const [era, deliveries] of byEra) {
    for (const { message, ms, isDup } of deliveries) {
      if (message.expirySec === 0 || message.ackedMs === 0 || isDup) continue;
      const overMs = ms - message.ackedMs - message.expirySec * 1000;
      if (overMs < 500 || input.faultsMs.some((faultMs) => faultMs > message.sentMs && faultMs < ms))
        continue;
      breaches.push(`${era.device} got ${message.id} ${overMs.toFixed(0)} ms after its expiry`);
    }
  }
  return breaches;
};

/** Retained topics have one publisher each, so that its messages say what comes last. */
function writersOf(messages: readonly Message[]): Map<string, Message[]> {
  const topics = new Map<string, Message[]>();
  for (const message of messages) {
    if (!message.retain || message.isWill || message.sentAt === 0) continue;
    const list = topics.get(message.topic) ?? [];
    list.push(message);
    topics.set(message.topic, list);
  }
  return topics;
}

/** The last acknowledged write stands, or one after it that nobody has acknowledged. */
const retainedLast: Rule = (input, { messages }) => {
  const breaches: string[] = [];
  for (const [topic, writes] of writersOf(messages)) {
    const lastAcked = writes.findLast((one) => one.ackedAt > 0 && isCertain(input, one.ackedMs));
    if (lastAcked === undefined) continue;
    const behind = writes.slice(writes.indexOf(lastAcked));
    const allowed = [...behind, ...writes.filter((one) => one.isGivenUp)];
    const found = input.retained.get(topic);
    const isRight = allowed.some((one) => (one.isEmpty ? found === undefined : one.id === found));
    if (!isRight)
      breaches.push(`retained on ${topic}: ${found ?? 'nothing'}, last acknowledged ${lastAcked.id}`);
  }
  return breaches;
};

/**
 * What was under way while a subscription was being made may have come by another one, ahead of its retained write
 * (docs/guarantees.md).
 */
const cameByAnEarlierOne = ({ subscriptions }: Era, message: Message): boolean =>
  subscriptions.some(
    (one) =>
      (message.ackedAt === 0 || message.ackedAt > one.sentAt) &&
      (one.sentAt > message.sentAt ||
        ((one.ackedAt === 0 || one.ackedAt > message.sentAt) &&
          subscriptions.some(
            (other) => other.sentAt < one.sentAt && topicMatches(other.filter, message.topic),
          ))),
  );

/** No older copy comes behind a newer message of the same topic. */
const retainedForward: Rule = (input, { byEra }) => {
  const breaches: string[] = [];
  for (const [era, deliveries] of byEra) {
    const newest = new Map<string, Message>();
    for (const { message, isRetained, isDup, at } of deliveries) {
      if (!message.retain || message.isGivenUp || message.isWill || isDup) continue;
      if (input.losses.length > 0 && message.sentAt < lastLossAt(input)) continue;
      const before = newest.get(message.topic);
      const isUnderWay = before !== undefined && cameByAnEarlierOne(era, before);
      const isAsPublished = era.subscriptions.some((one) => one.retainAsPublished && one.sentAt < at);
      if (
        before !== undefined &&
        before.order > message.order &&
        isRetained &&
        !isAsPublished &&
        !isUnderWay
      ) {
        breaches.push(`${era.device} got the retained ${message.id} behind ${before.id} (${message.topic})`);
      }
      if (before === undefined || before.order < message.order) newest.set(message.topic, message);
    }
  }
  return breaches;
};

/** A reading of the few topics there are takes less, but for faults. */
const READING_MS = 3000;
const FAULT_MS = 15_000;

/** A subscription that asks for retained messages ends on the value that stood before it, or a newer one. */
const retainedSeen: Rule = (input, { byEra, messages }) => {
  const breaches: string[] = [];
  const topics = writersOf(messages);
  for (const era of input.drained) {
    for (const one of era.subscriptions) {
      const isAsking = one.retainHandling === 0 || (one.retainHandling === 1 && one.isNew);
      if (!isAsking || one.ackedAt === 0 || one.qos === 0 || one.endSentAt !== Infinity) continue;
      // While another reading may be under way, what came live since that began is not sent again.
      const isCalm = input.faultsMs.every((ms) => ms > one.sentMs || ms < one.sentMs - FAULT_MS);
      const isAlone =
        isCalm &&
        era.subscriptions.every(
          ({ sentAt, sentMs }) => sentAt >= one.sentAt || sentMs < one.sentMs - READING_MS,
        );
      const fromAt = isAlone ? one.sentAt : era.beganAt;
      for (const [topic, writes] of topics) {
        if (!topicMatches(one.filter, topic) || (one.noLocal && writes[0]!.publisher === era.device))
          continue;
        if (
          writes.some((write) => write.isGivenUp || write.isEmpty || write.expirySec > 0 || write.qos === 0)
        )
          continue;
        const stood = writes.findLast((write) => write.ackedAt > 0 && write.ackedAt < one.sentAt);
        if (stood === undefined || input.losses.length > 0) continue;
        const isSeen = byEra
          .get(era)!
          .some(({ message, at }) => at > fromAt && message.topic === topic && message.order >= stood.order);
        if (!isSeen)
          breaches.push(`${era.device} subscribed to ${one.filter} and never saw ${stood.id} (${topic})`);
      }
    }
  }
  return breaches;
};

const RULES: readonly Rule[] = [
  delivered,
  asked,
  once,
  ordered,
  expired,
  retainedLast,
  retainedForward,
  retainedSeen,
];
