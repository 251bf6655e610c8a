// Writes docs/benchmarks.md and its charts from the raw results in bench/results: `npm run bench:report`. Charts of results
// that are gone are removed.
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { checkNode, ensureBuilt, ensureDependencies, root } from './setup.mjs';

checkNode();
ensureDependencies();
ensureBuilt();

const { CHARTS, makeDocument } = await import(new URL('../dist/bench/document.js', import.meta.url));
const { readResults } = await import(new URL('../dist/bench/results.js', import.meta.url));

const folder = join(root, 'bench', 'results');
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
if (files.length === 0) {
  process.stderr.write(
    'no results in bench/results: npm run bench -- --bars --json bench/results/NAME.json\n',
  );
  process.exit(1);
}
const all = files
  .sort()
  .map((name) => ({ ...readResults(join(folder, name)), name: basename(name, '.json') }));
const { markdown, charts } = makeDocument(all);
const docs = join(root, 'docs');
rmSync(join(docs, CHARTS), { recursive: true, force: true });
writeFileSync(join(docs, 'benchmarks.md'), markdown);
for (const [path, chart] of charts) {
  mkdirSync(dirname(join(docs, path)), { recursive: true });
  writeFileSync(join(docs, path), chart);
}
process.stdout.write(`docs/benchmarks.md: ${files.length} result(s), ${charts.size} chart(s)\n`);
