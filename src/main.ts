#!/usr/bin/env node
// The entry of the process: joins the command line to the real terminal, signals and clock, and ends with the exit code
// that the command gave. No logic beyond that.

import { fileURLToPath } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import type { Terminal } from './cli/command.ts';
import { runCommandLine } from './cli/run.ts';
import { processEnvironment } from './config/env.ts';
import { systemClock } from './util/clock.ts';

// A reader of our output that went away (a closed pipe) is no reason to die with a stack trace.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

const terminal: Terminal = {
  print: (line) => void process.stdout.write(`${line}\n`),
  complain: (line) => void process.stderr.write(`${line}\n`),
  environment: processEnvironment(),
  clock: systemClock,
  onStopSignal(run) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => run(signal));
  },
  onReloadSignal(run) {
    process.on('SIGHUP', run);
  },
  onInputEnd(run) {
    process.stdin.on('end', run).on('error', run).resume();
  },
  async readInput() {
    let text = '';
    for await (const chunk of process.stdin.setEncoding('utf8')) text += chunk;
    return text;
  },
  parent:
    process.send === undefined
      ? null
      : {
          // Who does not hear us any more has ended our input as well.
          send: (message) => void process.send?.(message, undefined, undefined, () => {}),
          onMessage: (run) => void process.on('message', run as (message: unknown, socket: unknown) => void),
        },
  self: [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url)],
};

// Timers of the clock do not keep the process alive; a command that only waits for one (a store to come back) must.
const { port1, port2 } = new MessageChannel();
port1.on('message', () => {});
const code = await runCommandLine(process.argv.slice(2), terminal);
port2.close();
process.exit(code);
