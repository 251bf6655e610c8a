// Judges a history: whether the broker kept what it promises, as far as its clients can tell. Nothing but the history is
// looked at. Where a fault leaves two outcomes open (a CONNECT that was never answered, a message that was given up, a
// store that lost its tail) no rule says anything; everything else is strict.

import type { History } from './history.ts';

/** What the level of durability and the set-up promise, and within what times. */
export interface Promises {
  /** cluster.lease in milliseconds; default 3000. */
  leaseMs?: number;
  /** Messages that one session may have waiting (limits.maxQueuedMessages); default 100,000. */
  maxQueued?: number;
  /** How long an old connection may live on after the CONNACK of the next one; default 1000. */
  takeoverMs?: number;
  /** How late a message may come behind its expiry where no fault holds it up; default 1000. */
  expirySlackMs?: number;
  /** Rules that are not judged, by name. */
  without?: readonly string[];
}

export interface Breach {
  /** Name of the rule. */
  rule: string;
  /** A sentence with client, message id and topic. */
  what: string;
  client: string;
  /** performance.now() of what broke it, for finding it in logs; NaN where it is something that did not happen. */
  at: number;
}

type Rule = (history: History, promises: Promises) => Breach[];

/** Nothing is delivered that was not sent before. */
const sent: Rule = (history) => {
  const topics = new Map<number, string>();
  const breaches: Breach[] = [];
  for (const event of history) {
    if (event.kind === 'publish') topics.set(event.id, event.topic);
    if (event.kind === 'connect' && event.will) topics.set(event.will.id, event.will.topic);
    if (event.kind !== 'deliver' || event.id === 0 || topics.get(event.id) === event.topic) continue;
    const { client, at, id, topic } = event;
    breaches.push({ rule: 'sent', what: `${client} got ${id} on ${topic}, which nobody sent`, client, at });
  }
  return breaches;
};

const RULES = { sent } satisfies Record<string, Rule>;

/** All breaches, in order of rules; none where all is well. Reads the history only. */
export function check(history: History, promises: Promises = {}): Breach[] {
  return Object.entries(RULES).flatMap(([name, rule]) =>
    promises.without?.includes(name) ? [] : rule(history, promises),
  );
}
