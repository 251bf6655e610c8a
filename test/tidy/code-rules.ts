// What stands in a file of code: who may touch time, chance and the process, how long things are, what is explained, what
// is left over. Judged on the syntax tree, so that comments and texts that mention a forbidden name are no offence.

import ts from 'typescript';
import {
  codeIn,
  type Finding,
  found,
  matches,
  type Rule,
  type SourceFile,
  syntaxOf,
  walk,
} from './source-tree.ts';

const ALL_CODE = ['src', 'test', 'bench', 'scripts'];
const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;

const TIME_AND_CHANCE = ['src/util/clock.ts', 'src/util/random.ts'];
const MAIN = ['src/main.ts'];

/** Members of global objects that only some files may touch. */
const MEMBERS: ReadonlyMap<string, readonly string[]> = new Map([
  ['Date.now', TIME_AND_CHANCE],
  ['performance.now', TIME_AND_CHANCE],
  ['process.hrtime', TIME_AND_CHANCE],
  ['Math.random', TIME_AND_CHANCE],
  ['process.env', ['src/config/env.ts']],
  ['process.exit', MAIN],
  ['process.on', MAIN],
  ['process.once', MAIN],
  ['process.addListener', MAIN],
]);

/** Names that only some files may use as a value or import; as a member of another object they are something else. */
const NAMES: ReadonlyMap<string, readonly string[]> = new Map(
  ['setTimeout', 'setInterval', 'setImmediate', 'randomUUID'].map((name) => [name, TIME_AND_CHANCE]),
);

/** Modules that would bring the same under other names. */
const MODULES: ReadonlyMap<string, readonly string[]> = new Map([
  ['node:timers', TIME_AND_CHANCE],
  ['node:timers/promises', TIME_AND_CHANCE],
  ['node:process', []],
]);

/** "object.member" of a property or element access, without a leading globalThis. */
function memberOf(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node)) {
    return `${node.expression.getText()}.${node.name.text}`.replace(/^globalThis\./, '');
  }
  if (ts.isElementAccessExpression(node) && ts.isStringLiteralLike(node.argumentExpression)) {
    return `${node.expression.getText()}.${node.argumentExpression.text}`.replace(/^globalThis\./, '');
  }
  return undefined;
}

/** Whether an identifier stands for a value of the global scope (or is imported), not for a member or in a type. */
function isFreeName(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) {
    return ['globalThis', 'crypto', 'timers'].includes(parent.expression.getText());
  }
  if (ts.isTypeQueryNode(parent)) return false;
  const isNameOfMember =
    ts.isTypeElement(parent) || ts.isClassElement(parent) || ts.isPropertyAssignment(parent);
  return !(isNameOfMember && parent.name === node);
}

/** The forbidden thing that a node is, with the files where it is at home. */
function forbidden(node: ts.Node): [string, readonly string[]][] {
  const member = memberOf(node);
  const homes = member === undefined ? undefined : MEMBERS.get(member);
  if (member !== undefined && homes) return [[member, homes]];
  if (ts.isIdentifier(node) && NAMES.has(node.text) && isFreeName(node)) {
    return [[node.text, NAMES.get(node.text) as readonly string[]]];
  }
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length) {
    return [['new Date()', TIME_AND_CHANCE]];
  }
  if (ts.isCallExpression(node) && node.expression.getText() === 'Date') return [['Date()', TIME_AND_CHANCE]];
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    const module = MODULES.get(node.moduleSpecifier.text);
    return module ? [[node.moduleSpecifier.text, module]] : [];
  }
  if (ts.isVariableDeclaration(node) && node.initializer && ts.isObjectBindingPattern(node.name)) {
    const object = node.initializer.getText();
    return node.name.elements.flatMap((element): [string, readonly string[]][] => {
      const name = `${object}.${(element.propertyName ?? element.name).getText()}`;
      const allowed = MEMBERS.get(name);
      return allowed ? [[name, allowed]] : [];
    });
  }
  return [];
}

export const forbiddenGlobals: Rule = (files) =>
  codeIn(files, 'src').flatMap((file) => {
    const findings: Finding[] = [];
    walk(syntaxOf(file), (node) => {
      for (const [name, homes] of forbidden(node)) {
        if (homes.includes(file.path)) continue;
        const where = homes.length > 0 ? `only in ${homes.join(' and ')}` : 'nowhere';
        findings.push(found(file, node, `${name} is allowed ${where}`));
      }
    });
    return findings;
  });

export const fileLength: Rule = (files) =>
  files
    .filter(({ path }) => /^(src|test|bench|scripts)\/.*\.(ts|mjs|js|lua)$/.test(path))
    .flatMap(({ path, text }) => {
      const count = text.replace(/\n$/, '').split('\n').length;
      return count > FILE_LINES_MAX ? [{ path, line: FILE_LINES_MAX + 1, why: `${count} lines` }] : [];
    });

/** Lines of subtests inside of a function: each subtest is a function of its own and is counted by itself. */
function subtestLines(root: ts.Node, linesOf: (node: ts.Node) => number): number {
  let sum = 0;
  const look = (node: ts.Node) => {
    if (ts.isCallExpression(node) && /\.test$/.test(node.expression.getText())) sum += linesOf(node);
    else ts.forEachChild(node, look);
  };
  ts.forEachChild(root, look);
  return sum;
}

export const functionLength: Rule = (files) =>
  codeIn(files, ...ALL_CODE).flatMap((file) => {
    const tree = syntaxOf(file);
    const lineAt = (offset: number) => tree.getLineAndCharacterOfPosition(offset).line;
    const linesOf = (node: ts.Node) => lineAt(node.end) - lineAt(node.getStart(tree)) + 1;
    const findings: Finding[] = [];
    walk(tree, (node) => {
      if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) return;
      let count = linesOf(node);
      if (count > FUNCTION_LINES_MAX && file.path.startsWith('test/')) count -= subtestLines(node, linesOf);
      if (count <= FUNCTION_LINES_MAX) return;
      const unnamed = ts.isConstructorDeclaration(node) ? 'the constructor' : 'a function without a name';
      const name = (node as ts.NamedDeclaration).name?.getText() ?? unnamed;
      findings.push(found(file, node, `${name} has ${count} lines`));
    });
    return findings;
  });

/** The comment that a file begins with, without its marks; empty if there is none. */
export function headerOf({ path, text }: SourceFile): string {
  const body = text.replace(/^#!.*\n/, '');
  const pattern = path.endsWith('.lua') ? /^(?:--.*\n)+/ : /^(?:(?:\/\/.*\n)+|\/\*[\s\S]*?\*\/)/;
  const comment = pattern.exec(body)?.[0] ?? '';
  return comment.replace(/^(?:\/\/|--|\/\*\*?| \*\/?) ?/gm, '').trim();
}

/** Sources say two sentences or lines, the others at least one. */
export const headers: Rule = (files) =>
  files
    .filter(({ path }) => /^(src|test|bench|scripts)\/.*\.(ts|mjs|js|lua)$/.test(path))
    .flatMap((file) => {
      const header = headerOf(file);
      const count = Math.max(header.split('\n').length, header.match(/[.:?](?=\s|$)/g)?.length ?? 0);
      const wanted = file.path.startsWith('src/') ? 2 : 1;
      if (header !== '' && count >= wanted) return [];
      const why = `begins with ${header === '' ? 'no comment' : 'a comment of one line'} about what the file owns`;
      return [{ path: file.path, line: 1, why }];
    });

const isExported = (node: ts.Node) =>
  ts.canHaveModifiers(node) &&
  ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);

const hasDocstring = (node: ts.Node) => ts.getJSDocCommentsAndTags(node).length > 0;

/** The exported functions, classes, interfaces and types of src that have no docstring. */
export const undocumented: Rule = (files) =>
  codeIn(files, 'src').flatMap((file) =>
    syntaxOf(file).statements.flatMap((node): Finding[] => {
      const isPublic =
        ts.isFunctionDeclaration(node) ||
        ts.isClassDeclaration(node) ||
        ts.isInterfaceDeclaration(node) ||
        ts.isTypeAliasDeclaration(node);
      if (!isPublic || !isExported(node) || hasDocstring(node)) return [];
      return [found(file, node, `${node.name?.text ?? 'default'} has no docstring`)];
    }),
  );

/** Whether the function itself, not one inside of it, throws a new error. */
function throwsNew(root: ts.Node): boolean {
  let answer = false;
  const look = (node: ts.Node) => {
    if (ts.isThrowStatement(node) && !ts.isIdentifier(node.expression)) answer = true;
    ts.forEachChild(node, (child) => {
      if (!ts.isFunctionLike(child)) look(child);
    });
  };
  ts.forEachChild(root, look);
  return answer;
}

export const throwingWithoutDocstring: Rule = (files) =>
  codeIn(files, 'src').flatMap((file) =>
    syntaxOf(file).statements.flatMap((node) => {
      if (!isExported(node)) return [];
      const isPublic = (member: ts.Node) =>
        ts.isMethodDeclaration(member) &&
        !ts.isPrivateIdentifier(member.name) &&
        !ts.getModifiers(member)?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword);
      const functions = ts.isFunctionDeclaration(node)
        ? [node]
        : ts.isClassDeclaration(node)
          ? node.members.filter(isPublic)
          : [];
      return functions
        .filter((one) => throwsNew(one) && !hasDocstring(one))
        .map((one) => {
          const name = (one as ts.NamedDeclaration).name?.getText();
          return found(file, one, `${name} throws and has no docstring that says when`);
        });
    }),
  );

// Joined here, so that this file does not find itself.
const LEFTOVERS = new RegExp(
  `\\b(${['TO', 'FIX', 'XX', 'HA'].map((a, i) => a + ['DO', 'ME', 'X', 'CK'][i]).join('|')})\\b`,
  'g',
);

export const leftovers: Rule = (files) =>
  files
    .filter(({ path }) => path !== 'package-lock.json')
    .flatMap((file) => matches(file, LEFTOVERS, ([word]) => `${word}: do it, or say in a sentence why not`));

export const narrowedTests: Rule = (files) =>
  codeIn(files, 'test').flatMap((file) => {
    const findings: Finding[] = [];
    walk(syntaxOf(file), (node) => {
      if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return;
      const name = node.expression.name.text;
      if (name === 'only' || name === 'skip')
        findings.push(found(file, node.expression.name, `.${name}( is left over`));
    });
    return findings;
  });

const VAGUE_NAME = /(Manager|Helper|Util|Utils|Service)$/;

export const names: Rule = (files) =>
  codeIn(files, ...ALL_CODE).flatMap((file): Finding[] => {
    const { path } = file;
    const base = path.split('/').at(-1) as string;
    if (base === 'index.ts')
      return [{ path, line: 1, why: 'a barrel hides circles: import the file that is meant' }];
    if (!/^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.(ts|mjs)$/.test(base)) {
      return [{ path, line: 1, why: 'file names are kebab-case' }];
    }
    return syntaxOf(file).statements.flatMap((node): Finding[] => {
      const isNamed =
        ts.isClassDeclaration(node) ||
        ts.isInterfaceDeclaration(node) ||
        ts.isTypeAliasDeclaration(node) ||
        ts.isFunctionDeclaration(node);
      const name = isNamed ? node.name?.text : undefined;
      return name && VAGUE_NAME.test(name)
        ? [found(file, node, `${name} says nothing: use the noun of the field`)]
        : [];
    });
  });
