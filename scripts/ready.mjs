// Installs and compiles what is missing, then runs swarmq with the given arguments: `npm start`, `npm run cluster`,
// `npm run bench`, `npm run torture` and `npm run fuzz` work on a fresh clone. Signals and the exit code pass through.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureDependencies, root } from './setup.mjs';

checkNode();
ensureDependencies();
ensureBuilt();

const [first, ...rest] = process.argv.slice(2);
const OTHERS = {
  bench: ['bench', 'main.js'],
  torture: ['test', 'fault', 'torture.js'],
  fuzz: ['test', 'conformance', 'fuzz-main.js'],
};
const other = OTHERS[first];
const program = other
  ? [join(root, 'dist', ...other), ...rest]
  : [join(root, 'dist', 'src', 'main.js'), ...process.argv.slice(2)];
const child = spawn(process.execPath, program, { stdio: 'inherit' });
// Ctrl-C in a terminal reaches the child by itself as well: the same signal twice within a moment is passed on once.
let passedOn = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (process.stdin.isTTY && signal === 'SIGINT') return;
    if (performance.now() - passedOn < 100) return;
    passedOn = performance.now();
    child.kill(signal);
  });
}
child.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
});
