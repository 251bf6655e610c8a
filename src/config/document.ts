// The configuration as text: config/default.yaml and docs/configuration.md, generated from the schema, and the
// effective configuration that `check-config` prints. Secrets never get into any of them.

import { stringify } from 'yaml';
import type { z } from 'zod';
import { variableOf } from './env.ts';
import { type FieldNote, noteOf } from './fields.ts';
import { CONFIG_FLAGS } from './flags.ts';
import { maskRedisUrl } from './redis-url.ts';
import { configShape } from './schema.ts';
import { isGroup, type LayeredTree } from './tree.ts';

const MASK = '********';
const ROOT = configShape as z.ZodRawShape;

/** The text of config/default.yaml: every option with its default and one comment line; loads as is. */
export function defaultConfigFile(): string {
  const lines = [
    '# swarmq configuration. Generated from src/config/schema.ts by scripts/docs.mjs.',
    '# Every option with its default; those that are unset by default are commented out.',
    '# Precedence: defaults < this file < environment (SWARMQ_A__B__C) < flags.',
  ];
  for (const [name, schema] of Object.entries(ROOT))
    lines.push('', ...defaultLines(name, noteOf(schema), ''));
  return `${lines.join('\n')}\n`;
}

function defaultLines(name: string, note: FieldNote, indent: string, isQuoted = false): string[] {
  const comment = `${indent}# ${note.doc}`;
  if (note.kind === 'section') return [comment, ...sectionLines(name, note, indent)];
  if (note.kind === 'map') {
    const entries = entryLines(note, `${indent}  `);
    if (entries.length > 0) return [comment, `${indent}${name}:`, ...entries];
    const options = Object.entries(note.shape ?? {}).flatMap(([key, schema]) =>
      defaultLines(key, noteOf(schema), '    ', true),
    );
    return [
      comment,
      `${indent}${name}: {}`,
      ...['  <name>:', ...options].map((line) => `${indent}# ${line}`),
    ];
  }
  if (note.fallback !== undefined) return [comment, `${indent}${name}: ${yamlValue(note.fallback, note)}`];
  return [comment, `${indent}${isQuoted ? '' : '# '}${name}:`];
}

function sectionLines(name: string, note: FieldNote, indent: string): string[] {
  const options = Object.entries(note.shape ?? {});
  if (note.fallback !== undefined) {
    const inner = options.flatMap(([key, schema]) => defaultLines(key, noteOf(schema), `${indent}  `));
    return [`${indent}${name}:`, ...inner];
  }
  // A section that is absent by default would be turned on by its mere name: all of it is commented out.
  const inner = options.flatMap(([key, schema]) => defaultLines(key, noteOf(schema), '  ', true));
  return [`${name}:`, ...inner].map((line) => `${indent}# ${line}`);
}

function entryLines(note: FieldNote, indent: string): string[] {
  const entries = Object.entries(note.fallback as Record<string, Record<string, unknown>>);
  return entries.flatMap(([entry, given], index) => {
    const lines = Object.entries(note.shape ?? {}).flatMap(([key, schema]) => {
      const isGiven = Object.hasOwn(given, key);
      const option = isGiven ? { ...noteOf(schema), fallback: given[key] } : noteOf(schema);
      return defaultLines(key, option, `${indent}  `);
    });
    // The sentences and what is unset stand at the first entry only.
    const shown = index === 0 ? lines : lines.filter((line) => !line.trimStart().startsWith('#'));
    return [`${indent}${entry}:`, ...shown];
  });
}

function yamlValue(value: unknown, note: FieldNote): string {
  const isNumber = note.accepts !== 'text' && typeof value === 'string' && /^\d+$/.test(value);
  return stringify(isNumber ? Number(value) : value, { collectionStyle: 'flow', lineWidth: 0 }).trim();
}

/** The text of docs/configuration.md. */
export function configurationPage(): string {
  const lines = [
    '# Configuration',
    '',
    'Generated from `src/config/schema.ts` by `scripts/docs.mjs`.',
    '',
    'swarmq runs without any configuration. Options come, in rising precedence, from the defaults, the YAML file',
    '(`--config FILE` or `SWARMQ_CONFIG`), the environment and the flags of the command line. `swarmq check-config`',
    'prints the result with secrets masked, or every error with its line.',
    '',
    '- Durations are written `500ms`, `15s`, `1h30m`, `30d`; `never` where an option says so.',
    '- Sizes are written `64KB`, `2MB`, `1GB` (powers of 1024) or as a number of bytes.',
    '- The environment variable of `a.bC` is `SWARMQ_A__B_C`. A secret may come from a file: put `_FILE` at the end',
    '  of its variable and the path in its value.',
    '- Lists are written with commas in the environment.',
    '',
    '| flag | option |',
    '|---|---|',
    ...CONFIG_FLAGS.map((flag) => `| \`--${flag.name} ${flag.value}\` | \`${flag.path.join('.')}\` |`),
  ];
  const single = Object.entries(ROOT).filter(([, schema]) => ['value', 'list'].includes(noteOf(schema).kind));
  for (const [name, schema] of Object.entries(ROOT)) {
    const note = noteOf(schema);
    if (note.shape) lines.push(...pageSection(name, note, note.kind === 'map' ? `${name}.<name>` : name));
  }
  lines.push('', '## Others', '', ...pageTable(Object.fromEntries(single), ''));
  return `${lines.join('\n')}\n`;
}

function pageSection(name: string, note: FieldNote, prefix: string): string[] {
  const shape = note.shape as z.ZodRawShape;
  const lines = ['', `## ${name}`, '', note.doc, '', ...pageTable(shape, `${prefix}.`)];
  for (const [key, schema] of Object.entries(shape)) {
    const inner = noteOf(schema);
    if (!inner.shape) continue;
    const innerPrefix = `${prefix}.${key}`;
    lines.push(
      ...pageSection(innerPrefix, inner, inner.kind === 'map' ? `${innerPrefix}.<name>` : innerPrefix),
    );
  }
  return lines;
}

function pageTable(shape: z.ZodRawShape, prefix: string): string[] {
  const lines = ['| option | default | accepts | what it does | variable |', '|---|---|---|---|---|'];
  for (const [name, schema] of Object.entries(shape)) {
    const note = noteOf(schema);
    if (note.shape) continue;
    const fallback = note.fallback === undefined ? '' : `\`${yamlValue(note.fallback, note)}\``;
    const key = prefix + name;
    const variable = variableOf(key).replace('<NAME>', '&lt;NAME&gt;');
    const cells = [`\`${key}\``, fallback, note.accepts, note.doc, variable];
    lines.push(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
  }
  return lines;
}

/**
 * The effective configuration as YAML that loads again (but for the masked secrets): every option with its value,
 * and behind a value that is not a default the place it came from.
 */
export function effectiveConfig(tree: LayeredTree): string {
  return `${effectiveLines(ROOT, tree.values, [], tree).join('\n')}\n`;
}

function effectiveLines(
  shape: z.ZodRawShape,
  values: unknown,
  path: readonly string[],
  tree: LayeredTree,
): string[] {
  const indent = '  '.repeat(path.length);
  const lines: string[] = [];
  for (const [name, schema] of Object.entries(shape)) {
    const note = noteOf(schema);
    const inner = [...path, name];
    const value = isGroup(values) ? values[name] : undefined;
    if (note.kind === 'section') {
      if (value === undefined && note.fallback === undefined) continue;
      lines.push(`${indent}${name}:`, ...effectiveLines(note.shape as z.ZodRawShape, value, inner, tree));
    } else if (note.kind === 'map') {
      const entries = Object.entries((value ?? note.fallback) as object);
      lines.push(`${indent}${name}:${entries.length === 0 ? ' {}' : ''}`);
      for (const [entry, options] of entries) {
        lines.push(`${indent}  ${entry}:`);
        lines.push(...effectiveLines(note.shape as z.ZodRawShape, options, [...inner, entry], tree));
      }
    } else if ((value ?? note.fallback) !== undefined) {
      const source = tree.ownSourceOf(inner);
      const text = yamlValue(masked(value ?? note.fallback, note), note);
      lines.push(`${indent}${name}: ${text}${source === undefined ? '' : ` # ${source}`}`);
    }
  }
  return lines;
}

function masked(value: unknown, note: FieldNote): unknown {
  if (note.secret === 'value') return MASK;
  return note.secret === 'url' ? maskRedisUrl(String(value), MASK) : value;
}
