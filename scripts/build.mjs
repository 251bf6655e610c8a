// Compiles src, test and bench into dist and puts the Redis scripts beside the code that loads them.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
const compiled = spawnSync(process.execPath, [tsc, '-p', root], { stdio: ['ignore', 2, 2] });
if (compiled.status !== 0) process.exit(compiled.status ?? 1);

const scripts = join('src', 'store', 'redis', 'scripts');
if (existsSync(join(root, scripts))) {
  mkdirSync(join(root, 'dist', scripts), { recursive: true });
  cpSync(join(root, scripts), join(root, 'dist', scripts), { recursive: true });
}

// `npx swarmq` runs it as a program.
chmodSync(join(root, 'dist', 'src', 'main.js'), 0o755);
