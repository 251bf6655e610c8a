// From what generators and processes told to figures: one round of one contestant, then medians and ranges of the rounds.
// A round that lost, doubled or disordered something is marked and its rate is not to be quoted.

import type { LoadCounts, LoadReport } from './load.ts';
import { Histogram, median } from './tally.ts';

export interface ServerUse {
  /** CPU seconds of all server processes between the marks. */
  cpuSeconds: number;
  residentBytes: number;
}

/** Figures of one round. Rates per second, latencies in microseconds. */
export interface RoundFigures {
  deliveredRate: number;
  ackedRate: number;
  cpuPerMillion: number;
  residentBytes: number;
  endToEnd: { p50: number; p95: number; p99: number; max: number };
  ack: { p50: number; p95: number; p99: number; max: number };
  sent: number;
  acked: number;
  received: number;
  lost: number;
  doubled: number;
  late: number;
  strayAcks: number;
  failures: string[];
  /** Resume only: CONNECT to first message, median and maximum of the sessions. */
  first?: { p50: number; p99: number; max: number };
}

/** Adds up the reports of the generators of one round. */
export function roundFigures(reports: LoadReport[], use: ServerUse, firstMicros?: number[]): RoundFigures {
  const endToEnd = new Histogram();
  const ack = new Histogram();
  let deliveredRate = 0;
  let ackedRate = 0;
  let delivered = 0;
  for (const { marks, ...report } of reports) {
    const [from, to] = marks as [LoadCounts, LoadCounts];
    const seconds = ((to.micros - from.micros) >>> 0) / 1e6;
    deliveredRate += (to.received - from.received) / seconds;
    ackedRate += (to.acked - from.acked) / seconds;
    delivered += to.received - from.received;
    endToEnd.merge(report.endToEnd);
    ack.merge(report.ack);
  }
  const sum = (pick: (report: LoadReport) => number) =>
    reports.reduce((total, report) => total + pick(report), 0);
  return {
    deliveredRate,
    ackedRate,
    cpuPerMillion: (use.cpuSeconds / delivered) * 1e6,
    residentBytes: use.residentBytes,
    endToEnd: percentiles(endToEnd),
    ack: percentiles(ack),
    sent: sum(({ total }) => total.sent),
    acked: sum(({ total }) => total.acked),
    received: sum(({ total }) => total.received),
    lost: sum(({ lost }) => lost),
    doubled: sum(({ doubled }) => doubled),
    late: sum(({ late }) => late),
    strayAcks: sum(({ strayAcks }) => strayAcks),
    failures: reports.flatMap(({ failures }) => failures),
    ...(firstMicros ? { first: percentiles(histogramOf(firstMicros)) } : {}),
  };
}

function histogramOf(values: number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.add(value);
  return histogram;
}

function percentiles(histogram: Histogram) {
  return {
    p50: histogram.percentile(0.5),
    p95: histogram.percentile(0.95),
    p99: histogram.percentile(0.99),
    max: histogram.max,
  };
}

/** A round counts when everything arrived once and in order, and nobody lost a connection. */
export function isSound(round: RoundFigures): boolean {
  const { lost, doubled, late, strayAcks, failures } = round;
  return lost + doubled + late + strayAcks + failures.length === 0;
}

/** Median and range of one figure over the rounds, scaled and rounded for reading. */
export function spread(rounds: RoundFigures[], pick: (round: RoundFigures) => number, digits = 0): string {
  const values = rounds.map(pick);
  const show = (value: number) => (Number.isNaN(value) ? '-' : value.toFixed(digits));
  if (values.length === 1) return show(values[0]!);
  return `${show(median(values))} (${show(Math.min(...values))}-${show(Math.max(...values))})`;
}

/** Lines for one contestant of one workload. */
export function describeRounds(name: string, setting: string, rounds: RoundFigures[]): string[] {
  const line = (pick: (round: RoundFigures) => { p50: number; p95: number; p99: number; max: number }) =>
    (['p50', 'p95', 'p99', 'max'] as const)
      .map((key) => `${key} ${spread(rounds, (round) => pick(round)[key] / 1000, 2)}`)
      .join(', ');
  const lines = [
    `${name}: ${setting}`,
    `  delivered ${spread(rounds, ({ deliveredRate }) => deliveredRate / 1000, 1)} k msg/s, acked ${spread(rounds, ({ ackedRate }) => ackedRate / 1000, 1)} k msg/s`,
    `  end to end ms: ${line(({ endToEnd }) => endToEnd)}`,
  ];
  if (rounds.some(({ acked }) => acked > 0)) lines.push(`  ack ms: ${line(({ ack }) => ack)}`);
  if (rounds[0]?.first) {
    lines.push(
      `  CONNECT to first message ms: p50 ${spread(rounds, ({ first }) => first!.p50 / 1000, 1)}, max ${spread(rounds, ({ first }) => first!.max / 1000, 1)}`,
    );
  }
  lines.push(
    `  server CPU s per million ${spread(rounds, ({ cpuPerMillion }) => cpuPerMillion, 2)}, resident MB ${spread(rounds, ({ residentBytes }) => residentBytes / 1e6)}`,
  );
  for (const round of rounds) lines.push(`  ${describeAccount(round)}`);
  return lines;
}

function describeAccount(round: RoundFigures): string {
  const { sent, acked, received, lost, doubled, late, strayAcks, failures } = round;
  const verdict = isSound(round) ? 'sound' : 'DOES NOT COUNT';
  const causes = failures.length > 0 ? `, ${failures.length} connections failed (${failures[0]})` : '';
  return `${verdict}: sent ${sent}, acked ${acked}, received ${received}, lost ${lost}, doubled ${doubled}, out of order ${late}, stray acks ${strayAcks}${causes}`;
}

/** "swarmq / mosquitto: 4.1 (3.9-4.4)" from the rates of paired rounds. */
export function describeRatio(
  name: string,
  rounds: RoundFigures[],
  otherName: string,
  others: RoundFigures[],
): string {
  const ratios = rounds.map(
    (round, index) => round.deliveredRate / (others[index]?.deliveredRate ?? Number.NaN),
  );
  const range = `${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}`;
  return `${name} / ${otherName}: ${median(ratios).toFixed(2)} (${range})`;
}
