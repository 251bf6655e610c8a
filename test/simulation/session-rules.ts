// The rules of sessions and wills, over the CONNECTs of each client: what session present had to say, and how often each
// will came. Where a death, an outage or a lost answer leaves two outcomes open, both are right.

import { NEVER } from './call.ts';
import type { Attempt, History, Message } from './history.ts';
import { isCertain, type ModelInput } from './model.ts';

/** Deadlines are judged with this much to spare: lease, renewals and late messages lie in it. */
const SLACK_MS = 5000;
/** After a death: two leases until somebody may write the tombstone, cleaning, left wills. */
const LATEST_MS = 22_000;

export function attemptsOf(history: History): Map<string, Attempt[]> {
  const attempts = new Map<string, Attempt[]>();
  for (const attempt of history.attempts) {
    const list = attempts.get(attempt.device) ?? [];
    list.push(attempt);
    attempts.set(attempt.device, list);
  }
  return attempts;
}

/** What session present has to be; null where both are right. */
function presenceOf(input: ModelInput, earlier: readonly Attempt[], attempt: Attempt): boolean | null {
  if (attempt.cleanStart) return false;
  const { expirySec } = attempt;
  if (expirySec === 0) return false;
  const last = earlier.at(-1);
  if (last === undefined) return false;
  // An attempt that was never answered may have begun a session, or not; it ends none, since it is no clean start.
  const answered = earlier.findLast((one) => one.connackMs > 0);
  if (answered === undefined || !isCertain(input, answered.connackMs)) return null;
  if (input.losses.some((loss) => loss.atMs > answered.connackMs && loss.fromMs < attempt.connackMs))
    return null;
  if (expirySec === NEVER) return true;
  const endMs = answered.closedMs + expirySec * 1000;
  // A node that dies was last heard of when it renewed its lease: before the outage of the store in which it died.
  const heardMs = Math.min(answered.closedMs, ...input.faultsMs.filter((ms) => ms > answered.connackMs));
  if (attempt.connackMs < heardMs + expirySec * 1000 - SLACK_MS) return true;
  // Whoever came in between, unheard or half open, may have kept it alive.
  const isAlone = answered === last && !answered.isSilent && answered.closedMs > 0;
  const hasFault = input.faultsMs.some((faultMs) => faultMs > answered.sentMs && faultMs < attempt.connackMs);
  if (isAlone && !hasFault && attempt.sentMs > endMs + SLACK_MS) return false;
  return null;
}

export function judgePresence(input: ModelInput): string[] {
  const breaches: string[] = [];
  for (const [device, attempts] of attemptsOf(input.history)) {
    for (const [index, attempt] of attempts.entries()) {
      if (attempt.connackMs === 0) continue;
      const expected = presenceOf(input, attempts.slice(0, index), attempt);
      if (expected === null || expected === attempt.isPresent) continue;
      breaches.push(
        `${device} was told session present ${attempt.isPresent} on connection ${attempt.connection}`,
      );
    }
  }
  return breaches;
}

/** How often a will has to come; null for at most once. */
function willCount(
  input: ModelInput,
  earlier: readonly Attempt[],
  attempt: Attempt,
  later: readonly Attempt[],
): 0 | 1 | null {
  const { closedMs, connackMs } = attempt;
  if (connackMs === 0) return null;
  // A CONNECT before it that was never answered may be carried out late, and take over.
  if (earlier.some((one) => one.connackMs === 0) && input.faultsMs.length > 0) return null;
  if (input.losses.some((loss) => loss.atMs > attempt.sentMs)) return null;
  const next = later[0];
  if (closedMs === 0) return 0;
  const delayMs = Math.min(attempt.willDelaySec, attempt.expirySec) * 1000;
  const endMs = next === undefined ? input.endMs : next.sentMs;
  const isCalm = (fromMs: number, toMs: number) =>
    input.faultsMs.every((faultMs) => faultMs < fromMs - SLACK_MS || faultMs > toMs + SLACK_MS);
  if (attempt.isGoodbye) {
    const isHeard = attempt.isGoodbyeHeard && isCalm(closedMs, closedMs);
    return isHeard ? 0 : null;
  }
  const back = later.find((one) => one.connackMs > 0);
  if (attempt.isSilent) {
    // Half open: its node believes it there until somebody takes over, or until the node dies.
    if (back === undefined || back !== next || !isCalm(attempt.sentMs, back.connackMs)) return null;
    return back.cleanStart || attempt.expirySec === 0 ? 1 : 0;
  }
  if (endMs > closedMs + delayMs + LATEST_MS) return 1;
  if (back === undefined) return null;
  if (back.cleanStart || attempt.expirySec === 0) return back === next ? 1 : null;
  const isSoon = back.connackMs < closedMs + delayMs - SLACK_MS;
  return isSoon && back.isPresent && isCalm(closedMs - 1000, back.connackMs) ? 0 : null;
}

/** `seen`: how often the witness, who subscribes at QoS 2 and is never reset, got each will. */
export function judgeWills(input: ModelInput, witness: string, beganMs: number): string[] {
  const counts = new Map<Message, number>();
  for (const { message, era, isDup } of input.history.deliveries) {
    if (!message.isWill || era.device !== witness) continue;
    const count = counts.get(message) ?? 0;
    // At QoS 1 what the last connection may have brought is brought again.
    if (!isDup || count === 0) counts.set(message, count + 1);
  }
  const breaches: string[] = [];
  for (const attempts of attemptsOf(input.history).values()) {
    for (const [index, attempt] of attempts.entries()) {
      const { will, sentMs } = attempt;
      if (will === null || sentMs < beganMs) continue;
      const count = counts.get(will) ?? 0;
      const expected = willCount(input, attempts.slice(0, index), attempt, attempts.slice(index + 1));
      const isRight = expected === null ? count <= 1 : count === expected;
      const isLost = input.losses.length > 0;
      if (!isRight && !isLost)
        breaches.push(`will ${will.id} came ${count} times, not ${expected ?? 'at most once'}`);
    }
  }
  return breaches;
}
