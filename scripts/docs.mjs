// Writes what is generated from the sources: config/default.yaml, docs/configuration.md, docs/metrics.md,
// docs/errors.md and docs/keyspace.md; and from the tests: docs/conformance.md. Tests fail while they are stale.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureDependencies, root } from './setup.mjs';

checkNode();
ensureDependencies();
ensureBuilt();
const { GENERATED } = await import(new URL('../dist/src/cli/generated.js', import.meta.url));
const { CONFORMANCE_PATH, conformancePage } = await import(
  new URL('../dist/test/conformance/document.js', import.meta.url)
);
for (const { path, text } of [...GENERATED, { path: CONFORMANCE_PATH, text: conformancePage }]) {
  const file = join(root, path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text());
  process.stdout.write(`${path}\n`);
}
