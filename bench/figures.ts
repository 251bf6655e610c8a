// From what generators and processes told to figures: one round of one contestant, and what can be said about a round by
// name. A round that lost, doubled or disordered something is not sound, and its figures are not to be quoted.

import type { CrowdReport, LoadCounts, LoadReport } from './job.ts';
import { Histogram, median } from './tally.ts';

export interface ServerUse {
  /** CPU seconds of all server processes between the marks. */
  cpuSeconds: number;
  /** Of the one thread among them that used most. */
  busiestSeconds: number;
  memoryBytes: number;
  /** Share of its core that the busiest generator used between the marks. */
  generatorBusy: number;
}

interface Percentiles {
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** Figures of one round. Rates per second, latencies in microseconds. */
export interface RoundFigures {
  deliveredRate: number;
  ackedRate: number;
  cpuPerMillion: number;
  busiestPerMillion: number;
  memoryBytes: number;
  generatorBusy: number;
  endToEnd: Percentiles;
  ack: Percentiles;
  sent: number;
  acked: number;
  received: number;
  lost: number;
  doubled: number;
  late: number;
  strayAcks: number;
  failures: string[];
  /** Where subscribers were away: CONNECT to first message. */
  first?: Percentiles;
  crowd?: CrowdFigures;
}

interface CrowdFigures {
  connectRate: number;
  connectsPerCpuSecond: number;
  /** Over the same processes before anybody came. */
  bytesEach: number;
  /** The same when all had just come. */
  bytesEachAtFirst: number;
  latency: Percentiles;
}

interface Figure {
  title: string;
  unit: string;
  digits: number;
  /** NaN where the round has none. */
  pick(round: RoundFigures): number;
}

const none = Number.NaN;

/** What can be compared and drawn. */
export const FIGURES = {
  delivered: figure('delivered', 'k msg/s', 1, ({ deliveredRate }) => deliveredRate / 1000),
  acked: figure('acked', 'k msg/s', 1, ({ ackedRate }) => ackedRate / 1000),
  cpu: figure('server CPU per million', 's', 2, ({ cpuPerMillion }) => cpuPerMillion),
  busiest: figure('busiest thread per million', 's', 2, ({ busiestPerMillion }) => busiestPerMillion),
  p50: figure('end to end p50', 'ms', 2, ({ endToEnd }) => endToEnd.p50 / 1000),
  p99: figure('end to end p99', 'ms', 2, ({ endToEnd }) => endToEnd.p99 / 1000),
  ackP50: figure('ack p50', 'ms', 2, ({ ack }) => ack.p50 / 1000),
  ackP99: figure('ack p99', 'ms', 2, ({ ack }) => ack.p99 / 1000),
  first: figure('CONNECT to first message p50', 'ms', 1, ({ first }) => (first?.p50 ?? none) / 1000),
  connects: figure('connects', 'per s', 0, ({ crowd }) => crowd?.connectRate ?? none),
  connectsPerCpu: figure('connects', 'per CPU s', 0, ({ crowd }) => crowd?.connectsPerCpuSecond ?? none),
  connectP99: figure('connect p99', 'ms', 2, ({ crowd }) => (crowd?.latency.p99 ?? none) / 1000),
  memoryAtFirst: figure(
    'memory per connection when all have come',
    'KB',
    1,
    ({ crowd }) => (crowd?.bytesEachAtFirst ?? none) / 1024,
  ),
  memory: figure('memory per connection', 'KB', 1, ({ crowd }) => (crowd?.bytesEach ?? none) / 1024),
  used: figure('server memory', 'MB', 0, ({ memoryBytes }) => memoryBytes / 1e6),
  generator: figure('generator busy', '%', 0, ({ generatorBusy }) => generatorBusy * 100),
};

export type FigureName = keyof typeof FIGURES;

function figure(title: string, unit: string, digits: number, pick: Figure['pick']): Figure {
  return { title, unit, digits, pick };
}

/** Adds up the reports of the generators of one round. */
export function roundFigures(reports: LoadReport[], use: ServerUse, firstMicros?: number[]): RoundFigures {
  const endToEnd = new Histogram();
  const ack = new Histogram();
  let deliveredRate = 0;
  let ackedRate = 0;
  let delivered = 0;
  let acked = 0;
  for (const { marks, ...report } of reports) {
    const [from, to] = marks as [LoadCounts, LoadCounts];
    const seconds = ((to.micros - from.micros) >>> 0) / 1e6;
    deliveredRate += (to.received - from.received) / seconds;
    ackedRate += (to.acked - from.acked) / seconds;
    delivered += to.received - from.received;
    acked += to.acked - from.acked;
    endToEnd.merge(report.endToEnd);
    ack.merge(report.ack);
  }
  const sum = (pick: (report: LoadReport) => number) =>
    reports.reduce((total, report) => total + pick(report), 0);
  // Where all subscribers are away, what is stored counts.
  const messages = delivered || acked || none;
  return {
    deliveredRate,
    ackedRate,
    cpuPerMillion: (use.cpuSeconds / messages) * 1e6,
    busiestPerMillion: (use.busiestSeconds / messages) * 1e6,
    memoryBytes: use.memoryBytes,
    generatorBusy: use.generatorBusy,
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

/** A round of which nothing is known but that it failed. */
export function failedRound(reason: string): RoundFigures {
  const nothing = percentiles(new Histogram());
  return {
    deliveredRate: none,
    ackedRate: none,
    cpuPerMillion: none,
    busiestPerMillion: none,
    memoryBytes: none,
    generatorBusy: none,
    endToEnd: nothing,
    ack: nothing,
    sent: 0,
    acked: 0,
    received: 0,
    lost: 0,
    doubled: 0,
    late: 0,
    strayAcks: 0,
    failures: [reason],
  };
}

/**
 * Figures of a round in which a crowd came; `emptyBytes` is what the servers used before, `busyBytes` when all had just come
 * (`use` has what they use in the end).
 */
export function crowdFigures(
  report: CrowdReport,
  use: ServerUse,
  emptyBytes: number,
  busyBytes: number,
): RoundFigures {
  return {
    ...failedRound(''),
    failures: report.failures,
    memoryBytes: use.memoryBytes,
    generatorBusy: use.generatorBusy,
    crowd: {
      connectRate: (report.connected / report.micros) * 1e6,
      connectsPerCpuSecond: report.connected / use.cpuSeconds,
      bytesEachAtFirst: (busyBytes - emptyBytes) / report.connected,
      bytesEach: (use.memoryBytes - emptyBytes) / report.connected,
      latency: percentiles(new Histogram(report.latency.counts, report.latency.max)),
    },
  };
}

function histogramOf(values: number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.add(value);
  return histogram;
}

function percentiles(histogram: Histogram): Percentiles {
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

/** Median and range of values, for reading: "4.1 (3.9-4.4)". */
export function spread(values: number[], digits: number): string {
  // NaN comes back from a file as null.
  const known = values.filter((value) => typeof value === 'number' && !Number.isNaN(value));
  if (known.length === 0) return '-';
  const show = (value: number) => value.toFixed(digits);
  if (known.length === 1) return show(known[0]!);
  return `${show(median(known))} (${show(Math.min(...known))}-${show(Math.max(...known))})`;
}

/** The same of one figure over the rounds, without its unit. */
export function spreadOf(rounds: RoundFigures[], name: FigureName): string {
  const { pick, digits } = FIGURES[name];
  return spread(rounds.map(pick), digits);
}

/** One figure of `rounds` divided by that of the round of `others` that was played beside it; only where both are sound. */
export function ratios(rounds: RoundFigures[], others: RoundFigures[], name: FigureName): number[] {
  const { pick } = FIGURES[name];
  return rounds.flatMap((round, index) => {
    const other = others[index];
    return other && isSound(round) && isSound(other) ? [pick(round) / pick(other)] : [];
  });
}
