// What a contest looks like on a terminal: a contestant's medians and ranges, then the account of each round, and which did
// not count.

import type { Verdict } from './bars.ts';
import { FIGURES, type FigureName, isSound, type RoundFigures, ratios, spread, spreadOf } from './figures.ts';
import type { Contest } from './play.ts';

const LATENCY = ['p50', 'p95', 'p99', 'max'] as const;

/** Lines for one contestant of one workload. */
export function describeContest({ label, setting, rounds }: Contest): string[] {
  const say = (name: FigureName) =>
    `${FIGURES[name].title} ${spreadOf(rounds, name)} ${FIGURES[name].unit}`.trim();
  const lines = [`${label}: ${setting}`];
  const [first] = rounds;
  if (first?.crowd) {
    lines.push(`  ${say('connects')}, ${say('connectsPerCpu')}, ${say('connectP99')}`);
    lines.push(
      `  over the empty process: ${say('memoryAtFirst')}, in the end ${say('memory')}; ${say('used')}`,
    );
  } else {
    lines.push(`  ${say('delivered')}, ${say('acked')}`);
    lines.push(`  end to end ms: ${latencyOf(rounds, 'endToEnd')}`);
    if (rounds.some(({ acked }) => acked > 0)) lines.push(`  ack ms: ${latencyOf(rounds, 'ack')}`);
    if (first?.first) lines.push(`  ${say('first')}`);
    lines.push(`  ${say('cpu')}, ${say('busiest')}, ${say('used')}`);
  }
  return [...lines, ...rounds.map((round) => `  ${describeAccount(round)}`)];
}

function latencyOf(rounds: RoundFigures[], kind: 'endToEnd' | 'ack'): string {
  const values = (key: (typeof LATENCY)[number]) => rounds.map((round) => round[kind][key] / 1000);
  return LATENCY.map((key) => `${key} ${spread(values(key), 2)}`).join(', ');
}

function describeAccount(round: RoundFigures): string {
  const { sent, acked, received, lost, doubled, late, strayAcks, failures, generatorBusy } = round;
  const verdict = isSound(round) ? 'sound' : 'DOES NOT COUNT';
  const causes = failures.length > 0 ? `, ${failures.length} connections failed (${failures[0]})` : '';
  return `${verdict}: sent ${sent}, acked ${acked}, received ${received}, lost ${lost}, doubled ${doubled}, out of order ${late}, stray acks ${strayAcks}${causes}; generator ${(generatorBusy * 100).toFixed(0)} % busy`;
}

/** "swarmq / mosquitto: 4.1 (3.9-4.4)", of the figure that the workload is about. */
export function describeRatio(ours: Contest, theirs: Contest, name: FigureName): string {
  const text = spread(ratios(ours.rounds, theirs.rounds, name), 2);
  return `${ours.label} / ${theirs.label}, ${FIGURES[name].title}: ${text === '-' ? 'no round counts' : text}`;
}

/** "met     qos0: delivered at least 10 x mosquitto: 12.10 (11.60-12.40)". */
export function describeVerdict(bar: string, { demand, measured, isMet }: Verdict): string {
  const word = isMet === undefined ? 'not measured' : isMet ? 'met' : 'MISSED';
  return `${word.padEnd(12)} ${bar}: ${demand}: ${measured}`;
}
