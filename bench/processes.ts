// The machine: which cores there are and who runs on which, what processes and those that they started have used of CPU time
// and memory, and the generator processes.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Owner } from '../test/helpers/owner.ts';
import type { Answer, Answers, Request } from './worker.ts';

/** USER_HZ, the unit of /proc/<pid>/stat; 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

export interface Placement {
  cores: number;
  model: string;
  /** Launchers that pin a process; empty without taskset or with one core. */
  generator: string[];
  servers: string[];
  text: string;
}

/** Core 0 for the generator, the others for the servers, unless they are to share all. */
export function placement(isShared: boolean): Placement {
  const cores = availableParallelism();
  const model = cpus()[0]?.model ?? 'unknown';
  const canPin = cores > 1 && !isShared && spawnSync('taskset', ['-c', '0', 'true']).status === 0;
  if (!canPin)
    return {
      cores,
      model,
      generator: [],
      servers: [],
      text: `${cores} cores, shared by generator and servers`,
    };
  const rest = cores === 2 ? '1' : `1-${cores - 1}`;
  return {
    cores,
    model,
    generator: ['taskset', '-c', '0'],
    servers: ['taskset', '-c', rest],
    text: `${cores} cores: generator on core 0, all servers together on core ${rest}`,
  };
}

/**
 * Fields of /proc/<pid>/stat, or of a thread's (`<pid>/task/<tid>`), from the state on. The name before it may hold anything,
 * so they are counted after it.
 */
function statFields(process: number | string): string[] {
  const stat = readFileSync(`/proc/${process}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** `pids` and all that they have started. Fails when one of `pids` is gone. */
function family(pids: number[]): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const parent = Number(statFields(Number(name))[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // It ended between the two reads.
    }
  }
  for (const pid of pids) statFields(pid);
  const members = [...pids];
  for (const pid of members) members.push(...(children.get(pid) ?? []));
  return [...new Set(members)];
}

/**
 * What `read` tells of each. Children and threads end while they are counted (RabbitMQ has some that live for moments) and
 * are left out; that one of `lasting` has ended is an error.
 */
function living<N, T>(names: N[], read: (name: N) => T, lasting: N[] = []): T[] {
  return names.flatMap((name) => {
    try {
      return [read(name)];
    } catch (error) {
      if (lasting.includes(name)) throw error;
      return [];
    }
  });
}

const sum = (amounts: number[]): number => amounts.reduce((total, amount) => total + amount, 0);

/** CPU seconds, user and system, of a process with all its threads, or of one thread (`<pid>/task/<tid>`). */
function secondsOf(process: number | string): number {
  const fields = statFields(process);
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** CPU seconds that the processes and their children have used so far. */
export function cpuSeconds(pids: number[]): number {
  return sum(living(family(pids), secondsOf, pids));
}

/** The same of each of their threads that lives, by its name below /proc. */
export function threadSeconds(pids: number[]): Map<string, number> {
  const tasksOf = (pid: number) => readdirSync(`/proc/${pid}/task`).map((tid) => `${pid}/task/${tid}`);
  const threads = living(family(pids), tasksOf, pids).flat();
  return new Map(living(threads, (name) => [name, secondsOf(name)] as const));
}

/** Memory of the processes and their children in bytes; what several share is divided among them. */
export function memoryBytes(pids: number[]): number {
  const kilobytesOf = (pid: number) =>
    Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1] ?? 0);
  return sum(living(family(pids), kilobytesOf, pids)) * 1024;
}

/** Path of a program beside this file, compiled or source as this file is. */
export function siblingProgram(name: string): string {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  return fileURLToPath(new URL(`./${name}.${extension}`, import.meta.url));
}

/** A generator process; see worker.ts for what it can be asked. */
export class Generator {
  readonly #child: ChildProcess;

  constructor(owner: Owner, launcher: string[]) {
    const command = [...launcher, process.execPath, ...process.execArgv, siblingProgram('worker')];
    this.#child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    owner.teardown(() => this.#child.kill('SIGKILL'));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Fails with what the generator says, or when it ends. */
  ask<R extends Request>(request: R): Promise<Answers[R['kind']]> {
    return new Promise((resolve, reject) => {
      const onExit = () => reject(new Error('the generator ended'));
      this.#child.once('exit', onExit);
      this.#child.once('message', (answer: Answer) => {
        this.#child.off('exit', onExit);
        if ('error' in answer) reject(new Error(answer.error));
        else resolve(answer.result as Answers[R['kind']]);
      });
      this.#child.send(request);
    });
  }
}
