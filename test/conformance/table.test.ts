// The table of the statements: complete, with a proof or a reason in every row, proofs that exist, and a document that
// says so.

import { readFileSync } from 'node:fs';
import t from 'tap';
import { projectFile } from '../helpers/command-line.ts';
import { CONFORMANCE_PATH, conformancePage, STATEMENTS } from './document.ts';
import { CITED, readProofs } from './proofs.ts';

const proofs = readProofs();

t.test('all statements are there, once', async (t) => {
  const ids = STATEMENTS.map(({ id }) => id);
  t.equal(new Set(ids).size, ids.length);
  for (const id of ids) t.match(id, /^MQTT5?-\d+\.\d+\.\d+-\d+$/);
  t.equal(STATEMENTS.filter(({ version }) => version === '3.1.1').length, 141);
  t.equal(STATEMENTS.filter(({ version }) => version === '5').length, 251);
});

t.test('every row has a test or a reason, and not both', async (t) => {
  for (const { id, reason } of STATEMENTS) {
    t.equal(
      proofs.has(id),
      reason === undefined,
      reason === undefined ? `${id} has a test` : `${id}: ${reason}`,
    );
  }
});

t.test('tests name statements that there are', async (t) => {
  const known = new Set(STATEMENTS.map(({ id }) => id));
  for (const [id, [proof]] of proofs) t.ok(known.has(id), `${id} of ${proof?.file}`);
});

t.test('cited tests exist', async (t) => {
  for (const { file, name, ids } of CITED) {
    t.ok(readFileSync(projectFile(file), 'utf8').includes(name), `${file}: ${name}`);
    t.ok(ids.length > 0);
  }
});

t.test('docs/conformance.md is what the tests say (else: node scripts/docs.mjs)', async (t) => {
  t.equal(readFileSync(projectFile(CONFORMANCE_PATH), 'utf8'), conformancePage());
});
