// The laboratory finds what is wrong: each fault that is planted into a copy of the program breaks a rule of the checker
// within two minutes of torture, and the program as it is breaks none under the same torture. `npm run planted` tries all
// of them three times and prints the figures; `npm test` shows that each can still be planted, and finds the quickest.

import { join } from 'node:path';
import t from 'tap';
import { type Owner, temporaryFolder } from '../helpers/owner.ts';
import { faultsNamed } from './faults/all.ts';
import { PLANTED, type PlantedFault, plant } from './planted.ts';
import { type RoundResult, runRound } from './round.ts';

const isWhole = process.env.SWARMQ_PLANTED === '1';
const WITHIN_MS = 120_000;
/** Longer than a node needs to make good for a notification that was lost. */
const MISSING_MS = 12_000;
const SEEDS = isWhole ? [1, 101, 201] : [1];
const QUICKEST = 'no dedup record of QoS 2';

t.setTimeout(isWhole ? 7_200_000 : 600_000);

/** One short round; without `program` of the one under test. */
function provoke(
  owner: Owner,
  { torture }: PlantedFault,
  seed: number,
  program: string[] | undefined,
  lines: string[],
): Promise<RoundResult> {
  return runRound(
    {
      kind: 'standalone',
      durability: 'always',
      seed,
      trafficMs: torture.trafficMs,
      startsWhole: true,
      missingMs: MISSING_MS,
      program,
      faults: faultsNamed(torture.faults),
      faultsPerMinute: torture.perMinute,
      // Shared subscriptions have rules of their own: each fault is found by those that it breaks.
      profile: { members: 0, ...torture.profile },
      failureFolder: join(temporaryFolder(owner, 'found'), `${seed}`),
    },
    (line) => lines.push(line),
  );
}

for (const fault of PLANTED) {
  t.test(fault.name, async (t) => {
    const program = plant(t, fault);
    t.pass('can be planted');
    if (!isWhole && fault.name !== QUICKEST) return;
    for (const first of SEEDS) {
      const lines: string[] = [];
      const began = performance.now();
      const seconds = () => ((performance.now() - began) / 1000).toFixed(0);
      let found: RoundResult['breaches'] = [];
      for (let seed = first; found.length === 0 && performance.now() - began < WITHIN_MS; seed++) {
        found = (await provoke(t, fault, seed, program, lines)).breaches;
      }
      t.ok(found.length > 0, `seed ${first}: ${found.length} breaches after ${seconds()} s`);
      if (found.length === 0) t.comment(lines.slice(-20).join('\n'));
      // What is missing may only be late, where the round ended by something else.
      const sure = found.filter(({ at }) => !Number.isNaN(at));
      const told = sure.length > 0 ? sure : found;
      const rules = [...new Set(told.map(({ rule }) => rule))].join(', ');
      t.comment(`${fault.name} | ${seconds()} s | ${rules} | ${told[0]?.what}`);
    }
    if (!isWhole) return;
    for (const seed of SEEDS) {
      const lines: string[] = [];
      const { breaches, troubles } = await provoke(t, fault, seed, undefined, lines);
      t.same(
        [...breaches.slice(0, 20), ...troubles],
        [],
        `seed ${seed}: nothing is found in the program as it is`,
      );
      if (!t.passing()) t.comment(lines.slice(-40).join('\n'));
    }
  });
}
