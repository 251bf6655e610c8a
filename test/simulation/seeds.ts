// Runs seeds and tells what failed in them, as `npm test` and a long search do. A failing plan is cut down by fast-check to
// the few commands that still fail in the same way, and told with its trace and the command that repeats it.

import fc from 'fast-check';
import { makePlan, type Plan, plans } from './plan.ts';
import { runPlan } from './run.ts';

/** Runs that cutting down a failing plan may take. */
const SHRINKING_RUNS = 200;

export interface SeedsReport {
  /** One text per failing seed. */
  readonly failures: readonly string[];
  readonly runs: number;
  readonly messages: number;
  readonly deliveries: number;
}

export interface SeedsOptions {
  readonly first: number;
  readonly runs: number;
  /** Ends after so many failing seeds; only the first of them is cut down. */
  readonly failuresMax: number;
}

export async function runSeeds({ first, runs, failuresMax }: SeedsOptions): Promise<SeedsReport> {
  const failures: string[] = [];
  let messages = 0;
  let deliveries = 0;
  let done = 0;
  for (let seed = first; seed < first + runs && failures.length < failuresMax; seed++) {
    const plan = makePlan(seed);
    const verdict = await runPlan(plan);
    done++;
    messages += verdict.messages;
    deliveries += verdict.deliveries;
    if (verdict.breaches.length === 0) continue;
    const told = verdict.breaches.slice(0, 12).join('\n  ');
    const story = failures.length === 0 ? await storyOf(plan, verdict.breaches[0]!) : '';
    failures.push(`seed ${seed}:\n  ${told}\n${story}`);
  }
  return { failures, runs: done, messages, deliveries };
}

async function storyOf(plan: Plan, breach: string): Promise<string> {
  const smallest = await cutDown(plan, kindOf(breach));
  const lines = smallest.commands.map((command) => JSON.stringify(command));
  lines.unshift(`cut down to ${lines.length} commands:`);
  const { breaches } = await runPlan(smallest, { trace: (line) => lines.push(line) });
  lines.push(...breaches.map((one) => `=> ${one}`));
  lines.push(`again: SWARMQ_SEED=${plan.seed} SWARMQ_RUNS=1 node dist/test/simulation/simulation.test.js`);
  return lines.join('\n  ');
}

/** The smallest plan that was found to fail in the same way. */
async function cutDown(plan: Plan, kind: string): Promise<Plan> {
  let smallest = plan;
  let runs = 0;
  const property = fc.asyncProperty(plans(plan.seed), async (smaller) => {
    if (++runs > SHRINKING_RUNS) return true;
    const isFailing = (await runPlan(smaller)).breaches.some((one) => kindOf(one) === kind);
    if (isFailing) smallest = smaller;
    return !isFailing;
  });
  await fc.check(property, { seed: plan.seed, numRuns: 1, unbiased: true });
  return smallest;
}

/** The sentence without names and numbers: another failure of the same rule. */
function kindOf(breach: string): string {
  return breach.replace(/[a-z]*\d+(\.\d+)?|\b[a-z0-9]{12}\b/g, '_').slice(0, 60);
}
