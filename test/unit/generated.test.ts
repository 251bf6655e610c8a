// What is generated from the sources is fresh, and the configuration files that we ship load.

import { readdirSync, readFileSync } from 'node:fs';
import t from 'tap';
import { GENERATED } from '../../src/cli/generated.ts';
import { compileConfig } from '../../src/config/compile.ts';
import { configurationPage } from '../../src/config/document.ts';
import { loadConfig } from '../../src/config/load.ts';
import { allKeys } from '../../src/config/tree.ts';
import { projectFile } from '../helpers/command-line.ts';

t.test('generated files are what the sources say (else: node scripts/docs.mjs)', async (t) => {
  for (const { path, text } of GENERATED) {
    t.equal(readFileSync(projectFile(path), 'utf8'), text(), path);
  }
});

t.test('docs/configuration.md has the range of every number, size and duration', async (t) => {
  const page = configurationPage();
  const accepts = (key: string) => new RegExp(`\\| \`${key}\` \\|[^|]*\\| ([^|]+) \\|`).exec(page)?.[1];
  const ranges = {
    'limits.maxTopicLength': 'size, 64 to 65535',
    'limits.maxQueuedBytes': 'size, at least 64KB',
    'limits.maxSubscriptionsPerSession': 'number, at least 1',
    'limits.maxKeepAlive': 'duration, 1s to 65535s',
    'limits.maxSessionExpiry': 'duration, at least 1s, or never',
    'sys.interval': 'duration, at most 1d',
    durabilityTimeout: 'duration, 10ms to 10m',
  };
  for (const [key, range] of Object.entries(ranges)) t.equal(accepts(key), range, key);
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
