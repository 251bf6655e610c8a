// What ready.mjs and test.mjs do before their work: dependencies installed, sources compiled, nothing stale in dist.
// Plain Node without dependencies, since there may be none yet.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');
const stampFile = join(dist, '.built');
const SOURCE_FOLDERS = ['src', 'test', 'bench'];

/** Says one clear sentence and ends. */
export function fail(sentence, code = 1) {
  process.stderr.write(`${sentence}\n`);
  process.exit(code);
}

/** Refuses a Node that is too old, with a sentence instead of a syntax error later. */
export function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) fail(`swarmq needs Node.js 20 or later; this is ${process.version}.`);
}

/** Runs a command with its output on our standard error; returns the exit code. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  return result.status ?? 1;
}

/** Installs what package-lock.json names, unless it is there. */
export function ensureDependencies() {
  const installed = join(root, 'node_modules', '.package-lock.json');
  const wanted = join(root, 'package-lock.json');
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs) return;
  process.stderr.write('installing dependencies (npm ci)\n');
  const npm = process.env.npm_execpath;
  const [command, ...first] = npm?.endsWith('.js') ? [process.execPath, npm] : ['npm'];
  if (run(command, [...first, 'ci', '--no-audit', '--no-fund']) !== 0) {
    fail('The dependencies could not be installed (npm ci failed, see above).');
  }
}

function* filesIn(folder) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesIn(path);
    else yield path;
  }
}

/** Changes whenever a source, or something the compiler reads, does. */
function sourceState() {
  const hash = createHash('sha256');
  const inputs = ['package.json', 'package-lock.json', 'tsconfig.json', 'scripts/build.mjs'].map((name) =>
    join(root, name),
  );
  for (const folder of SOURCE_FOLDERS) inputs.push(...filesIn(join(root, folder)));
  for (const path of inputs.sort()) {
    const { mtimeMs, size } = statSync(path);
    hash.update(`${path} ${mtimeMs} ${size}\n`);
  }
  return hash.digest('hex');
}

/** Removes compiled files whose source is gone, so that nothing of them is run or imported. */
function removeStale() {
  for (const path of SOURCE_FOLDERS.flatMap((folder) => [...filesIn(join(dist, folder))])) {
    const source = join(root, path.slice(dist.length)).replace(/\.js(\.map)?$/, '.ts');
    if (!existsSync(source)) rmSync(path);
  }
}

/** Compiles when something has changed since the last time (`always`: in any case, for the type check). */
export function ensureBuilt(always = false) {
  const main = join(dist, 'src', 'main.js');
  const state = sourceState();
  const isFresh = existsSync(main) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === state;
  if (isFresh && !always) return;
  // Without its output the compiler's own notes would make it believe that all is there.
  if (!existsSync(main)) rmSync(join(dist, '.tsbuildinfo'), { force: true });
  process.stderr.write('compiling\n');
  if (run(process.execPath, [join(root, 'scripts', 'build.mjs')]) !== 0) {
    fail('The sources do not compile (see above).');
  }
  removeStale();
  writeFileSync(stampFile, state);
}
