// What a run is judged by: the promises of the set-up, and the form of a verdict. Rules are functions of a reading and
// these promises.

import type { Era, Reading } from './reading.ts';

/** What the set-up promises, and within what times. */
export interface Promises {
  /** cluster.lease in milliseconds; default 3000. */
  leaseMs: number;
  /** Messages that one session may have waiting (limits.maxQueuedMessages); default 100,000. */
  maxQueued: number;
  /** How long an old connection may live on after the CONNACK of the next one; default 1000. */
  takeoverMs: number;
  /** How late a message may come behind its expiry where no fault holds it up; default 1000. */
  expirySlackMs: number;
  /** Rules that are not judged, by name. */
  without: readonly string[];
}

export const DEFAULT_PROMISES: Promises = {
  leaseMs: 3000,
  maxQueued: 100_000,
  takeoverMs: 1000,
  expirySlackMs: 1000,
  without: [],
};

export interface Breach {
  /** Name of the rule. */
  rule: string;
  /** A sentence with client, message id and topic. */
  what: string;
  client: string;
  /** performance.now() of what broke it, for finding it in logs; NaN where it is something that did not happen. */
  at: number;
}

/** What a rule finds; the checker adds the rule's name. */
export type Finding = Omit<Breach, 'rule'>;

export type Rule = (reading: Reading, promises: Promises) => Finding[];

/** A rule's findings on every session of a run. */
export function onEachEra({ clients }: Reading, judge: (era: Era) => Finding[]): Finding[] {
  return [...clients.values()].flatMap(({ eras }) => eras.flatMap(judge));
}
