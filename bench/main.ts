// The benchmark's command line: which workloads or bars, which contestants, what of a workload is changed. Output is for
// people; --json keeps every round.

import { parseArgs } from 'node:util';
import { BARS, type Bar, judge, labelOf } from './bars.ts';
import { echo } from './peers/echo.ts';
import { mosquitto } from './peers/mosquitto.ts';
import { nats } from './peers/nats.ts';
import type { Peer } from './peers/peer.ts';
import { rabbitmq } from './peers/rabbitmq.ts';
import { stock } from './peers/stock.ts';
import { swarmq } from './peers/swarmq.ts';
import { type Contest, playContest, type Run, type Side } from './play.ts';
import { placement } from './processes.ts';
import { type Group, type Results, writeResults } from './results.ts';
import { describeContest, describeRatio, describeVerdict } from './text.ts';
import { chosen, type Settings, sizeOf, WORKLOADS } from './workloads.ts';

const PEERS = new Map<string, Peer>(
  [swarmq, mosquitto, stock, rabbitmq, nats, echo].map((peer) => [peer.name, peer]),
);

const USAGE = `usage: npm run bench -- [options]
  --workload W,...     default pairs-qos0; see below
  --peers P,...        ${[...PEERS.keys()].join(', ')} (default swarmq,mosquitto)
  --bars               plays all bars of the project instead, and says which are met
  --bar B,...          some of them: ${[...BARS.keys()].join(', ')}
  --rounds N           rounds of each contestant, in turn (default 3, bars 5)
  --seconds S          measured time of a round (default 5), after --warm-up S (default 1)
  --generators N       generator processes (pairs only; default 1)
  --share-cores        of generator and servers; otherwise core 0 is the generator's alone
  --json FILE          every round's figures
what is measured, where a workload is to be other than it is:
  --qos 0|1|2          also of subscriptions
  --protocol 4|5       MQTT 3.1.1 or 5
  --tls                with a certificate made for the round (needs openssl)
  --pairs N            publisher/subscriber pairs
  --fan N              subscribers of fan-out, shared-group and retained; publishers of fan-in and iot
  --clients N          connections of connect-storm and idle
  --idle SECONDS       that they stay without traffic before memory is read again
  --payload BYTES      12 to 524288
  --window N           messages under way per publisher
  --rate N             open loop: so many messages a second in all
  --queued N           messages that each publisher stores: resume, offline, retained
  --topics N           topics in all that wildcard workloads go round over
  --filters N          wildcard filters beside those of the load
  --workers N          processes of swarmq behind its port (on Redis)
  --fsync always|everysec   of Redis
workloads:
${[...WORKLOADS].map(([name, workload]) => `  ${name.padEnd(20)} ${workload.title}\n${' '.repeat(23)}(${sizeOf(workload)})`).join('\n')}`;

const TEXT_OPTIONS =
  'workload peers bar rounds seconds warm-up generators json qos protocol pairs fan clients idle payload window rate queued topics filters workers fsync';

type Given = Record<string, string | undefined> & {
  tls?: boolean;
  bars?: boolean;
  'share-cores'?: boolean;
  help?: boolean;
};

function readOptions(): Given {
  const text = Object.fromEntries(TEXT_OPTIONS.split(' ').map((name) => [name, { type: 'string' as const }]));
  const flags = Object.fromEntries(
    ['tls', 'bars', 'share-cores', 'help'].map((name) => [name, { type: 'boolean' as const }]),
  );
  const { values } = parseArgs({ options: { ...text, ...flags } });
  return values as Given;
}

function choose<T>(kind: string, list: string, known: Map<string, T>): string[] {
  const names = list.split(',');
  for (const name of names)
    if (!known.has(name)) throw new Error(`no ${kind} ${name}; known: ${[...known.keys()].join(', ')}`);
  return names;
}

/** The number given by --name; undefined when it is not given. */
function numberOf(given: Given, name: string, from: number, to = 1e9): number | undefined {
  if (given[name] === undefined) return undefined;
  const value = Number(given[name]);
  if (!(value >= from && value <= to)) throw new Error(`--${name} must be a number from ${from} to ${to}`);
  return value;
}

function oneOf<T extends string>(given: Given, name: string, values: readonly T[]): T | undefined {
  const value = given[name];
  if (value !== undefined && !values.includes(value as T))
    throw new Error(`--${name} must be one of ${values.join(', ')}`);
  return value as T | undefined;
}

/** What of each workload is to be other than it is. */
function changesOf(given: Given): Partial<Settings> {
  const numbers = {
    qos: oneOf(given, 'qos', ['0', '1', '2']),
    protocol: oneOf(given, 'protocol', ['4', '5']),
    pairs: numberOf(given, 'pairs', 1),
    fan: numberOf(given, 'fan', 1),
    clients: numberOf(given, 'clients', 1),
    idleSeconds: numberOf(given, 'idle', 0, 3600),
    payloadBytes: numberOf(given, 'payload', 12, 524_288),
    window: numberOf(given, 'window', 1, 8192),
    ratePerSecond: numberOf(given, 'rate', 1),
    queued: numberOf(given, 'queued', 1),
    topics: numberOf(given, 'topics', 0),
    idleFilters: numberOf(given, 'filters', 0),
    workers: numberOf(given, 'workers', 1, 64),
  };
  const changed = Object.entries(numbers).filter(([, value]) => value !== undefined);
  const fsync = oneOf(given, 'fsync', ['always', 'everysec']);
  return {
    ...Object.fromEntries(changed.map(([name, value]) => [name, Number(value)])),
    ...(fsync ? { fsync } : {}),
    ...(given.tls ? { isTls: true } : {}),
  };
}

/** Plays all sides and tells how they compare with the first. */
async function playAndTell(heading: string, sides: Side[], run: Run): Promise<Contest[]> {
  console.log(`\n${heading}`);
  const contests = await playContest(sides, run, console.log);
  for (const contest of contests) console.log(describeContest(contest).join('\n'));
  const [first, ...others] = contests;
  for (const other of others)
    console.log(describeRatio(first!, other, WORKLOADS.get(first!.workload)!.figure));
  return contests;
}

/** What is to be played in turn. */
interface Plan {
  heading: string;
  sides: Side[];
  bar?: string;
}

function plansOfWorkloads(given: Given, change: Partial<Settings>): Plan[] {
  const peers = choose('peer', given.peers ?? 'swarmq,mosquitto', PEERS).map((name) => PEERS.get(name)!);
  return choose('workload', given.workload ?? 'pairs-qos0', WORKLOADS).map((name) => {
    const workload = chosen(name, change);
    const sides = peers.map((peer) => ({ label: peer.name, peer, workload: name, change }));
    return { heading: `${name}: ${workload.title}; ${sizeOf(workload)}`, sides };
  });
}

/** Of the peers, those that the command line names take part; the one that is judged always does. */
function plansOfBars(given: Given, change: Partial<Settings>, cores: number): Plan[] {
  const named = given.peers === undefined ? undefined : choose('peer', given.peers, PEERS);
  const names = choose('bar', given.bar ?? [...BARS.keys()].join(','), BARS);
  const missing = (name: string) => (BARS.get(name)!.cores ?? 0) > cores;
  for (const name of names.filter(missing))
    console.log(`bar ${name} is left out: it needs ${BARS.get(name)!.cores} cores`);
  return names
    .filter((name) => !missing(name))
    .map((name) => {
      const { workload, entries } = BARS.get(name)!;
      const invited = entries.filter(({ peer }) => peer === 'swarmq' || !named || named.includes(peer));
      const sides = invited.map((entry) => ({
        label: labelOf(entry),
        peer: PEERS.get(entry.peer)!,
        workload: entry.workload ?? workload,
        change: { ...change, ...entry.change },
      }));
      const settled = chosen(workload, sides[0]!.change);
      return { heading: `bar ${name}: ${settled.title}; ${sizeOf(settled)}`, sides, bar: name };
    });
}

function verdictsOf({ bar, contests }: Group): string[] {
  if (bar === undefined) return [];
  return judge(BARS.get(bar) as Bar, contests).map((verdict) => describeVerdict(bar, verdict));
}

async function main(): Promise<void> {
  const given = readOptions();
  if (given.help) {
    console.log(USAGE);
    return;
  }
  const isAboutBars = given.bars === true || given.bar !== undefined;
  const run: Run = {
    rounds: numberOf(given, 'rounds', 1) ?? (isAboutBars ? 5 : 3),
    seconds: numberOf(given, 'seconds', 0) ?? 5,
    warmUpSeconds: numberOf(given, 'warm-up', 0) ?? 1,
    generators: numberOf(given, 'generators', 1) ?? 1,
    place: placement(given['share-cores'] === true),
  };
  const change = changesOf(given);
  const plans = isAboutBars ? plansOfBars(given, change, run.place.cores) : plansOfWorkloads(given, change);
  const { place, ...amounts } = run;
  console.log(`${place.text}; ${place.model}; node ${process.version}; ${run.generators} generator(s)`);
  const results: Results = {
    day: new Date().toISOString().slice(0, 10),
    machine: place.text,
    model: place.model,
    node: process.version,
    ...amounts,
    groups: [],
  };
  for (const { heading, sides, bar } of plans) {
    const contests = await playAndTell(heading, sides, run);
    const group: Group = bar === undefined ? { contests } : { bar, contests };
    results.groups.push(group);
    for (const line of verdictsOf(group)) console.log(line);
    if (given.json) writeResults(given.json, results);
  }
  if (isAboutBars) console.log(['\nall bars:', ...results.groups.flatMap(verdictsOf)].join('\n'));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
