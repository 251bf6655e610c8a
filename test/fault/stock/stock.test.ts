// The stock stack in the same laboratory: it runs there, and loses what it acknowledged when a node is killed. So the table
// of docs/guarantees.md compares what was judged alike.

import { join } from 'node:path';
import t from 'tap';
import { temporaryFolder } from '../../helpers/owner.ts';
import { faultsNamed } from '../faults/all.ts';
import { runRound } from '../round.ts';
import { STOCK_PROGRAM } from './stock.ts';

t.setTimeout(300_000);

t.test('the stock stack breaks what swarmq keeps', async (t) => {
  const { breaches, figures } = await runRound(
    {
      kind: 'standalone',
      durability: 'always',
      seed: 1,
      trafficMs: 6000,
      settleMs: 15_000,
      missingMs: 3000,
      program: STOCK_PROGRAM,
      hasAdmin: false,
      faults: faultsNamed(['node-kill']),
      failureFolder: join(temporaryFolder(t, 'stock'), 'failure'),
    },
    () => {},
  );
  t.ok(figures.acked > 100, `${figures.acked} acknowledged`);
  t.ok(breaches.length > 0, `${breaches.length} breaches`);
  const rules = new Map<string, number>();
  for (const { rule } of breaches) rules.set(rule, (rules.get(rule) ?? 0) + 1);
  t.comment([...rules].map(([rule, count]) => `${rule} ${count}`).join(', '));
});
