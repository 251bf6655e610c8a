// The warm-up of a node: its client gets through the whole dialogue, every time, and leaves nothing behind.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { loadConfig } from '../../src/config/load.ts';
import { warmUp } from '../../src/warm-up.ts';
import { temporaryFolder } from '../helpers/owner.ts';

t.test('all visits end by themselves, and no data is written', async (t) => {
  const dir = join(temporaryFolder(t, 'warm-up'), 'data');
  const { config } = loadConfig({ file: undefined, environment: { SWARMQ_DATA__DIR: dir }, flags: [] });
  t.equal(config.data.dir, dir);
  let isWhole = false;
  // The second one has nothing left to compile: on a busy machine the first may run out of its time.
  for (let attempt = 0; attempt < 20 && !isWhole; attempt++) isWhole = await warmUp(config);
  t.ok(isWhole);
  t.notOk(existsSync(dir));
});
