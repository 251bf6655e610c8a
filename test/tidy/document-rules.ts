// What concerns the repository as a whole: traces of one machine in committed texts, the catalogue of errors, and the
// documents that a reader looks for first.

import ts from 'typescript';
import { codeIn, type Finding, found, matches, type Rule, syntaxOf, walk } from './source-tree.ts';

// The parts are joined here, so that this file does not find itself.
const MACHINE_PATH = new RegExp(
  `(?<![\\w./~-])/(?:${['home', 'Users', 'root', 'work', 'tmp', 'private', 'var/folders'].join('|')})/[\\w.-]+|\\b[A-Z]:\\\\{1,2}Users\\b`,
  'g',
);
const REGISTRY =
  /\/\/[^\s/"']*(?:registry|artifactory|nexus|verdaccio)[^\s/"']*|"resolved"\s*:\s*"http[^"]*|^registry\s*=.*/gm;

export const machineTraces: Rule = (files) =>
  files.flatMap((file) => [
    ...matches(file, MACHINE_PATH, ([text]) => `a path of one machine: ${text}`),
    ...matches(file, REGISTRY, ([text]) => `the address of a package registry: ${text}`),
  ]);

const CATALOGUE = 'src/util/errors.ts';

/** Codes of the catalogue that nothing in src throws, and codes that are named but are not in the catalogue. */
export const errorCodes: Rule = (files) => {
  const catalogue = files.find(({ path }) => path === CATALOGUE);
  if (!catalogue) return [{ path: CATALOGUE, line: 1, why: 'is not there' }];
  const declared = new Map<string, ts.Node>();
  walk(syntaxOf(catalogue), (node) => {
    if (ts.isPropertyAssignment(node) && /^SWARMQ_ERR_/.test(node.name.getText())) {
      declared.set(node.name.getText(), node);
    }
  });
  const used = new Set<string>();
  const findings: Finding[] = [];
  for (const file of codeIn(files, 'src')) {
    if (file === catalogue) continue;
    // Quoted it is used; a comment that mentions it is not. A family (SWARMQ_ERR_AREA_*) is no code.
    for (const { index, 0: quoted } of file.text.matchAll(/'?\bSWARMQ_ERR_[A-Z0-9_]*[A-Z0-9]\b/g)) {
      const code = quoted.replace("'", '');
      if (quoted !== code) used.add(code);
      if (declared.has(code)) continue;
      const line = file.text.slice(0, index).split('\n').length;
      findings.push({ path: file.path, line, why: `${code} is not in ${CATALOGUE}` });
    }
  }
  for (const [code, node] of declared) {
    if (!used.has(code)) findings.push(found(catalogue, node, `nothing uses ${code}`));
  }
  return findings;
};

const DOCUMENTS = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'LICENSE'];

export const documents: Rule = (files) =>
  DOCUMENTS.filter((path) => !files.some((file) => file.path === path && file.text.trim() !== '')).map(
    (path) => ({
      path,
      line: 1,
      why: 'is not there, or empty',
    }),
  );
