// The repository as the tidy rules see it: paths from the root, texts, syntax trees and imports. Nothing here judges. A
// rule is a function over such files, so that a test can feed it a small bad example as well as the real tree.

import { readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import ts from 'typescript';

/** A text file: its path from the root of the repository, with "/" between folders. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** What a rule found, where. */
export interface Finding {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  readonly why: string;
}

/** Answers everything in `files` that breaks one rule. Files that the rule is not about are in `files` too. */
export type Rule = (files: readonly SourceFile[]) => Finding[];

/** One import, export-from, import(), import type or `new URL('./x.ts', import.meta.url)`. */
export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** The file meant, by its path from the root (of a compiled file: its source); undefined for a package. */
  readonly target: string | undefined;
}

const BINARY = /\.(png|jpe?g|gif|ico|woff2?|gz|tgz|zip|pem|der|p12)$/;
const CODE = /\.(ts|mjs|js)$/;

/** Every text file below `root` that .gitignore does not name. */
export function readTree(root: string): SourceFile[] {
  const ignored = readFileSync(posix.join(root, '.gitignore'), 'utf8').split('\n').filter(Boolean);
  const isIgnored = (name: string, isFolder: boolean) =>
    name === '.git' ||
    ignored.some((pattern) => {
      if (pattern.startsWith('*')) return name.endsWith(pattern.slice(1));
      return pattern.endsWith('/') ? isFolder && pattern === `${name}/` : pattern === name;
    });
  const files: SourceFile[] = [];
  const read = (folder: string) => {
    for (const entry of readdirSync(posix.join(root, folder), { withFileTypes: true })) {
      const path = posix.join(folder, entry.name);
      if (isIgnored(entry.name, entry.isDirectory())) continue;
      if (entry.isDirectory()) read(path);
      else if (entry.isFile() && !BINARY.test(path)) {
        files.push({ path, text: readFileSync(posix.join(root, path), 'utf8') });
      }
    }
  };
  read('.');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** Files of code (TypeScript and scripts) below one of the folders. */
export function codeIn(files: readonly SourceFile[], ...folders: string[]): SourceFile[] {
  return files.filter(
    ({ path }) => CODE.test(path) && folders.some((folder) => path.startsWith(`${folder}/`)),
  );
}

const parsed = new WeakMap<SourceFile, ts.SourceFile>();

/** The syntax tree of a file of code. */
export function syntaxOf(file: SourceFile): ts.SourceFile {
  let tree = parsed.get(file);
  if (!tree) {
    const kind = file.path.endsWith('.ts') ? ts.ScriptKind.TS : ts.ScriptKind.JS;
    tree = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.ESNext, true, kind);
    parsed.set(file, tree);
  }
  return tree;
}

/** Visits every node of a tree, parents first. */
export function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

/** A finding at a node. */
export function found(file: SourceFile, node: ts.Node, why: string): Finding {
  return { path: file.path, line: lineOf(file, node.getStart(syntaxOf(file))), why };
}

/** The line, from 1, of an offset in the text. */
export function lineOf(file: SourceFile, offset: number): number {
  let line = 1;
  for (let at = file.text.indexOf('\n'); at >= 0 && at < offset; at = file.text.indexOf('\n', at + 1)) line++;
  return line;
}

/** One finding for each match of `pattern` (with the flag g) in the text. */
export function matches(
  file: SourceFile,
  pattern: RegExp,
  why: (match: RegExpExecArray) => string,
): Finding[] {
  return [...file.text.matchAll(pattern)].map((match) => ({
    path: file.path,
    line: lineOf(file, match.index),
    why: why(match),
  }));
}

function specifierOf(node: ts.Node): ts.Expression | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier;
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    return node.argument.literal as ts.Expression;
  }
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
    return node.arguments[0];
  const isUrl =
    ts.isNewExpression(node) && node.expression.getText() === 'URL' && node.arguments?.length === 2;
  if (!isUrl || node.arguments?.[1]?.getText() !== 'import.meta.url') return undefined;
  const [first] = node.arguments;
  return first && ts.isStringLiteralLike(first) && CODE.test(first.text) ? first : undefined;
}

/** The text of an expression that is written out, or a constant of this file that is. */
function literalOf(file: SourceFile, node: ts.Expression): string | undefined {
  if (ts.isStringLiteralLike(node)) return node.text;
  if (!ts.isIdentifier(node)) return undefined;
  let text: string | undefined;
  walk(syntaxOf(file), (one) => {
    if (!ts.isVariableDeclaration(one) || one.name.getText() !== node.text || !one.initializer) return;
    if (ts.isStringLiteralLike(one.initializer)) text = one.initializer.text;
  });
  return text;
}

const imported = new WeakMap<SourceFile, Import[]>();

/** All imports of a file of code, in their order. */
export function importsOf(file: SourceFile): Import[] {
  const known = imported.get(file);
  if (known) return known;
  const imports: Import[] = [];
  walk(syntaxOf(file), (node) => {
    const expression = specifierOf(node);
    const specifier = expression && literalOf(file, expression);
    if (!expression || specifier === undefined) return;
    const isPath = specifier.startsWith('.');
    const path = posix.join(posix.dirname(file.path), specifier);
    const isCompiled = path.startsWith('dist/') && path.endsWith('.js');
    imports.push({
      specifier,
      line: lineOf(file, expression.getStart()),
      target: isPath ? (isCompiled ? path.replace(/^dist\/(.*)\.js$/, '$1.ts') : path) : undefined,
    });
  });
  imported.set(file, imports);
  return imports;
}

/** The name of the package of an import that is not a path and not of Node; else undefined. */
export function packageOf({ specifier, target }: Import): string | undefined {
  if (target !== undefined || specifier.startsWith('node:')) return undefined;
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
}
