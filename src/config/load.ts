// Loads the configuration: defaults < file < environment < flags, in this order, each value with the place it came
// from, so that every error can name key, line (or variable, or flag) and reason. All errors are told at once. The
// file is YAML; only its own lines are read, no includes.

import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { type Document, isMap, isScalar, LineCounter, type Node, type Pair, parseDocument } from 'yaml';
import { type CompiledConfig, compileConfig } from './compile.ts';
import { applyEnvironment, configFileOf, type Environment } from './env.ts';
import { noteOf } from './fields.ts';
import { ConfigError, type ConfigProblem } from './problem.ts';
import { configShape, type RawConfig } from './schema.ts';
import { emptyTree, isGroup, LayeredTree, noteAt, type RawTree, shapeAt, unknownKeyReason } from './tree.ts';

/** One option from the command line. */
export interface FlagValue {
  /** As the user wrote it: "--port". */
  readonly flag: string;
  readonly path: readonly string[];
  readonly value: string;
}

/** Where a configuration comes from. */
export interface ConfigSources {
  /** Path of the YAML file; without it SWARMQ_CONFIG names it, and without that there is none. */
  readonly file?: string | undefined;
  readonly environment?: Environment;
  readonly flags?: readonly FlagValue[];
}

export interface LoadedConfig {
  readonly config: CompiledConfig;
  /** What was written, merged, with the place each value came from. */
  readonly tree: LayeredTree;
  /** The file that was read. */
  readonly file: string | undefined;
}

/**
 * Loads and checks. Throws ConfigError (SWARMQ_ERR_CONFIG_INVALID) with every problem found; a file that cannot be
 * read is one of them.
 */
export function loadConfig(sources: ConfigSources = {}): LoadedConfig {
  const environment = sources.environment ?? {};
  const file = sources.file ?? configFileOf(environment);
  const tree = new LayeredTree();
  const problems: ConfigProblem[] = [];
  if (file !== undefined) problems.push(...applyFile(file, tree));
  fillMaps(tree);
  problems.push(...applyEnvironment(environment, tree));
  for (const { flag, path, value } of sources.flags ?? []) tree.set(path, value, flag);
  try {
    const config = compileConfig(tree.values as RawConfig, (path) => tree.sourceOf(path));
    if (problems.length === 0) return { config, tree, file };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
  }
  throw new ConfigError(problems);
}

/** A map that the file does not give has its default entries, on which environment and flags build. */
function fillMaps(tree: LayeredTree): void {
  for (const [name, schema] of Object.entries(configShape)) {
    const note = noteOf(schema);
    if (note.kind !== 'map' || tree.values[name] !== undefined) continue;
    const entries = emptyTree();
    for (const [entry, options] of Object.entries(note.fallback as RawTree)) {
      entries[entry] = Object.assign(emptyTree(), options);
    }
    tree.values[name] = entries;
  }
}

function applyFile(file: string, tree: LayeredTree): ConfigProblem[] {
  const shown = basename(file);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file' : String(error);
    return [{ key: '', source: file, reason }];
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number | undefined) =>
    `${shown}:${offset === undefined ? 1 : lines.linePos(offset).line}`;
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    return faults.map((fault) => ({ key: '', source: at(fault.pos[0]), reason: yamlReason(fault.message) }));
  }
  if (document.contents === null || (isScalar(document.contents) && document.contents.value === null))
    return [];
  if (!isMap(document.contents)) {
    return [{ key: '', source: at(0), reason: 'must be a section (key: value lines)' }];
  }
  return readGroup(document.contents.items, [], { tree, at, document });
}

interface FileReader {
  readonly tree: LayeredTree;
  readonly document: Document;
  at(offset: number | undefined): string;
}

function readGroup(pairs: readonly Pair[], path: readonly string[], reader: FileReader): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  for (const pair of pairs) {
    const keyNode = pair.key as Node;
    const name = String(isScalar(keyNode) ? keyNode.value : keyNode);
    const inner = [...path, name];
    const source = reader.at(keyNode.range?.[0]);
    const shape = shapeAt(path);
    if (name === '__proto__') {
      // The check of the whole would pass over this one name without a word.
      problems.push({ key: inner.join('.'), source, reason: 'cannot be a name' });
    } else if (shape && !Object.hasOwn(shape, name)) {
      problems.push({ key: inner.join('.'), source, reason: unknownKeyReason(inner) });
    } else if (isMap(pair.value) && (shapeAt(inner) || noteAt(inner)?.kind === 'map')) {
      reader.tree.set(inner, emptyTree(), source);
      problems.push(...readGroup(pair.value.items, inner, reader));
    } else {
      const value = (pair.value as Node | null)?.toJS(reader.document) ?? null;
      // "key:" with nothing behind it is what is left when a line is commented out: the default, for a group as well.
      if (value !== null) reader.tree.set(inner, isGroup(value) ? { ...value } : value, source);
      else if (!noteAt(inner)) reader.tree.set(inner, emptyTree(), source);
    }
  }
  return problems;
}

/** The parser's sentence without its second half, which shows the source text (a secret may stand in it). */
function yamlReason(message: string): string {
  return `not valid YAML: ${message.split('\n')[0]}`;
}
