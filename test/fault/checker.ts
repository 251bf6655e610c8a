// Judges a history: whether the broker kept what it promises, as far as its clients can tell. Nothing but the history is
// looked at. Where a fault leaves two outcomes open (a CONNECT that was never answered, a message that was given up, a
// store that lost its tail) no rule says anything; everything else is strict.

import type { History } from './history.ts';
import { asked, delivered, expired, once, ordered, sent } from './message-rules.ts';
import { type Breach, DEFAULT_PROMISES, type Promises, type Rule } from './promises.ts';
import { readHistory } from './reading.ts';
import { retainedForward, retainedFresh, retainedSeen } from './retained-rules.ts';
import { presence, takeover } from './session-rules.ts';
import { sharedAsked, sharedDelivered, sharedOnce } from './shared-rules.ts';
import { wills } from './will-rules.ts';

const RULES: Readonly<Record<string, Rule>> = {
  sent,
  delivered,
  asked,
  once,
  ordered,
  expired,
  presence,
  takeover,
  retainedFresh,
  retainedForward,
  retainedSeen,
  wills,
  sharedDelivered,
  sharedOnce,
  sharedAsked,
};

/** All breaches, rule by rule; none where all is well. */
export function check(history: History, promises: Partial<Promises> = {}): Breach[] {
  const given = { ...DEFAULT_PROMISES, ...promises };
  const reading = readHistory(history);
  return Object.entries(RULES).flatMap(([rule, judge]) =>
    given.without.includes(rule) ? [] : judge(reading, given).map((finding) => ({ rule, ...finding })),
  );
}
