// One child process that is to be kept running, of `swarmq cluster` or of a node with workers: started, watched, started
// again after a moment when it dies. No child outlives this process: each is given a pipe as its input and ends when that pipe is closed,
// which the system does also when this process is killed. Children stand in a session of their own, so that Ctrl-C in
// the terminal reaches only this process, which then ends them in the right order.

import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, closeSync, openSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Environment } from '../config/env.ts';
import type { Clock, Timer } from '../util/clock.ts';

const RESTART_FIRST_MS = 500;
const RESTART_LAST_MS = 10_000;
const KILL_AFTER_MS = 10_000;
/** So long what a process that has ended had said may take to come; it may have left its channel to another one. */
const LAST_WORDS_MS = 1000;

/** What a child is and how to know that it is ready. */
export interface ChildOptions {
  readonly name: string;
  /** Program and arguments; asked for at every start, since ports are known only after the first. */
  command(): readonly string[];
  /** The child's environment; without it the one of this process. */
  readonly environment?: Environment;
  /** Gets the child's standard output and error; without it the child has the standard error of this process. */
  readonly logFile?: string;
  /** With it the child has a channel for messages, on which these come. */
  onMessage?(message: unknown): void;
  /** The first message to each process of this child. */
  readonly greeting?: unknown;
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
  #settleStop: ((how: string) => void) | undefined;

  constructor(options: ChildOptions) {
    this.#options = options;
  }

  /** 0 while it does not run. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /**
   * Sends a message, and with it a socket, which stays open here too: what has been on its way to a process that died can
   * still be given to another one. What cannot be sent is not told: then the process has died, or is about to.
   */
  send(message: object, socket?: Socket): void {
    const child = this.#process;
    if (child?.connected === true) child.send(message, socket, { keepOpen: true }, () => {});
  }

  /** SIGKILL, to all that the child has started too: it dies, and is started again unless it is being stopped. */
  kill(): void {
    const { pid } = this;
    if (pid === 0) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has just ended.
    }
  }

  /** Starts it; resolves when it is ready, rejects when it ends before. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleStart = (error) => (error ? reject(error) : resolve());
      this.#spawn();
    });
  }

  /**
   * Ends it for good: closes its input, asks by SIGTERM, and after a while kills. Resolves with how it ended ("exit code
   * 0", "SIGKILL"), undefined where it did not run.
   */
  async stop(): Promise<string | undefined> {
    this.#isStopping = true;
    this.#restart?.cancel();
    const child = this.#process;
    if (!child) return undefined;
    const stopped = new Promise<string>((resolve) => {
      this.#settleStop = resolve;
    });
    const kill = this.#options.clock.after(KILL_AFTER_MS, () => this.kill());
    child.stdin?.end();
    child.kill('SIGTERM');
    const how = await stopped;
    kill.cancel();
    return how;
  }

  /** A start that fails, for want of files or memory, is an end like others: what runs beside it goes on. */
  #spawn(): void {
    let child: ChildProcess;
    try {
      child = this.#launch();
    } catch (error) {
      this.#noteEnd((error as Error).message);
      return;
    }
    this.#watch(child);
  }

  #launch(): ChildProcess {
    const { command, environment: env, logFile, onMessage } = this.#options;
    const [program, ...args] = command.call(this.#options) as [string, ...string[]];
    const log = logFile === undefined ? 'inherit' : openSync(logFile, 'a');
    try {
      return spawn(program, args, {
        stdio: onMessage ? ['pipe', 'pipe', log, 'ipc'] : ['pipe', 'pipe', log],
        // A message may hold what JSON cannot (Infinity).
        serialization: 'advanced',
        detached: true,
        ...(env && { env }),
      });
    } finally {
      if (typeof log === 'number') closeSync(log);
    }
  }

  #watch(child: ChildProcess): void {
    const { logFile, onLine, onMessage, greeting } = this.#options;
    this.#process = child;
    this.#isReady = false;
    if (onMessage) {
      child.on('message', (message) => {
        if (this.#process === child) onMessage.call(this.#options, message);
      });
    }
    if (greeting !== undefined) this.send(greeting as object);
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      if (logFile !== undefined) appendFileSync(logFile, chunk);
      const lines = (rest + chunk).split('\n');
      rest = (lines.pop() as string).slice(-4096);
      for (const line of lines) if (onLine.call(this.#options, line)) this.#becomeReady();
    });
    child.stdin?.on('error', () => {});
    child.once('error', (error) => this.#handleEnd(child, error.message));
    child.once('exit', (code, signal) => this.#handleExit(child, signal ?? `exit code ${code}`));
  }

  #becomeReady(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#restartMs = RESTART_FIRST_MS;
    if (this.#hasBeenReady) this.#options.onReturn();
    this.#hasBeenReady = true;
    this.#settleStart?.();
  }

  /** What it said before is heard before its end, so that nobody undoes what it had done: the channel ends behind it. */
  #handleExit(child: ChildProcess, how: string): void {
    if (this.#process !== child) return;
    this.#isReady = false;
    if (!child.connected) {
      this.#handleEnd(child, how);
      return;
    }
    const end = () => {
      patience.cancel();
      this.#handleEnd(child, how);
      if (child.connected) child.disconnect();
    };
    const patience = this.#options.clock.after(LAST_WORDS_MS, end);
    child.once('disconnect', end);
  }

  #handleEnd(child: ChildProcess, how: string): void {
    if (this.#process !== child) return;
    this.#process = undefined;
    this.#isReady = false;
    child.stdin?.destroy();
    this.#settleStop?.(how);
    this.#noteEnd(how);
  }

  #noteEnd(how: string): void {
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
