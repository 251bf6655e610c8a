// Subscribers that are away while messages are stored: queues of persistent sessions, or retained messages that nobody has
// asked for yet. Then all come at once, each to the next port. The two halves are measured by whoever asks for them.

import { eventually } from '../test/helpers/eventually.ts';
import { inLanes } from './connection.ts';
import type { Load } from './load.ts';
import { DISCONNECT, nowMicros } from './wire.ts';

/** Subscribers that come back at a time. */
const LANES = 64;
const STORE_PATIENCE_MS = 600_000;
const FETCH_PATIENCE_MS = 600_000;
/** After so long without a message the rest is taken for lost. */
const QUIET_MS = 10_000;

/** Lets each publisher of `load` (connected) store so many messages; resolves when all are acknowledged. */
export async function store(load: Load, messages: number): Promise<void> {
  const { publishers, subscribers } = load;
  for (const subscriber of subscribers) subscriber.close(DISCONNECT);
  load.waitsForSubscribers = false;
  for (const publisher of publishers) publisher.due = messages;
  load.start();
  await eventually(
    'all messages are stored',
    () => publishers.every(({ acked, failure }) => acked === messages || failure !== undefined),
    STORE_PATIENCE_MS,
  );
}

/**
 * Brings the subscribers back until all that was stored has come, or nothing comes any more: what is missing then is in
 * the report of the load. Returns the microseconds from CONNECT to the first message, one for each subscriber.
 */
export async function fetchStored(load: Load, quietMs = QUIET_MS): Promise<number[]> {
  const { job, publishers, subscribers } = load;
  const ports = job.subscriberPorts;
  const connectMicros: number[] = [];
  await inLanes(subscribers, LANES, async (subscriber, index) => {
    subscriber.firstMicros = undefined;
    connectMicros[index] = nowMicros();
    if (job.subscribesLate) await load.openSubscriber(subscriber, index);
    else await subscriber.open(ports[(index + 1) % ports.length]!, job.isClean);
  });
  const expected = publishers.reduce((sum, { acked }) => sum + acked, 0) * job.copies;
  let seen = -1;
  let seenAt = 0;
  await eventually(
    'all stored messages came',
    () => {
      if (load.received !== seen) seenAt = performance.now();
      seen = load.received;
      return seen >= expected || performance.now() - seenAt > quietMs;
    },
    FETCH_PATIENCE_MS,
  );
  return subscribers.map(
    ({ firstMicros }, index) => ((firstMicros ?? nowMicros()) - connectMicros[index]!) >>> 0,
  );
}
