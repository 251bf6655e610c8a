// What can be wrong with a configuration: one problem each, with the key, where its value came from and the reason.
// All problems are collected and told at once, because an operator who mends them one start at a time loses patience.

import { SwarmqError } from '../util/errors.ts';

/** One thing wrong: `key` as in the documents ("limits.maxPacketSize"; empty for the file as a whole). */
export interface ConfigProblem {
  readonly key: string;
  /** "config.yaml:12", an environment variable, a flag; empty for a default. */
  readonly source: string;
  readonly reason: string;
}

/** SWARMQ_ERR_CONFIG_INVALID with the list of problems. */
export class ConfigError extends SwarmqError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super('SWARMQ_ERR_CONFIG_INVALID', problems.map(describeProblem).join('; '));
    this.problems = problems;
  }
}

/** One line for people: `config.yaml:12: limits.maxPacketSize: must be a size such as 2MB`. */
export function describeProblem(problem: ConfigProblem): string {
  return [problem.source, problem.key, problem.reason].filter((part) => part !== '').join(': ');
}
