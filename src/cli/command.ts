// What the commands have in common: what they are given, the exit codes, and the reading of a command line. A command
// writes only through its Terminal and ends by returning an exit code; it never ends the process itself.

import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { Environment } from '../config/env.ts';
import { CONFIG_FLAGS } from '../config/flags.ts';
import type { FlagValue } from '../config/load.ts';
import { type ConfigError, describeProblem } from '../config/problem.ts';
import type { Clock } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import type { ParentChannel } from '../workers/messages.ts';

export const ExitCode = { OK: 0, FAILED: 1, USAGE: 2, BAD_CONFIG: 3 } as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** The process as a command sees it. */
export interface Terminal {
  /** One line on standard output. */
  print(line: string): void;
  /** One line on standard error. */
  complain(line: string): void;
  readonly environment: Environment;
  readonly clock: Clock;
  /** Calls `run` for each SIGINT and SIGTERM from now on. */
  onStopSignal(run: (signal: string) => void): void;
  /** Calls `run` for each SIGHUP from now on, which then ends the process no more. */
  onReloadSignal(run: () => void): void;
  /** Calls `run` when standard input ends; reading it does not keep the process alive. */
  onInputEnd(run: () => void): void;
  /** All of standard input, as text. */
  readInput(): Promise<string>;
  /** The channel to the process that started this one as a worker; null for all others. */
  readonly parent: ParentChannel | null;
  /** The words that start this program again: the Node executable and main. */
  readonly self: readonly string[];
}

/** One command of the command line. */
export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** The whole help. */
  readonly help: string;
  /** Runs with the words behind the command's name; throws SWARMQ_ERR_USAGE for a wrong command line. */
  run(args: readonly string[], terminal: Terminal): Promise<ExitCode>;
}

type Options = NonNullable<ParseArgsConfig['options']>;

/** A command line taken apart. */
export interface ParsedArgs {
  readonly values: Readonly<Record<string, string | boolean | undefined>>;
  readonly positionals: readonly string[];
}

/** Takes a command line apart, strictly. Throws SWARMQ_ERR_USAGE for an unknown flag or a missing value. */
export function parseCommandLine(
  args: readonly string[],
  options: Options,
  positionalsMax: number,
): ParsedArgs {
  let parsed: { values: object; positionals: string[] };
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: positionalsMax > 0, strict: true });
  } catch (error) {
    throw new SwarmqError('SWARMQ_ERR_USAGE', (error as Error).message.split('. ')[0] as string);
  }
  if (parsed.positionals.length > positionalsMax) {
    throw new SwarmqError('SWARMQ_ERR_USAGE', `unexpected argument '${parsed.positionals[positionalsMax]}'`);
  }
  return { values: parsed.values as ParsedArgs['values'], positionals: parsed.positionals };
}

/** The flags that set an option, for parseCommandLine. */
export const CONFIG_FLAG_OPTIONS: Options = Object.fromEntries(
  CONFIG_FLAGS.map((flag) => [flag.name, { type: 'string' as const }]),
);

/** The options that the flags set. */
export function flagValues(values: ParsedArgs['values']): FlagValue[] {
  return CONFIG_FLAGS.flatMap((flag) => {
    const value = values[flag.name];
    return typeof value === 'string' ? [{ flag: `--${flag.name}`, path: flag.path, value }] : [];
  });
}

/** The lines of a help text that list flags. */
export function flagLines(flags: readonly { name: string; value?: string; doc: string }[]): string {
  const heads = flags.map((flag) => `  --${flag.name}${flag.value ? ` ${flag.value}` : ''}`);
  const width = Math.max(...heads.map((head) => head.length)) + 2;
  return flags.map((flag, index) => `${(heads[index] as string).padEnd(width)}${flag.doc}`).join('\n');
}

/** Tells all that is wrong with a configuration, one line each. */
export function complainOfConfig(error: ConfigError, terminal: Terminal): ExitCode {
  const count = error.problems.length;
  terminal.complain(`swarmq: the configuration is not valid (${count} ${count === 1 ? 'error' : 'errors'}):`);
  for (const problem of error.problems) terminal.complain(`  ${describeProblem(problem)}`);
  return ExitCode.BAD_CONFIG;
}
