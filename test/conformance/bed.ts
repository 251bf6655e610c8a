// What the conformance tests run on: one node with its embedded store, and two nodes on a Redis, started once per file.
// A test is written once and runs for each version whose statements it names, on both; every connection that it opens
// goes to the next node, so that on Redis each step of a scenario with a reconnect meets another one.

import t, { type Test } from 'tap';
import { startRedis } from '../helpers/redis-server.ts';
import { type SwarmqNode, startNode, startNodes } from '../helpers/swarmq-node.ts';
import type { ConnectOptions, Version } from './packets.ts';
import { Wire } from './wire.ts';

/** One run of a test: a version on a cluster. */
export class Bed {
  readonly version: Version;
  readonly nodes: readonly SwarmqNode[];
  readonly test: Test;
  /** Another number for each run of the file. */
  readonly run: number;
  #opened = 0;

  constructor(version: Version, nodes: readonly SwarmqNode[], test: Test, run: number) {
    this.version = version;
    this.nodes = nodes;
    this.test = test;
    this.run = run;
  }

  get is5(): boolean {
    return this.version === 5;
  }

  /** A topic or client id that no other run has. */
  name(word: string): string {
    return `c${this.run}-${word}`;
  }

  /** A connection to the next node, without CONNECT. */
  open(version: Version = this.version): Wire {
    const node = this.nodes[this.#opened++ % this.nodes.length]!;
    return new Wire(this.test, node.port, version);
  }

  /** A client of the next node that is connected; the word is made a client id of this run. */
  async connect(word: string, options: ConnectOptions = {}): Promise<Wire> {
    const wire = this.open();
    const { code } = await wire.connect(this.name(word), options);
    if (code !== 0) throw new Error(`CONNACK 0x${code.toString(16)}`);
    return wire;
  }

  /** The same with a session that outlives the connection. */
  connectKept(word: string, options: ConnectOptions = {}): Promise<Wire> {
    const kept = this.is5 ? [['sessionExpiry', 3600] as const] : [];
    return this.connect(word, {
      clean: false,
      ...options,
      properties: [...kept, ...(options.properties ?? [])],
    });
  }
}

export type Body = (t: Test, bed: Bed) => Promise<void>;
export type StatementTest = (
  ids: readonly string[],
  what: string,
  body: Body,
  /** Instead of those that the ids name. */
  versions?: readonly Version[],
) => void;

const NAMES: Record<Version, string> = { 3: '3.1', 4: '3.1.1', 5: '5' };

let runs = 0;

/**
 * Starts the nodes of a test file; answers how a test is written. `ids` must be literals, since the table of the
 * statements is made by reading them: [MQTT-...] makes the test run for 3.1.1, [MQTT5-...] for 5.
 */
export async function startBeds(config?: string): Promise<StatementTest> {
  t.setTimeout(600_000);
  const options = { logLevel: 'warn', readyWithinMs: 120_000, ...(config === undefined ? {} : { config }) };
  const redis = await startRedis(t);
  const [embedded, pair] = await Promise.all([
    startNode(t, options),
    startNodes(t, 2, { ...options, redis: redis.url }),
  ]);
  const clusters = { embedded: [embedded], 'two nodes': pair };
  return (ids, what, body, versions = versionsOf(ids)) => {
    t.test(what, async (t) => {
      t.jobs = 4;
      for (const [kind, nodes] of Object.entries(clusters)) {
        for (const version of versions) {
          t.test(`${kind}, ${NAMES[version]}`, { buffered: true }, async (t) => {
            await body(t, new Bed(version, nodes, t, ++runs));
            for (const node of nodes) {
              t.ok(node.isRunning, 'the node has survived');
              t.notMatch(node.log, /"level":"(error|fatal)"/, 'and logged no error');
            }
          });
        }
      }
    });
  };
}

function versionsOf(ids: readonly string[]): Version[] {
  const versions: Version[] = [];
  if (ids.some((id) => id.startsWith('MQTT-'))) versions.push(4);
  if (ids.some((id) => id.startsWith('MQTT5-'))) versions.push(5);
  return versions;
}
