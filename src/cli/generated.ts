// The files of the repository that are generated from the sources, with their texts. scripts/docs.mjs writes them, a
// test compares them: a document that is stale fails the tests.

import { configurationPage, defaultConfigFile } from '../config/document.ts';
import { metricsPage } from '../observability/metrics-page.ts';
import { describeKeyspace } from '../store/redis/keyspace-table.ts';
import { ERRORS } from '../util/errors.ts';

export interface GeneratedFile {
  /** From the root of the repository. */
  readonly path: string;
  text(): string;
}

export const GENERATED: readonly GeneratedFile[] = [
  { path: 'config/default.yaml', text: defaultConfigFile },
  { path: 'docs/configuration.md', text: configurationPage },
  { path: 'docs/metrics.md', text: metricsPage },
  { path: 'docs/errors.md', text: errorsPage },
  { path: 'docs/keyspace.md', text: describeKeyspace },
];

function errorsPage(): string {
  const lines = [
    '# Errors',
    '',
    'Generated from `src/util/errors.ts` by `scripts/docs.mjs`. Codes stand in logs and behind messages on the command',
    'line; a code is never used again for something else.',
    '',
    '| code | meaning |',
    '|---|---|',
    ...Object.entries(ERRORS).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
  ];
  return `${lines.join('\n')}\n`;
}
