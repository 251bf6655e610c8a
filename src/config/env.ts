// The environment: the only file that reads process.env. SWARMQ_A__B__C sets a.b.c, where case and single underscores
// of a part do not count (SWARMQ_LIMITS__MAX_PACKET_SIZE, SWARMQ_LISTENERS__TCP__PORT); with _FILE at its end a secret
// is read from the file it names. Kubernetes puts SWARMQ_PORT_1883_TCP and the like into every pod beside a service
// called swarmq: names of that form are passed over, any other unknown name is an error.

import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { noteOf } from './fields.ts';
import { nearestName, plain } from './nearest.ts';
import type { ConfigProblem } from './problem.ts';
import { configShape } from './schema.ts';
import { allKeys, isGroup, type LayeredTree } from './tree.ts';

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = 'SWARMQ_';
const CONFIG_FILE = 'SWARMQ_CONFIG';
/** No option: for tests of what a node leaves behind, see util/stop-point.ts. */
const STOP_POINT = 'SWARMQ_TEST_STOP_AT';
const NO_OPTIONS: ReadonlySet<string> = new Set([CONFIG_FILE, STOP_POINT]);
const SERVICE_LINK = /_SERVICE_(HOST|PORT)(_|$)|^SWARMQ(_.*)?_PORT(_\d+_(TCP|UDP|SCTP)(_.*)?)?$/;

/** The environment of this process. */
export function processEnvironment(): Environment {
  return process.env;
}

/** The configuration file named by SWARMQ_CONFIG, the variable of the flag --config. */
export function configFileOf(environment: Environment): string | undefined {
  return environment[CONFIG_FILE] || undefined;
}

/** Where a test wants this node to stop. */
export function stopPointOf(environment: Environment): string | undefined {
  return environment[STOP_POINT] || undefined;
}

/** The variable that sets a key: `SWARMQ_LIMITS__MAX_PACKET_SIZE` for `limits.maxPacketSize`. */
export function variableOf(key: string): string {
  const parts = key.split('.').map((part) => part.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase());
  return PREFIX + parts.join('__');
}

/** Lays the environment over the tree. Returns what is wrong with it. */
export function applyEnvironment(environment: Environment, tree: LayeredTree): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const setBy = new Map<string, string>();
  for (const [variable, value] of Object.entries(environment)) {
    if (value === undefined || !variable.startsWith(PREFIX) || NO_OPTIONS.has(variable)) continue;
    const parts = variable.slice(PREFIX.length).split('__');
    const isFile = findPath(parts, tree) === undefined && variable.endsWith('_FILE');
    if (isFile) parts.push((parts.pop() as string).slice(0, -'_FILE'.length));
    const path = findPath(parts, tree);
    if (!path) {
      if (!SERVICE_LINK.test(variable)) {
        problems.push({ key: '', source: variable, reason: unknownVariableReason(variable) });
      }
      continue;
    }
    const key = path.keys.join('.');
    const other = setBy.get(key);
    if (other !== undefined) problems.push({ key, source: variable, reason: `${other} sets it as well` });
    setBy.set(key, variable);
    if (!isFile) {
      tree.set(path.keys, value, variable);
      continue;
    }
    const text = path.isSecret ? readSecret(value) : new Error('only secrets may come from a file');
    if (typeof text === 'string') tree.set(path.keys, text, variable);
    else problems.push({ key, source: variable, reason: text.message });
  }
  return problems;
}

function readSecret(file: string): string | Error {
  try {
    return readFileSync(file, 'utf8').replace(/\r?\n$/, '');
  } catch (error) {
    return new Error(`cannot read ${file} (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
  }
}

/** The option that the parts of a variable's name mean; undefined when there is none. */
function findPath(
  parts: readonly string[],
  tree: LayeredTree,
): { keys: string[]; isSecret: boolean } | undefined {
  const keys: string[] = [];
  let shape: z.ZodRawShape | undefined = configShape as z.ZodRawShape;
  let group: unknown = tree.values;
  for (let index = 0; index < parts.length; index++) {
    const name: string | undefined = matching(parts[index] as string, Object.keys(shape ?? {}));
    if (!shape || name === undefined) return undefined;
    const note = noteOf(shape[name]);
    keys.push(name);
    group = isGroup(group) ? group[name] : undefined;
    if (note.kind === 'map') {
      const entry = parts[++index];
      if (!entry) return undefined;
      const known = Object.keys(isGroup(group) ? group : (note.fallback as object));
      keys.push(matching(entry, known) ?? entry.toLowerCase());
    } else if (note.kind !== 'section') {
      const isLast = index === parts.length - 1;
      return isLast ? { keys, isSecret: note.secret !== undefined } : undefined;
    }
    shape = note.shape;
  }
  return undefined;
}

function matching(part: string, names: readonly string[]): string | undefined {
  return names.find((name) => plain(name) === plain(part));
}

function unknownVariableReason(variable: string): string {
  const known = allKeys().map((key) => variableOf(key.replace('<name>', 'tcp')));
  const near = nearestName(variable, known);
  return near === undefined ? 'no such option' : `no such option; the nearest is ${near}`;
}
