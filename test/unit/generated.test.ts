// What is generated from the sources is fresh, and the configuration files that we ship load.

import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { GENERATED } from '../../src/cli/generated.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { loadConfig } from '../../src/config/load.ts';
import { allKeys } from '../../src/config/tree.ts';
import { projectFile } from '../helpers/command-line.ts';

t.test('generated files are what the sources say (else: node scripts/docs.mjs)', async (t) => {
  for (const { path, text } of GENERATED) {
    t.equal(readFileSync(projectFile(path), 'utf8'), text(), path);
  }
});

t.test('config/default.yaml loads as is, to the defaults, and has every option', async (t) => {
  const file = projectFile('config/default.yaml');
  t.strictSame(loadConfig({ file }).config, compileConfig());
  const text = readFileSync(file, 'utf8');
  for (const key of allKeys()) t.match(text, new RegExp(`^[ #]*${key.split('.').at(-1)}:`, 'm'), key);
});

t.test('examples load', async (t) => {
  const folder = projectFile('config/examples');
  const names = readdirSync(folder);
  for (const name of ['tls', 'websocket', 'sentinel', 'redis-cluster', 'proxy-protocol']) {
    t.ok(names.includes(`${name}.yaml`), name);
  }
  for (const name of names) t.doesNotThrow(() => loadConfig({ file: `${folder}/${name}` }), name);
  t.match(loadConfig({ file: `${folder}/sentinel.yaml` }).config, {
    redis: { mode: 'sentinel', masterName: 'swarmq-master' },
    durability: { level: 'replicas', replicas: 1, timeoutMs: 2000 },
  });
});
