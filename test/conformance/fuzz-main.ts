// `npm run fuzz -- --minutes N --seed S`: the fuzzer for as long as one likes, with its figures. Ends with 1 when there
// is a finding, or when memory or the bystanders' times were out of bounds. `--case N` sends one case of a seed again.

import { parseArgs } from 'node:util';
import { Fuzzer, type FuzzReport } from './fuzz.ts';
import { FUZZ_BOUNDS, judgeRun, medianOf } from './fuzz-judgement.ts';
import { startFuzzWorld } from './fuzz-world.ts';

const USAGE = `npm run fuzz -- [--minutes N] [--seed S] [--case N]

  --minutes N   how long; default 1
  --seed S      of the run; default drawn. What it sends follows from it
  --case N      send one case of the seed again, to an embedded node
  --help        this
`;

interface Wishes {
  minutes: number;
  seed: number;
  /** The one case to be sent. */
  only: number | undefined;
}

function numberOf(word: string, name: string): number {
  const value = Number(word);
  if (!(value >= 0)) throw new Error(`--${name} wants a number, not ${word}`);
  return value;
}

/** Throws on what is no option or has no such value. */
function readWishes(): Wishes | 'help' {
  const text = { type: 'string' } as const;
  const options = {
    minutes: { ...text, default: '1' },
    seed: text,
    case: text,
    help: { type: 'boolean' },
  } as const;
  const { values } = parseArgs({ options });
  if (values.help) return 'help';
  return {
    minutes: numberOf(values.minutes, 'minutes'),
    seed: values.seed === undefined ? Date.now() % 1_000_000 : numberOf(values.seed, 'seed'),
    only: values.case === undefined ? undefined : numberOf(values.case, 'case'),
  };
}

const runs: (() => unknown)[] = [];
const owner = { teardown: (run: () => unknown) => runs.push(run) };
const say = (line: string) => process.stdout.write(`${line}\n`);

function describe(report: FuzzReport): void {
  say(`cases ${report.cases}, packets ${report.packets}, bytes ${report.bytes}`);
  say(`ended by the node ${report.closedByNode}, kinds of packets ${report.kinds.size}`);
  for (const [index, one] of report.bystanders.entries()) {
    say(`bystander ${index}: ${one.received} of ${one.sent}, slowest ${one.slowestMs.toFixed(0)} ms`);
  }
  for (const [index, samples] of report.memoryMb.entries()) {
    const [before, after] = [medianOf(samples, 0.25, 0.5), medianOf(samples, 0.75, 1)];
    const note = samples.length < FUZZ_BOUNDS.samplesMin ? ' (too short a run to judge)' : '';
    say(`memory of node ${index}: ${before} MB in the second quarter, ${after} MB in the last${note}`);
  }
  say(`findings ${report.findings.length}`);
  for (const finding of report.findings.slice(0, 50)) say(finding);
}

async function fuzz({ minutes, seed, only }: Wishes): Promise<void> {
  say(`seed ${seed}, ${minutes} minutes`);
  const world = await startFuzzWorld(owner);
  const untilMs = performance.now() + minutes * 60_000;
  const fuzzer = new Fuzzer(owner, { ...world, seed, untilMs });
  if (only !== undefined) {
    await fuzzer.runCase(only);
    for (const node of world.nodes) say(node.log);
  } else await fuzzer.run();
  describe(fuzzer.report);
  const breaches = judgeRun(fuzzer.report);
  for (const breach of breaches) say(`BREACH ${breach}`);
  const isBroken = breaches.length + fuzzer.report.findings.length > 0;
  say(isBroken ? 'FAILED' : 'passed');
  for (const run of runs.reverse()) await run();
  process.exit(isBroken ? 1 : 0);
}

let wishes: Wishes | 'help';
try {
  wishes = readWishes();
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
  process.exit(2);
}
if (wishes === 'help') process.stdout.write(USAGE);
else await fuzz(wishes);
