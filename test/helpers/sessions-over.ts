// Sessions over a store of a few functions, whose waits are over at once: what they do when that refuses.

import { NodeStats } from '../../src/observability/node-stats.ts';
import type { Session } from '../../src/session/session.ts';
import { Sessions, type SessionsOptions } from '../../src/session/sessions.ts';
import type { ClaimedSession } from '../../src/store/store.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';

/** A session that was there, without subscriptions. */
export const claimed: ClaimedSession = {
  status: 'claimed',
  present: true,
  life: 1,
  epoch: 5,
  rev: 1,
  previousOwner: '',
  row: null,
  rowPending: false,
  rowVersion: 0,
  head: 1,
  tail: 0,
  sent: 0,
  inbound: [],
  reading: null,
  wills: [],
  endedLife: 0,
  discarded: 0,
  nowMs: 0,
};

/** Waits are over at once. */
const clock: Clock = { ...systemClock, after: (_delayMs, run) => systemClock.after(0, run) };

function fail(error: unknown): never {
  throw error;
}

/** The sessions of node 'node'. */
export function sessionsOver(store: object, onFault: (error: unknown) => void = fail): Sessions {
  return new Sessions({
    incarnation: 'node',
    store,
    clock,
    router: { version: 1 },
    local: { set() {}, remove() {} },
    announcer: { flush() {} },
    payloads: {},
    stats: new NodeStats(),
    limits: { maxInflightMessages: 8, pullBytes: 1000, maxRetainedPage: 10, queueFullPolicy: 'drop-oldest' },
    append: async () => 1,
    systemTopics: () => [],
    onFault,
    serving: async () => {},
    mayClaim: () => true,
    leases: () => [],
    notifyTakeover() {},
    publishWill: async () => {},
  } as unknown as SessionsOptions);
}

/** The claim of a client 'client' whose session lives for a minute. */
export function claimOf(sessions: Sessions): Promise<Session> {
  return sessions.claim({
    clientId: 'client',
    version: 5,
    cleanStart: false,
    expirySec: 60,
    will: null,
  });
}
