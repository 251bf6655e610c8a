// docs/conformance.md, made of the statements and their proofs. scripts/docs.mjs writes it, table.test.ts compares it.

import { type Proof, readProofs } from './proofs.ts';
import { type Statement, statementsOf } from './statement.ts';
import { STATEMENTS_5_BEHAVIOUR } from './statements-5-behaviour.ts';
import { STATEMENTS_5_CONNECT } from './statements-5-connect.ts';
import { STATEMENTS_5_PACKETS } from './statements-5-packets.ts';
import { STATEMENTS_311 } from './statements-311.ts';

/** Path from the root of the repository. */
export const CONFORMANCE_PATH = 'docs/conformance.md';

/** All statements, 3.1.1 first, in the order of the standards. */
export const STATEMENTS: readonly Statement[] = [
  ...statementsOf(STATEMENTS_311),
  ...statementsOf(STATEMENTS_5_CONNECT),
  ...statementsOf(STATEMENTS_5_PACKETS),
  ...statementsOf(STATEMENTS_5_BEHAVIOUR),
];

const TITLES = { '3.1.1': 'MQTT 3.1.1', '5': 'MQTT 5' };

const INTRODUCTION = `# Conformance

Generated from \`test/conformance\` by \`scripts/docs.mjs\`. Every normative statement of MQTT 3.1.1 and MQTT 5, in our
words: the test that proves it, or the reason why no test of a broker can. A test fails when a row has neither.

The tests speak MQTT byte by byte on raw sockets, each for every version whose statements it names, on a node with the
embedded store and on two nodes with Redis, where every connection of a scenario goes to another node than the one
before. \`npm test -- conformance\` runs them; \`npm run fuzz -- --minutes 30 --seed 1\` sends what no client should, and
fails when a node ends, logs an error, holds a connection that is over or answers what it must not, when its memory grows
by more than 50 MB (median of the last quarter of the run against that of the second), or when a bystander waits for more
than 3 seconds.

Among them are the scenarios of Eclipse Paho's interoperability tests, written anew from the standard. For 3.1.1:
delivery at all QoS, retained messages, messages for clients that are away, wills, overlapping subscriptions, keep-alive,
redelivery on reconnect, empty client identifiers, subscriptions that fail, unsubscribing, \`$\` topics. For 5 these, and
session expiry, will delay, user properties, payload format, message expiry, subscription options and identifiers,
request and response, aliases both ways, packet sizes, flow control both ways, server keep-alive, shared subscriptions,
assigned client identifiers and DISCONNECT of the server. And those of mosquitto's tests of a broker as it comes:
connecting (levels, identifiers, flags, takeover), publishing (each QoS both ways, repetitions, bad packets), retained
messages, subscribing and unsubscribing (options, patterns, wildcards), sessions and wills, expiry, and bridges' bit.`;

/** The text of the document. */
export function conformancePage(): string {
  const proofs = readProofs();
  const parts = [INTRODUCTION];
  for (const version of ['3.1.1', '5'] as const) {
    const rows = STATEMENTS.filter((one) => one.version === version);
    const proven = rows.filter(({ id }) => proofs.has(id)).length;
    parts.push(
      `## ${TITLES[version]}`,
      `${rows.length} statements: ${proven} proven by tests, ${rows.length - proven} with a reason.`,
      [
        '| id | version | statement | test, or why there is none |',
        '|---|---|---|---|',
        ...rows.map((one) => row(one, proofs.get(one.id) ?? [])),
      ].join('\n'),
    );
  }
  return `${parts.join('\n\n')}\n`;
}

function row({ id, version, text, reason }: Statement, proofs: readonly Proof[]): string {
  const tests = proofs.map(({ file, name }) => `\`${file.replace(/^test\/|\.test\.ts$/g, '')}\` "${name}"`);
  const why = tests.length > 0 ? tests.join('; ') : (reason ?? '');
  const cells = [`[${id.replace('MQTT5-', 'MQTT-')}]`, version, text, why];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
