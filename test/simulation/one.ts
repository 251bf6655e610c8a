// Runs seeds one after the other and tells what failed: `SWARMQ_SEED=7 SWARMQ_RUNS=1000 node dist/test/simulation/one.js`.
// The first failure is cut down and told with its trace.

import { makePlan, type Plan } from './plan.ts';
import { runPlan, shrink, type Verdict } from './run.ts';

const { env } = process;
const first = Number(env.SWARMQ_SEED ?? 1);
const runs = Number(env.SWARMQ_RUNS ?? 1);
const failuresMax = Number(env.SWARMQ_FAILURES ?? 1);
const isQuiet = env.SWARMQ_QUIET === '1';
const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

let failures = 0;
let tasks = 0;
let messages = 0;
let deliveries = 0;
const beganMs = performance.now();
for (let seed = first; seed < first + runs; seed++) {
  const plan = makePlan(seed);
  const verdict = await runPlan(plan);
  tasks += verdict.tasks;
  messages += verdict.messages;
  deliveries += verdict.deliveries;
  if (verdict.breaches.length === 0) continue;
  failures++;
  print(`seed ${seed} failed:\n  ${verdict.breaches.slice(0, 12).join('\n  ')}`);
  if (!isQuiet) await tell(plan, verdict);
  if (failures >= failuresMax) break;
}
const tookS = (performance.now() - beganMs) / 1000;
print(
  `${failures} failed; ${messages} messages, ${deliveries} deliveries, ${tasks} tasks in ${tookS.toFixed(1)} s`,
);
process.exitCode = failures > 0 ? 1 : 0;

async function tell(plan: Plan, { breaches }: Verdict): Promise<void> {
  const kind = kindOf(breaches[0]!);
  const isFailing = async (smaller: Plan) =>
    (await runPlan(smaller)).breaches.some((one) => kindOf(one) === kind);
  const smallest = await shrink(plan, isFailing);
  print(`cut down to ${smallest.commands.length} commands:`);
  for (const command of smallest.commands) print(`  ${JSON.stringify(command)}`);
  const again = await runPlan(smallest, { trace: print, isVerbose: env.SWARMQ_VERBOSE === '1' });
  print(`=> ${again.breaches.join('\n   ')}`);
}

/** The sentence without names and numbers: another failure of the same rule. */
function kindOf(breach: string): string {
  return breach.replace(/[a-z]*\d+(\.\d+)?|\b[a-z0-9]{12}\b/g, '_').slice(0, 60);
}
