// A short torture of each topology with fixed seeds: random clients, random faults, and no promise broken. The long ones
// are `npm run torture`.

import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../helpers/owner.ts';
import { runRound } from './round.ts';

t.setTimeout(600_000);

const TRAFFIC_MS = 15_000;

for (const [kind, durability, seed] of [
  ['standalone', 'always', 1],
  ['sentinel', 'replicas', 2],
  ['cluster', 'replicas', 3],
  ['embedded', 'always', 4],
] as const) {
  t.test(`${kind}, ${durability}, seed ${seed}`, async (t) => {
    const failureFolder = join(temporaryFolder(t, 'torture'), 'failure');
    const lines: string[] = [];
    const { breaches, troubles, figures } = await runRound(
      { kind, durability, seed, trafficMs: TRAFFIC_MS, faultsPerMinute: 20, failureFolder },
      (line) => lines.push(line),
    );
    t.same(breaches.slice(0, 20), [], 'every promise is kept');
    t.same(troubles, [], 'everything came back');
    t.ok(figures.acked > 500, `${figures.acked} acknowledged, ${figures.delivered} delivered`);
    t.comment(Object.keys(figures.faults).join(', '));
    if (!t.passing()) t.comment(lines.join('\n'));
  });
}
