// Histories and their checks: what publishers were promised, what subscribers were given, and the difference. The checks
// know messages only by the id in their payload, so that a broker cannot mislead them by packet ids or flags.

import type { Qos, Received } from './mqtt-client.ts';

/** Payload of message `seq` of `publisher`: "publisher:seq:", padded to `bytes`. */
export function messagePayload(publisher: string, seq: number, bytes = 0): string {
  return `${publisher}:${seq}:`.padEnd(bytes, '.');
}

/** Publisher and number of a payload made by `messagePayload`. */
export function readPayload(payload: Buffer): { publisher: string; seq: number } {
  const text = payload.toString('latin1', 0, 80);
  const first = text.indexOf(':');
  const second = text.indexOf(':', first + 1);
  if (first < 1 || second < 0) throw new Error(`no message id in ${text}`);
  return { publisher: text.slice(0, first), seq: Number(text.slice(first + 1, second)) };
}

/** What one publisher sent, numbered from 0, and what it knows to be taken. */
export class SentLog {
  readonly publisher: string;
  readonly topics: string[] = [];
  readonly qos: Qos[] = [];
  readonly sentAt: number[] = [];
  readonly ackedAt: (number | undefined)[] = [];
  acked = 0;

  constructor(publisher: string) {
    this.publisher = publisher;
  }

  get sent(): number {
    return this.sentAt.length;
  }

  addSent(topic: string, qos: Qos): void {
    this.topics.push(topic);
    this.qos.push(qos);
    this.sentAt.push(performance.now());
    this.ackedAt.push(undefined);
  }

  addAcked(seq: number): void {
    if (this.ackedAt[seq] === undefined) this.acked++;
    this.ackedAt[seq] = performance.now();
  }
}

export interface Verdict {
  sent: number;
  acked: number;
  /** Messages the subscriber got at least once. */
  received: number;
  /** Acknowledged to the publisher and never received. Ids as "publisher:seq". */
  lost: string[];
  /** Given to the application more than once (QoS 2: repeats of an unreleased packet id do not count). */
  doubled: string[];
  /** First occurrences that came after a later message of the same publisher, topic and QoS. */
  disordered: string[];
  /** Received, and in no log. */
  unknown: string[];
}

export interface JudgeOptions {
  /** Which of the sent messages the subscriber has to get; default all. */
  expects?: (log: SentLog, seq: number) => boolean;
  /** QoS 0 messages count as acknowledged when they were sent; default false: they may be lost. */
  countsQos0?: boolean;
}

/** Compares what was sent with what one subscriber received, in the order of receiving. */
export function judge(logs: SentLog[], received: Received[], options: JudgeOptions = {}): Verdict {
  const byName = new Map(logs.map((log) => [log.publisher, { log, times: new Uint32Array(log.sent) }]));
  const verdict: Verdict = {
    sent: 0,
    acked: 0,
    received: 0,
    lost: [],
    doubled: [],
    disordered: [],
    unknown: [],
  };
  const highest = new Map<string, number>();
  for (const message of received) {
    if (message.isRepeat) continue;
    const { publisher, seq } = readPayload(message.payload);
    const known = byName.get(publisher);
    if (!known || seq >= known.log.sent) {
      verdict.unknown.push(`${publisher}:${seq}`);
      continue;
    }
    if (++known.times[seq]! > 1) {
      verdict.doubled.push(`${publisher}:${seq}`);
      continue;
    }
    const { log } = known;
    const line = `${publisher} ${log.qos[seq]} ${log.topics[seq]}`;
    const before = highest.get(line) ?? -1;
    // A message whose publisher gave it up may come late; it does not hold the line for later ones either.
    if (log.qos[seq]! > 0 && log.ackedAt[seq] === undefined) continue;
    if (seq < before) verdict.disordered.push(`${publisher}:${seq}`);
    else highest.set(line, seq);
  }
  for (const { log, times } of byName.values()) countLost(log, times, options, verdict);
  return verdict;
}

function countLost(log: SentLog, times: Uint32Array, options: JudgeOptions, verdict: Verdict): void {
  verdict.sent += log.sent;
  verdict.acked += log.acked;
  for (let seq = 0; seq < log.sent; seq++) {
    if (times[seq]! > 0) verdict.received++;
    const isPromised = log.ackedAt[seq] !== undefined && (log.qos[seq]! > 0 || options.countsQos0);
    if (isPromised && times[seq] === 0 && (options.expects?.(log, seq) ?? true)) {
      verdict.lost.push(`${log.publisher}:${seq}`);
    }
  }
}

/** One line for a test's comment. */
export function describe(verdict: Verdict): string {
  const { sent, acked, received, lost, doubled, disordered } = verdict;
  return `sent ${sent}, acked ${acked}, received ${received}, lost ${lost.length}, doubled ${doubled.length}, out of order ${disordered.length}`;
}

/** The value below which `share` (0 to 1) of `values` lie; NaN for none. */
export function percentile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** Milliseconds with one digit, for comments. */
export function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}

/**
 * Waits until `client` has got everything that the logs promise it, and gives the verdict; after `withinMs` without that
 * the verdict tells what is missing.
 */
export async function awaitDelivery(
  client: { received: Received[] },
  logs: SentLog[],
  options: JudgeOptions = {},
  withinMs = 30_000,
): Promise<Verdict> {
  const deadline = performance.now() + withinMs;
  let seen = -1;
  for (;;) {
    // Judging is as much work as there are messages: only when something new has come.
    if (client.received.length !== seen || performance.now() > deadline) {
      seen = client.received.length;
      const verdict = judge(logs, client.received, options);
      if (verdict.lost.length === 0 || performance.now() > deadline) return verdict;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
