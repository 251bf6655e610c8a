// One child process of `swarmq cluster` that is to be kept running: started, watched, started again after a moment
// when it dies. No child outlives this process: each is given a pipe as its input and ends when that pipe is closed,
// which the system does also when this process is killed. Children stand in a session of their own, so that Ctrl-C in
// the terminal reaches only this process, which then ends them in the right order.

import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, openSync } from 'node:fs';
import type { Environment } from '../config/env.ts';
import type { Clock, Timer } from '../util/clock.ts';

const RESTART_FIRST_MS = 500;
const RESTART_LAST_MS = 10_000;
const KILL_AFTER_MS = 10_000;

/** What a child is and how to know that it is ready. */
export interface ChildOptions {
  readonly name: string;
  /** Program and arguments; asked for at every start, since ports are known only after the first. */
  command(): readonly string[];
  /** The child's environment; without it the one of this process. */
  readonly environment?: Environment;
  /** Gets the child's standard output and error. */
  readonly logFile: string;
  /** Called with each line of standard output; true when the child is ready now. */
  onLine(line: string): boolean;
  /** A child that was ready has ended; `restartMs` is undefined when it is not started again. */
  onDeath(how: string, restartMs: number | undefined): void;
  /** It is ready again after a death. */
  onReturn(): void;
  readonly restarts: boolean;
  readonly clock: Clock;
}

export class Child {
  readonly #options: ChildOptions;
  #process: ChildProcess | undefined;
  #isReady = false;
  #hasBeenReady = false;
  #isStopping = false;
  #restartMs = RESTART_FIRST_MS;
  #restart: Timer | undefined;
  #settleStart: ((error?: Error) => void) | undefined;
  #settleStop: (() => void) | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  /** 0 while it does not run. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  /** Starts it; resolves when it is ready, rejects when it ends before. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleStart = (error) => (error ? reject(error) : resolve());
      this.#spawn();
    });
  }

  /** Ends it for good: closes its input, asks by SIGTERM, and after a while kills. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#restart?.cancel();
    const child = this.#process;
    if (!child) return;
    const stopped = new Promise<void>((resolve) => {
      this.#settleStop = resolve;
    });
    // The whole session: what a child has started itself does not stay behind either.
    const kill = this.#options.clock.after(KILL_AFTER_MS, () =>
      process.kill(-(child.pid as number), 'SIGKILL'),
    );
    child.stdin?.end();
    child.kill('SIGTERM');
    await stopped;
    kill.cancel();
  }

  #spawn(): void {
    const { command, environment: env, logFile, onLine } = this.#options;
    const [program, ...args] = command.call(this.#options) as [string, ...string[]];
    const log = openSync(logFile, 'a');
    const child = spawn(program, args, {
      stdio: ['pipe', 'pipe', log],
      detached: true,
      ...(env && { env }),
    });
    closeSync(log);
    this.#process = child;
    this.#isReady = false;
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      appendFileSync(logFile, chunk);
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() as string).slice(-4096);
      for (const line of lines) if (onLine.call(this.#options, line)) this.#becomeReady();
    });
    child.stdin?.on('error', () => {});
    child.once('error', (error) => this.#handleEnd(child, error.message));
    child.once('exit', (code, signal) => this.#handleEnd(child, signal ?? `exit code ${code}`));
  }

  #becomeReady(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#restartMs = RESTART_FIRST_MS;
    if (this.#hasBeenReady) this.#options.onReturn();
    this.#hasBeenReady = true;
    this.#settleStart?.();
  }

  #handleEnd(child: ChildProcess, how: string): void {
    if (this.#process !== child) return;
    this.#process = undefined;
    child.stdin?.destroy();
    this.#settleStop?.();
    if (this.#isStopping) return;
    if (!this.#hasBeenReady) {
      this.#settleStart?.(new Error(`${this.#options.name} ended while starting (${how})`));
      return;
    }
    const restartMs = this.#options.restarts ? this.#restartMs : undefined;
    this.#options.onDeath(how, restartMs);
    if (restartMs === undefined) return;
    this.#restartMs = Math.min(this.#restartMs * 2, RESTART_LAST_MS);
    this.#restart = this.#options.clock.after(restartMs, () => this.#spawn());
  }
}
