// `npm test`: its own set-up (dependencies, compilation, the programs that tests talk to), then type check, lint and
// all tests. With words as arguments, only the test files whose path contains one of them. The last line is
// "N passed, N failed", where N counts assertions; the exit code is 0 only when something ran and nothing failed.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { checkNode, ensureBuilt, ensureDependencies, fail, root, run } from './setup.mjs';

// Tests that kill, freeze or time whole clusters want the machine for themselves; the others share it.
const ALONE = ['cluster', 'fault'];
const TIMEOUT_S = 900;
const PROGRAMS = ['redis-server', 'redis-cli', 'mosquitto_pub', 'mosquitto_sub', 'mosquitto_rr'];
const PAHO = 'python3-paho-mqtt';
const PACKAGE_TOOLS = [
  [
    'apt-get',
    ['update', '-q'],
    ['install', '-y', '-q', '--no-install-recommends', 'redis-server', 'mosquitto-clients'],
  ],
  ['apk', ['update'], ['add', 'redis', 'mosquitto-clients']],
  ['dnf', ['-q', 'makecache'], ['install', '-y', '-q', 'redis', 'mosquitto']],
  ['brew', ['update', '-q'], ['install', '-q', 'redis', 'mosquitto']],
];

checkNode();
ensureSystemPrograms();
ensurePaho();
ensureDependencies();
ensureBuilt(true);

const bin = (name) => join(root, 'node_modules', '.bin', name);
process.stderr.write('linting\n');
const isLintClean = run(bin('biome'), ['check', '.']) === 0;
const totals = await runTests(process.argv.slice(2));
if (!isLintClean) {
  process.stdout.write('lint: failed (see above)\n');
  totals.failed += 1;
}
if (totals.skipped > 0) process.stdout.write(`${totals.skipped} skipped\n`);
if (totals.passed + totals.failed === 0) process.stdout.write('nothing ran\n');
process.stdout.write(`${totals.passed} passed, ${totals.failed} failed\n`);
process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1;

function has(program) {
  return (process.env.PATH ?? '').split(':').some((folder) => folder && existsSync(join(folder, program)));
}

/** Installs what tests talk to by the system's package manager, where that is permitted. */
function ensureSystemPrograms() {
  // Debian keeps servers where PATH of ordinary users does not look.
  process.env.PATH = `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`;
  const missing = PROGRAMS.filter((program) => !has(program));
  if (missing.length === 0) return;
  const tool = PACKAGE_TOOLS.find(([program]) => has(program));
  if (!tool) fail(`The tests need ${missing.join(', ')}; no known package manager is here to install them.`);
  const [program, update, install] = tool;
  // Homebrew wants to be run by the user, the others by root; sudo only where it asks for nothing.
  const isPlain = program === 'brew' || process.getuid?.() === 0;
  const isSudo = !isPlain && has('sudo') && spawnSync('sudo', ['-n', 'true']).status === 0;
  const advice = `The tests need ${missing.join(', ')}; install them with: ${program} ${install.join(' ')}`;
  if (!isPlain && !isSudo) fail(advice);
  process.stderr.write(`installing ${missing.join(', ')} (${program})\n`);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (const args of [update, install]) {
    const words = isSudo ? ['sudo', '-n', '-E', program, ...args] : [program, ...args];
    run(words[0], words.slice(1), { env: environment });
  }
  if (PROGRAMS.some((name) => !has(name))) fail(advice);
}

/** One test talks to Eclipse Paho for Python: installed where apt-get may do so without asking, else left out. */
function ensurePaho() {
  const isThere = () =>
    ['python3', '/usr/bin/python3'].some(
      (program) => spawnSync(program, ['-c', 'import paho.mqtt.client']).status === 0,
    );
  if (isThere()) return;
  if (has('apt-get') && process.getuid?.() === 0) {
    process.stderr.write(`installing ${PAHO} (apt-get)\n`);
    const options = { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } };
    for (const args of [
      ['update', '-q'],
      ['install', '-y', '-q', '--no-install-recommends', PAHO],
    ]) {
      spawnSync('apt-get', args, options);
    }
  }
  if (!isThere()) process.stderr.write(`${PAHO} is not here and cannot be installed: its test is left out\n`);
}

/** The compiled files of all tests that have a source: what is left of removed ones is not run. */
function testFiles(folder = join(root, 'test')) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return testFiles(path);
      return entry.name.endsWith('.test.ts') ? [relative(root, path)] : [];
    })
    .sort();
}

async function runTests(words) {
  const files = testFiles().filter((file) => words.length === 0 || words.some((word) => file.includes(word)));
  const isAlone = (file) => ALONE.some((folder) => file.startsWith(join('test', folder)));
  const jobs = Math.max(1, Math.min(4, availableParallelism()));
  const totals = { passed: 0, failed: 0, skipped: 0 };
  for (const [group, count] of [
    [files.filter((file) => !isAlone(file)), jobs],
    [files.filter(isAlone), 1],
  ]) {
    if (group.length === 0) continue;
    const counts = await runTap(
      group.map((file) => join('dist', file.replace(/\.ts$/, '.js'))),
      count,
    );
    for (const [name, value] of Object.entries(counts)) totals[name] += value;
  }
  return totals;
}

/** Runs files under tap: one line for each that passed, everything it said for each that did not. */
async function runTap(files, jobs) {
  const args = [
    'run',
    '--reporter=tap',
    '--disable-coverage',
    `--jobs=${jobs}`,
    `--timeout=${TIMEOUT_S}`,
    ...files,
  ];
  const child = spawn(process.execPath, [tapProgram(), ...args], { cwd: root, stdio: ['ignore', 'pipe', 2] });
  const ended = new Promise((resolve) => {
    child.once('exit', (code) => resolve(code ?? 1));
  });
  const counts = { passed: 0, failed: 0, skipped: 0 };
  let told = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const summary = /^# \{ total: (\d+)(?:, pass: (\d+))?(?:, fail: (\d+))?(?:, skip: (\d+))?/.exec(line);
    if (summary) {
      counts.passed += Number(summary[2] ?? 0);
      counts.failed += Number(summary[3] ?? 0);
      counts.skipped += Number(summary[4] ?? 0);
    }
    const file = /^(not )?ok \d+ - (\S+)(?: # time=(\S+))?/.exec(line);
    if (file?.[1]) process.stdout.write(`${told.join('\n')}\nFAILED ${file[2]}\n`);
    else if (file) process.stdout.write(`ok ${file[2]} ${file[3] ?? ''}\n`);
    if (file) told = [];
    else told.push(line);
    if (line.startsWith('Bail out!')) process.stdout.write(`${line}\n`);
  }
  const code = await ended;
  // A file that timed out or crashed need not have a failed assertion.
  if (code !== 0 && counts.failed === 0) counts.failed = 1;
  return counts;
}

function tapProgram() {
  return join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');
}
