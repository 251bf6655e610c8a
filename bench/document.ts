// docs/benchmarks.md and its charts, from raw results alone: what each contest came to, and which bars are met. Medians of
// the rounds that count, with their range; a contestant without one is shown as such and not left out.

import { BARS, judge } from './bars.ts';
import { drawChart } from './chart.ts';
import { FIGURES, type FigureName, isSound, ratios, spread, spreadOf } from './figures.ts';
import type { Contest } from './play.ts';
import type { Group, Results } from './results.ts';
import { median } from './tally.ts';
import { WORKLOADS } from './workloads.ts';

/** Results with the name of their file, without its ending. */
export interface NamedResults extends Results {
  name: string;
}

export interface Document {
  markdown: string;
  /** By path beside the document. */
  charts: Map<string, string>;
}

/** Where the charts lie, seen from the document. */
export const CHARTS = 'benchmarks';

const COLUMNS: FigureName[] = [
  ...(['delivered', 'acked', 'connects', 'connectsPerCpu', 'connectP99', 'cpu', 'busiest'] as const),
  ...(['p50', 'p99', 'ackP50', 'ackP99', 'first', 'memoryAtFirst', 'memory', 'used', 'generator'] as const),
];

const INTRODUCTION = `# Benchmarks

Made by \`npm run bench:report\` from the raw results in \`bench/results\`, which \`npm run bench -- --json FILE\` writes.
\`npm run bench -- --bars --rounds 5\` plays it all again; \`npm run bench -- --help\` lists workloads and options.

How it is measured:

- All contestants of a table were played in turn on the same machine, each round with fresh processes and fresh data.
  Figures are medians of the rounds, with their range in parentheses; ratios are those of rounds played one after the other.
- In a closed loop a publisher stops at \`window\` messages that are not acknowledged or not delivered; in an open loop it
  sends at a rate, and a message that is late is timed from when it was due.
- Every message carries its publisher, its number and its time. A round in which one was lost, came twice or out of order,
  was acknowledged twice, or in which a connection failed does not count.
- CPU and memory are those of all server processes together, stores included. What their busiest thread used is the least
  time that so many messages take however many cores there are: the one bound on a rate that does not come from the machine.
- Where a generator is near 100 % busy it is the limit, or near it, and the contestant may do more than it shows: brokers
  that write every message by itself make the generator read every message by itself.
- Rates travel badly between machines, ratios better. With fewer cores than busy processes, contestants of several
  processes share what there is, so look at CPU per message beside the rate.
`;

/** The document and its charts. The same results give the same bytes. */
export function makeDocument(all: NamedResults[]): Document {
  const charts = new Map<string, string>();
  const sections = [INTRODUCTION, machines(all), contestants(all), bars(all)];
  for (const results of all) {
    for (const group of results.groups) sections.push(groupSection(results.name, group, charts));
  }
  return { markdown: sections.filter((section) => section !== '').join('\n'), charts };
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return `${[line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')}\n`;
}

function machines(all: NamedResults[]): string {
  const rows = all.map(({ name, day, machine, model, node, rounds, seconds, warmUpSeconds, generators }) => [
    name,
    day,
    `${model}; ${machine}`,
    node,
    `${rounds} of ${seconds} s after ${warmUpSeconds} s`,
    String(generators),
  ]);
  const head = ['results', 'day', 'machine', 'Node', 'rounds', 'generator processes'];
  return `## Machines\n\n${table(head, rows)}`;
}

function contestants(all: NamedResults[]): string {
  const rows = new Map<string, string[]>();
  for (const { peer, version, setting, ack } of contestsOf(all)) {
    if (version !== '') rows.set(`${peer} ${setting}`, [peer, version, setting, ack]);
  }
  const sorted = [...rows].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row);
  return `## Contestants\n\n${table(['', 'version', 'configuration', 'what an acknowledgement says'], sorted)}`;
}

const contestsOf = (all: NamedResults[]) =>
  all.flatMap(({ groups }) => groups).flatMap(({ contests }) => contests);

function bars(all: NamedResults[]): string {
  const rows: string[][] = [];
  for (const { name, groups } of all) {
    for (const { bar, contests } of groups) {
      const known = bar === undefined ? undefined : BARS.get(bar);
      if (bar === undefined || !known) continue;
      for (const { demand, measured, isMet } of judge(known, contests)) {
        const verdict = isMet === undefined ? 'not measured' : isMet ? 'met' : '**missed**';
        rows.push([name, `[${bar}](#${anchorOf(name, bar)})`, demand, measured, verdict]);
      }
    }
  }
  if (rows.length === 0) return '';
  return `## Bars\n\n${table(['results', 'work', 'asked', 'measured', ''], rows)}`;
}

/** As GitHub makes it of the heading of a group. */
const anchorOf = (results: string, title: string) =>
  `${results}: ${title}`
    .toLowerCase()
    .replace(/[^\w -]/g, '')
    .replaceAll(' ', '-');

function groupSection(results: string, { bar, contests }: Group, charts: Map<string, string>): string {
  const [first] = contests;
  if (!first) return '';
  const title = bar ?? first.workload;
  const { figure } = WORKLOADS.get(first.workload) ?? { figure: 'delivered' as const };
  const file = `${CHARTS}/${results}-${title}.svg`;
  const sound = contests.map((contest) => ({ ...contest, rounds: contest.rounds.filter(isSound) }));
  charts.set(file, chartOf(title, figure, sound));
  const works = [...new Set(contests.map(({ title: work, size }) => `${work}; ${size}`))];
  const text = works.map((work) => `${work}.`).join('\n\n');
  const picture = `![${FIGURES[figure].title} of each contestant](${file})`;
  return `## ${results}: ${title}\n\n${text}\n\n${figuresTable(figure, contests, sound)}\n${picture}\n`;
}

function figuresTable(figure: FigureName, contests: Contest[], sound: Contest[]): string {
  const columns = COLUMNS.filter((name) =>
    sound.some(({ rounds }) => rounds.some((round) => FIGURES[name].pick(round) > 0)),
  );
  const [ours] = contests;
  const head = ['', ...columns.map((name) => `${FIGURES[name].title}, ${FIGURES[name].unit}`)];
  head.push(`${FIGURES[figure].title}: ${ours!.label} to it`, 'rounds that count');
  const rows = contests.map((contest, index) => [
    contest.label,
    ...columns.map((name) => spreadOf(sound[index]!.rounds, name)),
    contest === ours ? '' : spread(ratios(ours!.rounds, contest.rounds, figure), 2),
    `${sound[index]!.rounds.length} of ${contest.rounds.length}`,
  ]);
  return table(head, rows);
}

function chartOf(title: string, figure: FigureName, sound: Contest[]): string {
  const { title: what, unit, digits, pick } = FIGURES[figure];
  const rows = sound.map(({ label, peer, rounds }) => ({
    label,
    values: rounds.map(pick).filter((value) => Number.isFinite(value)),
    isOurs: peer === 'swarmq',
  }));
  const show = (value: number) => String(Number(value.toFixed(digits)));
  return drawChart(`${title}: ${what}, ${unit}`, rows, median, show);
}
