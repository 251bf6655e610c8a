// The Lua scripts of the Redis store: each is one atomic step whose header is its contract, with KEYS and ARGV named by
// number. Checked here: header, body and typed definition agree, every script is defined, every include is wanted.

import { posix } from 'node:path';
import ts from 'typescript';
import { headerOf } from './code-rules.ts';
import {
  codeIn,
  type Finding,
  found,
  lineOf,
  matches,
  type Rule,
  type SourceFile,
  syntaxOf,
  walk,
} from './source-tree.ts';

const FOLDER = 'src/store/redis/scripts';
const INCLUDES = `${FOLDER}/includes`;
const ARRAYS = ['KEYS', 'ARGV'] as const;
type ArrayName = (typeof ARRAYS)[number];

/** What a header names of KEYS or ARGV: 1 to `count`, and whether more follow from the last one on (`[3...]`). */
interface Named {
  count: number;
  isOpen: boolean;
  /** The numbers in their order. */
  numbers: number[];
  /** Those whose line says "not used": they keep the arguments of similar scripts alike. */
  idle: ReadonlySet<number>;
  /** How many the open end repeats (`[3...] for each write: topic, record`): 2. */
  groupSize: number;
}

/** What the code uses: constant places, and whether it computes places or counts. */
interface Used {
  places: Map<number, number>;
  computedAt: number | undefined;
}

const scriptsIn = (files: readonly SourceFile[]) =>
  files.filter(({ path }) => path.endsWith('.lua') && posix.dirname(path) === FOLDER);

const includesIn = (files: readonly SourceFile[]) =>
  new Map(
    files
      .filter(({ path }) => path.endsWith('.lua') && posix.dirname(path) === INCLUDES)
      .map((file) => [posix.basename(file.path, '.lua'), file] as const),
  );

const directIncludes = ({ text }: SourceFile) =>
  [...text.matchAll(/^--- @include "([a-z-]+)"$/gm)].map((match) => match[1] as string);

/** Names of all includes of a script, also of those that includes ask for. */
function allIncludes(
  file: SourceFile,
  known: ReadonlyMap<string, SourceFile>,
  seen = new Set<string>(),
): Set<string> {
  for (const name of directIncludes(file)) {
    const include = known.get(name);
    if (seen.has(name) || !include) continue;
    seen.add(name);
    allIncludes(include, known, seen);
  }
  return seen;
}

/** The text with comments blanked, line by line. */
const withoutComments = (text: string) => text.replace(/--.*$/gm, '');

function usedIn(file: SourceFile, array: ArrayName): Used {
  const code = withoutComments(file.text);
  const words: string[] = [array];
  // `local keys, argv = KEYS, ARGV` gives another name to the whole array.
  for (const [, left = '', right = ''] of code.matchAll(/^\s*local ([\w, ]+) = (.+)$/gm)) {
    const values = right.split(',').map((value) => value.trim());
    left.split(',').forEach((name, index) => {
      if (values[index] === array) words.push(name.trim());
    });
  }
  const used: Used = { places: new Map(), computedAt: undefined };
  // What follows the name tells the use; the name alone on the right of an assignment is the alias of above.
  const pattern = new RegExp(`(#?)\\b(?:${words.join('|')})\\b(?:\\[(\\d+)\\]|(\\[)|(\\)))?`, 'g');
  code.split('\n').forEach((text, index) => {
    for (const [, hash, place, bracket, parenthesis] of text.matchAll(pattern)) {
      if (place !== undefined) used.places.set(Number(place), used.places.get(Number(place)) ?? index + 1);
      else if (hash || bracket || parenthesis) used.computedAt ??= index + 1;
    }
  });
  return used;
}

function namedIn(header: string, array: ArrayName): Named {
  const numbers: number[] = [];
  const idle = new Set<number>();
  let isOpen = false;
  let groupSize = 1;
  const lines = new RegExp(`^${array}\\[(\\d+)(\\.\\.\\.)?\\] (.+)$`, 'gm');
  for (const [, digits, dots, text = ''] of header.matchAll(lines)) {
    numbers.push(Number(digits));
    if (/\bnot used\b/.test(text)) idle.add(Number(digits));
    if (dots === undefined) continue;
    isOpen = true;
    groupSize = /^for each [^:]*: ([^;|]+)/.exec(text)?.[1]?.split(',').length ?? 1;
  }
  return { count: numbers.at(-1) ?? 0, isOpen, numbers, idle, groupSize };
}

/** What a script's header names; `KEYS: session keys (includes/session-keys.lua)` stands for what that include uses. */
function contractOf(file: SourceFile, array: ArrayName, includes: ReadonlyMap<string, SourceFile>): Named {
  const header = headerOf(file);
  const shared = new RegExp(`^${array}: .*\\(includes/([a-z-]+)\\.lua\\)`, 'm').exec(header)?.[1];
  const include = shared === undefined ? undefined : includes.get(shared);
  if (!include || !directIncludes(file).includes(shared as string)) return namedIn(header, array);
  const numbers = [...usedIn(include, array).places.keys()].sort((a, b) => a - b);
  return { count: numbers.at(-1) ?? 0, isOpen: false, numbers, idle: new Set(), groupSize: 1 };
}

function checkArray(
  file: SourceFile,
  array: ArrayName,
  includes: ReadonlyMap<string, SourceFile>,
): Finding[] {
  const { path } = file;
  const named = contractOf(file, array, includes);
  const own = usedIn(file, array);
  const places = new Set(own.places.keys());
  for (const name of allIncludes(file, includes)) {
    for (const place of usedIn(includes.get(name) as SourceFile, array).places.keys()) places.add(place);
  }
  const findings: Finding[] = [];
  if (named.numbers.some((number, index) => number !== index + 1)) {
    findings.push({
      path,
      line: 1,
      why: `the header does not name ${array} in the order 1, 2, 3: ${named.numbers}`,
    });
  }
  for (const place of places) {
    if (place <= named.count || named.isOpen) continue;
    findings.push({ path, line: own.places.get(place) ?? 1, why: `${array}[${place}] is not in the header` });
  }
  if (own.computedAt !== undefined && !named.isOpen) {
    const why = `uses a computed place or the number of ${array}, and the header names no ${array}[n...]`;
    findings.push({ path, line: own.computedAt, why });
  }
  if (named.isOpen && own.computedAt === undefined) {
    findings.push({
      path,
      line: 1,
      why: `the header says that ${array} go on, the script does not look at more`,
    });
  }
  for (const number of named.numbers) {
    const isLastOpen = named.isOpen && number === named.count;
    const isIdle = named.idle.has(number);
    if (places.has(number) && isIdle) {
      findings.push({ path, line: 1, why: `${array}[${number}] is used, the header says it is not` });
    } else if (!places.has(number) && !isIdle && !isLastOpen) {
      findings.push({
        path,
        line: 1,
        why: `${array}[${number}] is not used (nor does its line say "not used")`,
      });
    }
  }
  return findings;
}

export const luaHeaders: Rule = (files) => {
  const includes = includesIn(files);
  return scriptsIn(files).flatMap((file) => {
    const header = headerOf(file);
    const missing = ['Reply', 'Complexity'].filter((word) => !new RegExp(`^${word}: `, 'm').test(header));
    return [
      ...ARRAYS.flatMap((array) => checkArray(file, array, includes)),
      ...missing.map((word) => ({ path: file.path, line: 1, why: `the header has no line "${word}:"` })),
    ];
  });
};

/** A key put together in Lua is not declared, and lies in another slot of a Redis Cluster. */
export const luaBuiltKeys: Rule = (files) =>
  files
    .filter(({ path }) => path.startsWith(`${FOLDER}/`) && path.endsWith('.lua'))
    .flatMap((file) =>
      matches(
        file,
        /\bp?call\('[A-Z]+', [^,)]*(?:\.\.|string\.format|'[^']+')/g,
        ([call]) => `builds a key: ${call}`,
      ).filter(({ line }) => !file.text.split('\n')[line - 1]?.trimStart().startsWith('--')),
    );

/** One `defineScript(name, keys, args)`. */
interface Definition {
  readonly file: SourceFile;
  readonly node: ts.Node;
  readonly name: string;
  /** How many names each has; undefined where the list cannot be read from the text. */
  readonly counts: Record<ArrayName, number | undefined>;
}

/** How many elements an array written in the text has; names of constant arrays are looked up in `constants`. */
function lengthOf(
  node: ts.Node | undefined,
  constants: ReadonlyMap<string, ts.Expression>,
): number | undefined {
  if (!node) return undefined;
  if (ts.isAsExpression(node) || ts.isSatisfiesExpression(node)) return lengthOf(node.expression, constants);
  if (ts.isIdentifier(node)) return lengthOf(constants.get(node.text), constants);
  if (!ts.isArrayLiteralExpression(node)) return undefined;
  let length = 0;
  for (const element of node.elements) {
    const more = ts.isSpreadElement(element) ? lengthOf(element.expression, constants) : 1;
    if (more === undefined) return undefined;
    length += more;
  }
  return length;
}

function definitionsIn(files: readonly SourceFile[]): Definition[] {
  const code = codeIn(files, 'src/store/redis');
  const constants = new Map<string, ts.Expression>();
  for (const file of code) {
    for (const node of syntaxOf(file).statements) {
      if (!ts.isVariableStatement(node)) continue;
      for (const { name, initializer } of node.declarationList.declarations) {
        if (initializer) constants.set(name.getText(), initializer);
      }
    }
  }
  return code.flatMap((file) => {
    const definitions: Definition[] = [];
    walk(syntaxOf(file), (node) => {
      if (!ts.isCallExpression(node) || node.expression.getText() !== 'defineScript') return;
      const [name, keys, args] = node.arguments;
      if (!name || !ts.isStringLiteralLike(name)) return;
      const counts = { KEYS: lengthOf(keys, constants), ARGV: lengthOf(args, constants) };
      definitions.push({ file, node, name: name.text, counts });
    });
    return definitions;
  });
}

export const luaDefinitions: Rule = (files) => {
  const includes = includesIn(files);
  const scripts = new Map(scriptsIn(files).map((file) => [posix.basename(file.path, '.lua'), file]));
  const defined = new Set<string>();
  return definitionsIn(files).flatMap(({ file, node, name, counts }) => {
    const script = scripts.get(name);
    if (!script) return [found(file, node, `there is no script ${name}.lua`)];
    if (defined.has(name)) return [found(file, node, `${name} is defined twice`)];
    defined.add(name);
    return ARRAYS.flatMap((array) => {
      const { count, isOpen, groupSize } = contractOf(script, array, includes);
      // Of an open list, the part that goes on need not have names, or has those of its first group.
      const wanted = isOpen ? [count, count - 1, count - 1 + groupSize] : [count];
      if (wanted.includes(counts[array] ?? -1)) return [];
      const told = counts[array] ?? 'a list that cannot be read';
      return [found(file, node, `${name} is defined with ${told} of ${array}, its header names ${count}`)];
    });
  });
};

export const luaUnused: Rule = (files) => {
  const defined = new Set(definitionsIn(files).map(({ name }) => name));
  const includes = includesIn(files);
  const scripts = scriptsIn(files);
  const wanted = new Set(scripts.flatMap((file) => [...allIncludes(file, includes)]));
  const unknown = [...scripts, ...includes.values()].flatMap((file) =>
    directIncludes(file)
      .filter((name) => !includes.has(name))
      .map((name) => ({
        path: file.path,
        line: lineOf(file, file.text.indexOf(`@include "${name}"`)),
        why: `there is no includes/${name}.lua`,
      })),
  );
  return [
    ...unknown,
    ...scripts
      .filter(({ path }) => !defined.has(posix.basename(path, '.lua')))
      .map(({ path }) => ({ path, line: 1, why: 'no defineScript names it' })),
    ...[...includes]
      .filter(([name]) => !wanted.has(name))
      .map(([, { path }]) => ({ path, line: 1, why: 'no script includes it' })),
  ];
};
