// Runs what `swarmq start` starts, a node or a process above workers, until a signal ends it. Standard output carries
// exactly one line, when it is ready, so that a script can wait for it.

import { SwarmqError } from '../util/errors.ts';
import { ExitCode, type Terminal } from './command.ts';

/** How long a signal waits for a start that is still under way; a node is safe to end at any time. */
const STOP_DURING_START_MS = 2000;

/** Signals within this time of each other are one. */
const SAME_SIGNAL_MS = 1000;

/** What is run: a node, or a process above workers. */
export interface Program {
  /** Resolves with the line that says "ready"; its failure ends the process with exit code 1. */
  start(): Promise<string>;
  /** Certificates are to be read again. */
  reload(): void;
  /** Called once, when it has started. */
  stop(): Promise<ExitCode>;
  /** The process ends without waiting for `stop`: takes along what would stay behind. */
  kill(): void;
}

/** Runs to the end, and returns the exit code. */
export async function runProgram(
  program: Program,
  stopsAtInputEnd: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  let settle = (_code: ExitCode) => {};
  const ended = new Promise<ExitCode>((resolve) => {
    settle = resolve;
  });
  const end = (code: ExitCode) => {
    program.kill();
    settle(code);
  };
  let isStarted = false;
  let isStopping = false;
  let stopRequested = () => {};
  const stopWanted = new Promise<void>((resolve) => {
    stopRequested = resolve;
  });
  let askedMs = 0;
  const stop = () => {
    const nowMs = terminal.clock.monotonicMs();
    // A second signal is somebody who does not want to wait; but one Ctrl-C may reach us twice, by the terminal and by
    // a parent that passes it on.
    if (isStopping) return nowMs - askedMs > SAME_SIGNAL_MS ? end(ExitCode.FAILED) : undefined;
    askedMs = nowMs;
    isStopping = true;
    stopRequested();
    if (!isStarted) terminal.clock.after(STOP_DURING_START_MS, () => !isStarted && end(ExitCode.OK));
  };
  terminal.onStopSignal(stop);
  // A start that is still under way reads the files anyway, and must not die of the signal.
  terminal.onReloadSignal(() => isStarted && program.reload());
  if (stopsAtInputEnd) terminal.onInputEnd(() => !isStopping && stop());

  const run = async (): Promise<ExitCode> => {
    const line = await program.start();
    isStarted = true;
    if (!isStopping) terminal.print(line);
    await stopWanted;
    return program.stop();
  };
  return Promise.race([run().catch((error: unknown) => complainOfFailure(error, terminal)), ended]);
}

function complainOfFailure(error: unknown, terminal: Terminal): ExitCode {
  const isKnown = error instanceof SwarmqError;
  terminal.complain(
    `swarmq: ${isKnown ? `${error.message} (${error.code})` : ((error as Error).stack ?? error)}`,
  );
  return ExitCode.FAILED;
}
