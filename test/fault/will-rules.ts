// The rule of wills: how often each one has to come, as seen by sessions that had asked for it before its CONNECT was sent
// and were there until the end. Once when the connection was lost and not resumed in time, never after DISCONNECT, and
// never before its delay is over.

import { name } from './message-rules.ts';
import type { Finding, Promises, Rule } from './promises.ts';
import {
  type Attempt,
  type Delivery,
  type Era,
  faultsBetween,
  isFor,
  LATE_CONNECT_MS,
  type Message,
  type Reading,
} from './reading.ts';

/** A renewal, and a close that is noticed late. */
const SLACK_MS = 1000;
/** Within this a node that nothing happens to has noticed a close and published what was due, on a busy machine. */
const NOTICED_MS = 4000;
const SCOPES = ['node', 'store', 'network', 'recorder'] as const;

export const wills: Rule = (reading, promises) => {
  const witnesses = [...reading.clients.values()]
    .flatMap(({ eras }) => eras)
    .filter(({ isAtRest, isDoubtful, isPersistent }) => isAtRest && isPersistent && !isDoubtful);
  if (reading.losses.length > 0) return [];
  const comings = new Map(witnesses.map((era) => [era, comingsOf(era)]));
  const findings: Finding[] = [];
  for (const { attempts, name: client } of reading.clients.values()) {
    for (const [index, attempt] of attempts.entries()) {
      const will = attempt.will && reading.messages.get(attempt.will.id)!;
      if (!will || will.qos === 0) continue;
      const expected = countOf(reading, promises, attempts, index);
      for (const witness of witnesses.filter((era) => isWitness(era, will))) {
        const times = comings.get(witness)!.get(will) ?? [];
        const wrong = wrongOf(reading, attempt, expected, times);
        if (wrong === null) continue;
        const what = `will ${name(will)} of connection ${attempt.connection} of ${client} ${wrong.what}`;
        findings.push({ what: `${what}, as ${witness.client} saw`, client, at: wrong.at });
      }
    }
  }
  return findings;
};

/** It had asked for the will, at its QoS, before that was even armed, and still does. */
function isWitness(era: Era, will: Message): boolean {
  return era.subscriptions.some(
    (one) =>
      one.qos >= will.qos &&
      one.ackedAt < will.sentAt &&
      one.endSentAt === Infinity &&
      isFor(one, will, era.client),
  );
}

/** When each will came; a retransmission of the subscriber's own flow is no other coming. */
function comingsOf({ deliveries }: Era): Map<Message, Delivery[]> {
  const found = new Map<Message, Delivery[]>();
  for (const delivery of deliveries) {
    const { message, isDup, isRetained } = delivery;
    if (!message.isWill || isRetained) continue;
    const list = found.get(message) ?? [];
    if (!isDup || list.length === 0) list.push(delivery);
    found.set(message, list);
  }
  return found;
}

function wrongOf(
  reading: Reading,
  attempt: Attempt,
  expected: 0 | 1 | null,
  comings: readonly Delivery[],
): { what: string; at: number } | null {
  if (comings.length > 1) return { what: `came ${comings.length} times`, at: comings[1]!.ms };
  if (comings.length === 1 && expected === 0) return { what: 'came and must not', at: comings[0]!.ms };
  if (comings.length === 0 && expected === 1) return { what: 'never came', at: Number.NaN };
  if (comings.length === 1 && isEarly(reading, attempt, comings[0]!.ms))
    return { what: 'came before its delay was over', at: comings[0]!.ms };
  return null;
}

const delayMsOf = ({ will, expirySec }: Attempt): number => Math.min(will!.delaySec, expirySec) * 1000;

function isEarly(reading: Reading, attempt: Attempt, ms: number): boolean {
  const { endMs, port, sentMs, isLeft, will } = attempt;
  // Another CONNECT may have ended the session, and with it the delay.
  if (isLeft || delayMsOf(attempt) === 0 || will!.delaySec > attempt.expirySec) return false;
  if (faultsBetween(reading, sentMs, ms, { scopes: SCOPES, port }).length > 0) return false;
  const client = reading.clients.get(reading.messages.get(will!.id)!.publisher)!;
  if (client.attempts.some((one) => one.clean && one.sentMs > sentMs && one.sentMs < ms)) return false;
  return ms < endMs + delayMsOf(attempt) - SLACK_MS / 2;
}

/** How often a will has to come; null for at most once. */
function countOf(
  reading: Reading,
  { leaseMs }: Promises,
  attempts: readonly Attempt[],
  index: number,
): 0 | 1 | null {
  const attempt = attempts[index]!;
  const { connackMs, endMs, sentMs, expirySec, goodbye, port } = attempt;
  if (connackMs === Infinity) return null;
  // One that was never answered may be carried out late, and take over.
  const isLate = (one: Attempt) => one.connackMs === Infinity && one.sentMs > sentMs - LATE_CONNECT_MS;
  if (attempts.slice(0, index).some(isLate)) return null;
  if (endMs === Infinity) return attempt.era?.isAtRest ? 0 : null;
  const isCalm = (fromMs: number, toMs: number) =>
    faultsBetween(reading, fromMs - leaseMs, toMs + SLACK_MS, { scopes: SCOPES, port }).length === 0;
  const next = attempts[index + 1];
  if (goodbye === 0) return attempt.isClosedByBroker && isCalm(endMs, endMs) ? 0 : null;
  const isAnswered = next !== undefined && next.connackMs < Infinity;
  if (attempt.isLeft) {
    // Its node believes it there until somebody takes over.
    if (!isAnswered || !isCalm(sentMs, next.connackMs)) return null;
    return next.clean || expirySec === 0 ? 1 : 0;
  }
  const dueMs = endMs + delayMsOf(attempt);
  if (next === undefined) return isOver(reading) ? 1 : null;
  const stalls = faultsBetween(reading, endMs - leaseMs, next.sentMs, { scopes: SCOPES, port });
  const heldMs = Math.max(dueMs, ...stalls.map(({ toMs }) => toMs));
  // Behind the death of its node: two leases until one may be declared dead, its own, and the cleaning.
  const latestMs = heldMs + (stalls.length > 0 ? 3 * leaseMs + 5000 : NOTICED_MS);
  if (next.sentMs > latestMs) return 1;
  if (!isAnswered) return null;
  // It ends the session: the will is published, unless it was before.
  if (next.clean || expirySec === 0) return 1;
  const isSoon = next.connackMs < dueMs - SLACK_MS;
  return isSoon && next.isPresent && isCalm(sentMs, next.connackMs) ? 0 : null;
}

const isOver = ({ clients }: Reading): boolean =>
  [...clients.values()].some(({ eras }) => eras.at(-1)?.isAtRest);
