// `npm run fuzz -- --minutes N --seed S`: the fuzzer for as long as one likes, with its figures. Ends with 1 when there
// is a finding. `--case N` sends one case of a seed again, to an embedded node.

import { parseArgs } from 'node:util';
import { Fuzzer, type FuzzReport } from './fuzz.ts';
import { startFuzzWorld } from './fuzz-world.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    case: { type: 'string' },
  },
});

const runs: (() => unknown)[] = [];
const owner = { teardown: (run: () => unknown) => runs.push(run) };
const seed = Number(values.seed);
const say = (line: string) => process.stdout.write(`${line}\n`);

/** Medians of the second and the last quarter, in megabytes. */
function quarters(samples: readonly number[]): string {
  const median = (from: number, to: number) => {
    const part = samples
      .slice(Math.floor(samples.length * from), Math.floor(samples.length * to))
      .sort((a, b) => a - b);
    return part[Math.floor(part.length / 2)] ?? 0;
  };
  return `${median(0.25, 0.5)} MB in the second quarter, ${median(0.75, 1)} MB in the last`;
}

function describe(report: FuzzReport): void {
  say(`cases ${report.cases}, packets ${report.packets}, bytes ${report.bytes}`);
  say(`ended by the node ${report.closedByNode}, kinds of packets ${report.kinds.size}`);
  for (const [index, one] of report.bystanders.entries()) {
    say(`bystander ${index}: ${one.received} of ${one.sent}, slowest ${one.slowestMs.toFixed(0)} ms`);
  }
  for (const [index, samples] of report.memoryMb.entries())
    say(`memory of node ${index}: ${quarters(samples)}`);
  say(`findings ${report.findings.length}`);
  for (const finding of report.findings.slice(0, 50)) say(finding);
}

say(`seed ${seed}, ${values.minutes} minutes`);
const world = await startFuzzWorld(owner);
const untilMs = performance.now() + Number(values.minutes) * 60_000;
const fuzzer = new Fuzzer(owner, { ...world, seed, untilMs });
if (values.case !== undefined) {
  await fuzzer.runCase(Number(values.case));
  for (const node of world.nodes) say(node.log);
} else await fuzzer.run();
describe(fuzzer.report);
for (const run of runs.reverse()) await run();
process.exit(fuzzer.report.findings.length > 0 ? 1 : 0);
