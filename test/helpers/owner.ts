// What a helper opens belongs to an owner, usually the tap test, which closes it again. This file also keeps the list of
// child processes and temporary folders of this process, so that a crashed test leaves neither behind.

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** The part of a tap test that helpers need; others own by a `Scope`. */
export interface Owner {
  teardown(run: () => unknown): unknown;
}

/** An owner outside of tests: what was opened, closed in reverse order. */
export class Scope implements Owner {
  readonly #closers: (() => unknown)[] = [];

  teardown(run: () => unknown): void {
    this.#closers.push(run);
  }

  async close(): Promise<void> {
    for (const close of this.#closers.reverse()) await close();
    this.#closers.length = 0;
  }
}

const children = new Set<ChildProcess>();
const folders = new Set<string>();

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => process.exit(signal === 'SIGINT' ? 130 : 143));
}

/** An empty folder of its own, removed at teardown. */
export function temporaryFolder(owner: Owner, label: string): string {
  const folder = mkdtempSync(join(tmpdir(), `swarmq-${label}-`));
  folders.add(folder);
  owner.teardown(() => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    folders.delete(folder);
  });
  return folder;
}

/** Starts a child process that does not outlive this one. */
export function spawnOwned(command: string, args: string[], options: SpawnOptions): ChildProcess {
  const child = spawn(command, args, options);
  children.add(child);
  child.once('exit', () => children.delete(child));
  // A program that is not installed is told by `error`; the exit code -1 makes waiters see it as an end.
  child.once('error', () => {
    children.delete(child);
    child.emit('exit', -1, null);
  });
  return child;
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

/** Resolves when the process has ended. */
export function ended(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return Promise.resolve();
  return new Promise((resolve) => child.once('exit', () => resolve()));
}

/** Sends `signal` and waits for the end; after `patienceMs` a SIGKILL helps. A stopped process is continued first. */
export async function endChild(
  child: ChildProcess,
  signal: NodeJS.Signals,
  patienceMs = 5000,
): Promise<void> {
  if (hasEnded(child)) return;
  child.kill(signal);
  if (signal !== 'SIGKILL') child.kill('SIGCONT');
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  await ended(child);
  clearTimeout(timer);
}

/**
 * A loopback port that nobody listens on, below the range of outgoing connections: one that is closed for a while
 * (a killed server) is then not taken by somebody's outgoing connection, nor connected to itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

/** Whether there is a process with this id. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
