// Which test proves which statement. Tests of this folder name their ids themselves, as literals in their calls of
// `statement(ids, what, ...)`, which are read from the syntax of the files; tests elsewhere that prove a statement too
// are named here. Both are held against the files' text by table.test.ts.

import { readdirSync, readFileSync } from 'node:fs';
import ts from 'typescript';
import { projectFile } from '../helpers/command-line.ts';

/** A test, by its file below the root of the repository and its name. */
export interface Proof {
  readonly file: string;
  readonly name: string;
}

/** Tests outside this folder, and the statements that they prove. */
export const CITED: readonly (Proof & { readonly ids: readonly string[] })[] = [
  {
    file: 'test/integration/listener-streams.test.ts',
    name: 'ws: both ways, packets spread over frames as the client likes',
    ids: ['MQTT-6.0.0-2', 'MQTT-6.0.0-4', 'MQTT5-6.0.0-2', 'MQTT5-6.0.0-4'],
  },
  {
    file: 'test/integration/listener-streams.test.ts',
    name: 'ws: pings are answered; text frames and messages beyond the limit close',
    ids: ['MQTT-6.0.0-1', 'MQTT5-6.0.0-1'],
  },
  {
    file: 'test/integration/connection-clients.test.ts',
    name: 'a client that asks and never reads is closed at twice its limit',
    ids: ['MQTT-4.8.0-2'],
  },
];

const FOLDER = 'test/conformance';

/** Every proof by id: those of this folder's tests, then the cited ones. */
export function readProofs(): Map<string, Proof[]> {
  const proofs = new Map<string, Proof[]>();
  const add = (id: string, proof: Proof) => proofs.set(id, [...(proofs.get(id) ?? []), proof]);
  const files = readdirSync(projectFile(FOLDER)).filter((name) => name.endsWith('.test.ts'));
  for (const name of files.sort()) {
    const file = `${FOLDER}/${name}`;
    for (const { ids, what } of statementCalls(file, readFileSync(projectFile(file), 'utf8'))) {
      for (const id of ids) add(id, { file, name: what });
    }
  }
  for (const { ids, file, name } of CITED) for (const id of ids) add(id, { file, name });
  return proofs;
}

/** The ids and names in the calls of `statement`. Throws where they are no literals. */
function statementCalls(file: string, text: string): { ids: string[]; what: string }[] {
  const found: { ids: string[]; what: string }[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isCallExpression(node) && node.expression.getText() === 'statement') {
      const [ids, what] = node.arguments;
      if (!ids || !ts.isArrayLiteralExpression(ids) || !what || !ts.isStringLiteralLike(what)) {
        throw new Error(`${file}: statement(...) wants literals`);
      }
      const names = ids.elements.map((one) => {
        if (!ts.isStringLiteralLike(one)) throw new Error(`${file}: ${one.getText()} is no literal`);
        return one.text;
      });
      found.push({ ids: names, what: what.text });
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true));
  return found;
}
