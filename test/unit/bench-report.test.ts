// The report says what the raw results say, and nothing that they do not: medians and ranges of the rounds that count, bars
// that are met, missed or not measured. Results come through a file, as they do in use.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BARS, judge, labelOf } from '../../bench/bars.ts';
import { drawChart } from '../../bench/chart.ts';
import { makeDocument } from '../../bench/document.ts';
import { crowdFigures, failedRound, isSound, type RoundFigures } from '../../bench/figures.ts';
import type { Contest } from '../../bench/play.ts';
import { type Group, type Results, readResults, writeResults } from '../../bench/results.ts';
import { Histogram, median } from '../../bench/tally.ts';
import { describeContest, describeRatio, describeVerdict } from '../../bench/text.ts';
import { WORKLOADS } from '../../bench/workloads.ts';

function round(thousands: number, cpuPerMillion: number): RoundFigures {
  const latency = { p50: 100, p95: 200, p99: 300, max: 400 };
  return {
    ...failedRound(''),
    failures: [],
    deliveredRate: thousands * 1000,
    cpuPerMillion,
    busiestPerMillion: cpuPerMillion / 2,
    memoryBytes: 5e7,
    generatorBusy: 0.5,
    endToEnd: latency,
    sent: 10,
    received: 10,
  };
}

function contest(label: string, rounds: RoundFigures[], workload = 'pairs-qos0'): Contest {
  const about = {
    title: 'pairs, QoS 0',
    size: '50 pairs',
    version: '1.0',
    setting: 'as it comes',
    ack: 'none',
  };
  return { label, peer: label.split(',')[0]!, workload, ...about, rounds };
}

const lossy = { ...round(900, 1), lost: 1 };
const qos0: Contest[] = [
  contest('swarmq', [round(100, 1), round(120, 1.5), lossy]),
  contest('mosquitto', [round(10, 10), round(8, 10), round(9, 10)]),
];

const results: Results = {
  day: '2026-01-02',
  machine: '4 cores',
  model: 'Fast | CPU',
  node: 'v20.0.0',
  rounds: 3,
  seconds: 5,
  warmUpSeconds: 1,
  generators: 1,
  groups: [{ bar: 'qos0', contests: qos0 }],
};

function throughFile(owner: { testdir(): string }, groups: Group[]): Results {
  const file = join(owner.testdir(), 'results.json');
  writeResults(file, { ...results, groups });
  return readResults(file);
}

t.test('the document of a small result', async (t) => {
  const { markdown, charts } = makeDocument([{ ...throughFile(t, results.groups), name: 'small' }]);
  const tables = markdown.slice(markdown.indexOf('## Machines'));
  t.equal(
    tables,
    `## Machines

| results | day | machine | Node | rounds | generator processes |
|---|---|---|---|---|---|
| small | 2026-01-02 | Fast \\| CPU; 4 cores | v20.0.0 | 3 of 5 s after 1 s | 1 |

## Contestants

|  | version | configuration | what an acknowledgement says |
|---|---|---|---|
| mosquitto | 1.0 | as it comes | none |
| swarmq | 1.0 | as it comes | none |

## Bars

| results | work | asked | measured |  |
|---|---|---|---|---|
| small | [qos0](#small-qos0) | delivered at least 10 x mosquitto | 12.50 (10.00-15.00) | met |

## small: qos0

pairs, QoS 0; 50 pairs.

|  | delivered, k msg/s | server CPU per million, s | busiest thread per million, s | end to end p50, ms | end to end p99, ms | server memory, MB | generator busy, % | delivered: swarmq to it | rounds that count |
|---|---|---|---|---|---|---|---|---|---|
| swarmq | 110.0 (100.0-120.0) | 1.25 (1.00-1.50) | 0.63 (0.50-0.75) | 0.10 (0.10-0.10) | 0.30 (0.30-0.30) | 50 (50-50) | 50 (50-50) |  | 2 of 3 |
| mosquitto | 9.0 (8.0-10.0) | 10.00 (10.00-10.00) | 5.00 (5.00-5.00) | 0.10 (0.10-0.10) | 0.30 (0.30-0.30) | 50 (50-50) | 50 (50-50) | 12.50 (10.00-15.00) | 3 of 3 |

![delivered of each contestant](benchmarks/small-qos0.svg)
`,
  );
  t.same([...charts.keys()], ['benchmarks/small-qos0.svg']);
  t.match(charts.get('benchmarks/small-qos0.svg'), />swarmq<[\s\S]*>110<[\s\S]*>mosquitto<[\s\S]*>9</);
});

t.test('a chart is to scale', async (t) => {
  const rows = [
    { label: 'a & b', values: [30, 40, 20], isOurs: true },
    { label: 'none', values: [], isOurs: false },
  ];
  const chart = drawChart('title', rows, median, String);
  t.equal(
    chart,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 124" font-family="sans-serif" font-size="13" fill="#1e293b">
<rect width="720" height="124" fill="#fff"/>
<text x="12" y="24" font-weight="bold">title</text>
<path d="M190 38V98" stroke="#e2e8f0"/>
<text x="190" y="114" text-anchor="middle">0</text>
<path d="M292.5 38V98" stroke="#e2e8f0"/>
<text x="292.5" y="114" text-anchor="middle">10</text>
<path d="M395 38V98" stroke="#e2e8f0"/>
<text x="395" y="114" text-anchor="middle">20</text>
<path d="M497.5 38V98" stroke="#e2e8f0"/>
<text x="497.5" y="114" text-anchor="middle">30</text>
<path d="M600 38V98" stroke="#e2e8f0"/>
<text x="600" y="114" text-anchor="middle">40</text>
<text x="182" y="59" text-anchor="end">a &amp; b</text>
<rect x="190" y="46" width="307.5" height="18" fill="#2563eb"/>
<path d="M395 55H600M395 51V59M600 51V59" stroke="#1e293b"/>
<text x="608" y="59" text-anchor="start">30</text>
<text x="182" y="87" text-anchor="end">none</text>
<text x="196" y="87" text-anchor="start">no round counts</text>
</svg>
`,
  );
});

t.test('a bar is met, missed, or nothing can be said', async (t) => {
  const bar = BARS.get('qos1')!;
  const verdictOf = (ours: RoundFigures[], theirs: RoundFigures[]) =>
    judge(bar, [contest('swarmq', ours), contest('mosquitto', theirs)]).map(({ isMet }) => isMet);
  const ten = round(10, 1);
  t.same(verdictOf([round(70, 1)], [ten]), [true]);
  t.same(verdictOf([round(59, 1)], [ten]), [false], 'below 6 x');
  t.same(verdictOf([round(70, 1), round(70, 1), round(39, 1)], [ten, ten, ten]), [false], 'once below 4 x');
  t.same(verdictOf([lossy], [ten]), [undefined], 'no round counts');
  t.same(judge(bar, [contest('swarmq', [ten])])[0]!.isMet, undefined, 'nobody to compare with');
  const idle = { micros: 1e6, connected: 100, latency: new Histogram().toPlain(), failures: [] };
  const use = { cpuSeconds: 0.05, busiestSeconds: 0.05, memoryBytes: 3e6, generatorBusy: 0 };
  const crowd = [contest('swarmq', [crowdFigures(idle, use, 1e6, 4e6)], 'idle')];
  const [memory] = judge(BARS.get('idle')!, crowd);
  t.same([memory!.measured, memory!.isMet], ['19.53', false]);
  const [connects] = judge(BARS.get('connect-storm')!, crowd);
  t.same([connects!.measured, connects!.isMet], ['2000.00', false]);
  t.notOk(isSound(failedRound('the broker ended')));
});

t.test('every bar can be judged as it is written', async (t) => {
  for (const [name, { workload, entries, demands }] of BARS) {
    const labels = entries.map(labelOf);
    t.equal(new Set(labels).size, labels.length, name);
    t.ok(
      [workload, ...entries.map((entry) => entry.workload ?? workload)].every((key) => WORKLOADS.has(key)),
    );
    for (const { against, atLeast, atMost } of demands) {
      t.ok(against === undefined || labels.slice(1).includes(against), `${name} against ${against}`);
      t.ok((atLeast === undefined) !== (atMost === undefined));
    }
  }
});

t.test('on a terminal', async (t) => {
  t.equal(
    describeRatio(qos0[0]!, qos0[1]!, 'delivered'),
    'swarmq / mosquitto, delivered: 12.50 (10.00-15.00)',
  );
  t.match(
    describeContest(qos0[0]!).join('\n'),
    /delivered 120\.0 \(100\.0-900\.0\) k msg\/s[\s\S]*DOES NOT COUNT: sent 10/,
  );
  const [verdict] = judge(BARS.get('qos0')!, qos0);
  t.equal(
    describeVerdict('qos0', verdict!),
    'met          qos0: delivered at least 10 x mosquitto: 12.50 (10.00-15.00)',
  );
});

t.test('what a round does not have is not taken for zero', async (t) => {
  const crowd = crowdFigures(
    { micros: 1e6, connected: 100, latency: new Histogram().toPlain(), failures: [] },
    { cpuSeconds: 0.05, busiestSeconds: 0.05, memoryBytes: 3e6, generatorBusy: 0 },
    1e6,
    4e6,
  );
  const [group] = throughFile(t, [{ contests: [contest('swarmq', [crowd], 'idle')] }]).groups;
  const [read] = group!.contests[0]!.rounds;
  t.ok(Number.isNaN(read!.deliveredRate) && Number.isNaN(read!.endToEnd.p50));
  const { markdown } = makeDocument([{ ...results, groups: [group!], name: 'small' }]);
  t.notMatch(markdown, /delivered, k msg/);
  t.match(markdown, /\| swarmq \| 100 \| 2000 \|.* 29\.3 \| 19\.5 \|/);
  t.throws(() => {
    writeFileSync(join(t.testdir(), 'bad.json'), 'no');
    readResults(join(t.testdir(), 'bad.json'));
  });
});
