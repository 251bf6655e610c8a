// The rules of sessions: what session present has to say at each CONNECT, and that an old connection of a client id ends
// soon after a new one was accepted.

import type { Finding, Promises, Rule } from './promises.ts';
import {
  type Attempt,
  type Client,
  faultsBetween,
  isCertain,
  LATE_CONNECT_MS,
  type Reading,
} from './reading.ts';

/** Deadlines of sessions are judged with this much to spare: a renewal, and a close that is noticed late. */
const SLACK_MS = 1000;

/** Session present is true where the session must be there, and false where it cannot be. MQTT 3.1 does not tell it. */
export const presence: Rule = (reading, promises) => {
  const findings: Finding[] = [];
  for (const client of reading.clients.values()) {
    for (const [index, attempt] of client.attempts.entries()) {
      if (attempt.connackMs === Infinity || attempt.version === 3) continue;
      const expected = presenceOf(reading, promises, client.attempts.slice(0, index), attempt);
      if (expected === null || expected === attempt.isPresent) continue;
      const what = `${client.name} was told session present ${attempt.isPresent} on connection ${attempt.connection}`;
      findings.push({ what, client: client.name, at: attempt.connackMs });
    }
  }
  return findings;
};

/** What session present has to be; null where both are right. */
function presenceOf(
  reading: Reading,
  promises: Promises,
  earlier: readonly Attempt[],
  attempt: Attempt,
): boolean | null {
  if (attempt.clean) return false;
  const last = earlier.findLast((one) => one.connackMs < Infinity);
  // What was never answered may have been carried out, also later than others that were.
  const unanswered = earlier.filter(
    (one) => one.connackMs === Infinity && one.sentMs > attempt.sentMs - LATE_CONNECT_MS,
  );
  if (last === undefined) return unanswered.length > 0 ? null : false;
  if (reading.losses.some((loss) => loss.atMs > last.connackMs && loss.fromMs < attempt.connackMs))
    return null;
  if (!isCertain(reading, last.connackMs)) return null;
  if (last.expirySec === 0) return unanswered.length > 0 ? null : false;
  if (unanswered.some(({ clean }) => clean)) return null;
  const lifeMs = last.expirySec * 1000;
  if (last.expirySec === 0xffffffff) return true;
  // A node that stopped, or that the store did not hear, ends a connection at its last renewal, or when it is heard again.
  const around = faultsBetween(reading, last.sentMs, attempt.connackMs, {
    scopes: ['node', 'store', 'network', 'recorder'],
  });
  const isCalm = around.length === 0;
  const fromMs = Math.min(last.endMs, ...around.map((fault) => Math.max(fault.fromMs, last.connackMs)));
  if (attempt.connackMs < fromMs + lifeMs - SLACK_MS) return true;
  if (unanswered.length > 0 || last.isLeft) return null;
  const untilMs =
    Math.max(last.endMs, ...around.map(({ toMs }) => toMs)) + (isCalm ? 0 : promises.leaseMs * 2);
  return attempt.sentMs > untilMs + lifeMs + SLACK_MS ? false : null;
}

/** One live connection per client id: an old one gets nothing more and is closed soon after the next one's CONNACK. */
export const takeover: Rule = (reading, promises) =>
  [...reading.clients.values()].flatMap((client) =>
    client.attempts.flatMap((old) => {
      if (!old.isLeft || old.connackMs === Infinity) return [];
      const next = client.attempts.find((one) => one.sentAt > old.connackAt && one.connackMs < Infinity);
      return next === undefined ? [] : findOld(reading, promises, client, old, next);
    }),
  );

function findOld(
  reading: Reading,
  { takeoverMs, leaseMs }: Promises,
  { name: client }: Client,
  old: Attempt,
  next: Attempt,
): Finding[] {
  const findings: Finding[] = [];
  const isLate = (ms: number): boolean => {
    const faults = faultsBetween(reading, next.sentMs - leaseMs, ms);
    // A node that is cut off closes it as soon as it hears of it.
    const fromMs = Math.max(next.connackMs, ...faults.map(({ toMs }) => toMs));
    return ms > fromMs + takeoverMs + (faults.length > 0 ? leaseMs + 2000 : 0);
  };
  const lateMs = old.lateMs.findLast(isLate);
  const which = `connection ${old.connection} of ${client}`;
  if (lateMs !== undefined) {
    const what = `${which} got messages ${(lateMs - next.connackMs).toFixed(0)} ms after the next CONNACK`;
    findings.push({ what, client, at: lateMs });
  }
  const untilMs = Math.min(old.closedMs, reading.endMs);
  if (isLate(untilMs)) {
    const what = `${which} was open ${(untilMs - next.connackMs).toFixed(0)} ms after the next CONNACK`;
    findings.push({ what, client, at: untilMs });
  }
  return findings;
}
