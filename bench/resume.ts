// The resume workload: every subscriber is away while its messages are stored, then all come back at once, each to the
// next port. Measured: from CONNECT to the first message, and how fast what waited comes.

import { eventually } from '../test/helpers/eventually.ts';
import type { Load } from './load.ts';
import { DISCONNECT, nowMicros } from './wire.ts';

export interface ResumeFigures {
  /** Microseconds from CONNECT to the first message, one for each session. */
  firstMicros: number[];
  /** From the first CONNECT to the last message. */
  drainMicros: number;
}

/** Lets `load` (connected) store `messages` per publisher and fetch them. Call `load.finish` afterwards. */
export async function runResume(load: Load, messages: number): Promise<ResumeFigures> {
  const { job, publishers, subscribers } = load;
  for (const subscriber of subscribers) subscriber.close(DISCONNECT);
  load.waitsForSubscribers = false;
  for (const publisher of publishers) publisher.due = messages;
  load.start();
  await eventually(
    'all messages are stored',
    () => publishers.every(({ acked, failure }) => acked === messages || failure !== undefined),
    600_000,
  );
  load.mark();
  const started = nowMicros();
  const ports = job.subscriberPorts;
  const connectMicros: number[] = [];
  await Promise.all(
    subscribers.map((subscriber, index) => {
      subscriber.firstMicros = undefined;
      connectMicros[index] = nowMicros();
      return subscriber.open(ports[(index + 1) % ports.length]!, job.isClean);
    }),
  );
  await eventually(
    'all stored messages came',
    () => load.received >= messages * job.copies * publishers.length,
    120_000,
  ).catch(() => {});
  load.mark();
  return {
    firstMicros: subscribers.map(
      ({ firstMicros }, index) => ((firstMicros ?? nowMicros()) - connectMicros[index]!) >>> 0,
    ),
    drainMicros: (nowMicros() - started) >>> 0,
  };
}
