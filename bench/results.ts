// The raw results of a run, as --json writes them and the report reads them: on which machine, how long, and every figure of
// every round. Written anew after each contest, so that a run that is broken off keeps what it has.

import { readFileSync, writeFileSync } from 'node:fs';
import type { Contest } from './play.ts';

/** Contestants that were played in turn. */
export interface Group {
  /** By which they were chosen. */
  bar?: string;
  contests: Contest[];
}

export interface Results {
  /** YYYY-MM-DD. */
  day: string;
  machine: string;
  model: string;
  node: string;
  rounds: number;
  seconds: number;
  warmUpSeconds: number;
  generators: number;
  groups: Group[];
}

/** Figures keep as many digits as are worth keeping. */
export function writeResults(file: string, results: Results): void {
  const short = (_: string, value: unknown) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
  writeFileSync(file, `${JSON.stringify(results, short, 1)}\n`);
}

/** Throws when the file cannot be read. */
export function readResults(file: string): Results {
  // JSON has no NaN, which stands for what a round does not have.
  return JSON.parse(readFileSync(file, 'utf8'), (_, value: unknown) => value ?? Number.NaN) as Results;
}
