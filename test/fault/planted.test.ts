// The laboratory finds what is wrong: faults that are planted into a copy of the program break a rule of the checker within
// two minutes of torture: `npm run planted`, which takes minutes for each. `npm test` shows that each can still be planted.

import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../helpers/owner.ts';
import { faultsNamed } from './faults/all.ts';
import { PLANTED, plant } from './planted.ts';
import { runRound } from './round.ts';

const isWhole = process.env.SWARMQ_PLANTED === '1';
const WITHIN_MS = 120_000;
const ROUND_MS = 20_000;

t.setTimeout(isWhole ? 3_600_000 : 600_000);

for (const fault of PLANTED) {
  t.test(fault.name, async (t) => {
    const program = plant(t, fault);
    if (!isWhole) {
      t.pass('can be planted');
      return;
    }
    const lines: string[] = [];
    const began = performance.now();
    for (let seed = 1; performance.now() - began < WITHIN_MS; seed++) {
      const result = await runRound(
        {
          kind: 'standalone',
          durability: 'always',
          seed,
          trafficMs: ROUND_MS,
          program,
          faults: faultsNamed(fault.faults),
          faultsPerMinute: fault.perMinute,
          failureFolder: join(temporaryFolder(t, 'found'), `${seed}`),
        },
        (line) => lines.push(line),
      );
      const [breach] = result.breaches;
      if (breach === undefined) continue;
      const after = Math.round((performance.now() - began) / 1000);
      t.pass(`found after ${after} s: ${result.breaches.length} breaches`);
      t.comment(`${breach.rule}: ${breach.what}`);
      return;
    }
    t.fail(`not found: ${lines.slice(-20).join('\n')}`);
  });
}
