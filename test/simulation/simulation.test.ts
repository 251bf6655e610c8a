// Random clients and random faults on nodes, store and network of one process, in virtual time. Each seed is one run;
// SWARMQ_SEED and SWARMQ_RUNS choose others than those of `npm test`, SWARMQ_JOBS spreads them over threads.

import { Worker } from 'node:worker_threads';
import t from 'tap';
import { makePlan } from './plan.ts';
import { runPlan } from './run.ts';
import { runSeeds, type SeedsReport } from './seeds.ts';

const { env } = process;
const first = Number(env.SWARMQ_SEED ?? 1);
const runs = Number(env.SWARMQ_RUNS ?? 200);
const jobs = Math.max(1, Math.min(runs, Number(env.SWARMQ_JOBS ?? 1)));
const FAILURES_MAX = 5;

t.setTimeout(0);

t.test('a run follows from its seed alone', async (t) => {
  for (const seed of [1, 7, 12]) {
    const one = await runPlan(makePlan(seed));
    const other = await runPlan(makePlan(seed));
    t.same(other, one, `seed ${seed}`);
  }
});

t.test(`${runs} seeds from ${first} on`, async (t) => {
  const reports = await Promise.all(Array.from({ length: jobs }, (_, job) => share(job)));
  const total = { runs: 0, messages: 0, deliveries: 0 };
  for (const report of reports) {
    total.runs += report.runs;
    total.messages += report.messages;
    total.deliveries += report.deliveries;
    for (const failure of report.failures) {
      // A name of several lines would be joined to one.
      const [name, ...story] = failure.split('\n');
      for (const line of story) t.comment(line);
      t.fail(name);
    }
  }
  t.comment(`${total.runs} runs, ${total.messages} messages, ${total.deliveries} deliveries`);
  t.ok(total.deliveries > total.runs, 'messages were delivered');
});

/** The seeds of one thread; with a single job, of this one. */
function share(job: number): Promise<SeedsReport> {
  const from = first + Math.floor((runs * job) / jobs);
  const to = first + Math.floor((runs * (job + 1)) / jobs);
  const options = { first: from, runs: to - from, failuresMax: FAILURES_MAX };
  if (jobs === 1) return runSeeds(options);
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.module).then(({ runSeeds }) => runSeeds(workerData.options)).then((report) => parentPort.postMessage(report));
  `;
  const module = new URL(import.meta.url.endsWith('.ts') ? 'seeds.ts' : 'seeds.js', import.meta.url).href;
  return new Promise((resolve, reject) => {
    const worker = new Worker(program, { eval: true, workerData: { module, options } });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}
