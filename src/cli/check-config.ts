// `swarmq check-config`: the effective configuration with secrets masked and the source of each value, or all errors.

import { effectiveConfig } from '../config/document.ts';
import { CONFIG_FLAGS } from '../config/flags.ts';
import { loadConfig } from '../config/load.ts';
import { ConfigError } from '../config/problem.ts';
import {
  CONFIG_FLAG_OPTIONS,
  type Command,
  complainOfConfig,
  ExitCode,
  flagLines,
  flagValues,
  parseCommandLine,
} from './command.ts';

export const checkConfigCommand: Command = {
  name: 'check-config',
  summary: 'print the effective configuration, or every error in it',
  help: `Usage: swarmq check-config [FILE] [flags of start]

Prints the configuration that 'swarmq start' would use, with secrets masked and the place each value
came from. FILE is a YAML file; without it SWARMQ_CONFIG names one. Errors name line, key and reason.

${flagLines(CONFIG_FLAGS)}

Exit codes: 0 valid, 2 wrong command line, 3 bad configuration.`,

  async run(args, terminal) {
    const { values, positionals } = parseCommandLine(
      args,
      { ...CONFIG_FLAG_OPTIONS, config: { type: 'string' } },
      1,
    );
    const file = positionals[0] ?? (values.config as string | undefined);
    try {
      const loaded = loadConfig({ file, environment: terminal.environment, flags: flagValues(values) });
      terminal.print(effectiveConfig(loaded.tree).trimEnd());
      return ExitCode.OK;
    } catch (error) {
      if (error instanceof ConfigError) return complainOfConfig(error, terminal);
      throw error;
    }
  },
};
