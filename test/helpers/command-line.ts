// Runs the swarmq command line as a process to its end, compiled beside a compiled test or from source under the loader
// that runs this test.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface CommandResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** The words that start swarmq. */
export function swarmqCommand(): string[] {
  const compiled = fileURLToPath(new URL('../../src/main.js', import.meta.url));
  if (existsSync(compiled)) return [process.execPath, compiled];
  const source = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
  return [process.execPath, ...process.execArgv, source];
}

/**
 * The environment without what would configure swarmq, without the hooks that tap puts into every Node process (they
 * slow the start and keep a record of each module), and with `extra`.
 */
export function cleanEnvironment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  const isForeign = (name: string) => name.startsWith('SWARMQ_') || name.startsWith('_TAPJS_');
  const own = Object.fromEntries(Object.entries(process.env).filter(([name]) => !isForeign(name)));
  const options = (own.NODE_OPTIONS ?? '').split(' ').filter((word) => !word.includes('@tapjs'));
  return { ...own, NODE_OPTIONS: options.join(' '), ...extra };
}

/** Runs a command that ends by itself; `input` is its standard input. */
export function runSwarmq(args: string[], env: Record<string, string> = {}, input = ''): CommandResult {
  const [program, ...first] = swarmqCommand() as [string, ...string[]];
  const result = spawnSync(program, [...first, ...args], {
    encoding: 'utf8',
    env: cleanEnvironment(env),
    input,
    timeout: 60_000,
  });
  return { code: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Path of a file of the repository, also from a compiled test. */
export function projectFile(path: string): string {
  const isCompiled = import.meta.url.endsWith('.js');
  return fileURLToPath(new URL(`${isCompiled ? '../../../' : '../../'}${path}`, import.meta.url));
}
