// The benchmark: contestants in turn, fresh processes and data for each round, one load for all. Output is for people;
// --json keeps every round.

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Scope } from '../test/helpers/owner.ts';
import type { LoadCounts, LoadReport } from './load.ts';
import { echo } from './peers/echo.ts';
import { mosquitto } from './peers/mosquitto.ts';
import type { Peer } from './peers/peer.ts';
import { stock } from './peers/stock.ts';
import { swarmq } from './peers/swarmq.ts';
import { cpuSeconds, Generator, type Placement, placement, residentBytes } from './processes.ts';
import { describeRatio, describeRounds, type RoundFigures, roundFigures } from './report.ts';
import type { ResumeFigures } from './resume.ts';
import { jobsOf, type Settings, WORKLOADS, type Workload } from './workloads.ts';

const PEERS = new Map<string, Peer>([swarmq, mosquitto, stock, echo].map((peer) => [peer.name, peer]));

const USAGE = `usage: npm run bench -- [options]
  --workload W,...     ${[...WORKLOADS.keys()].join(', ')} (default pairs-qos0)
  --peers P,...        ${[...PEERS.keys()].join(', ')} (default swarmq,mosquitto)
  --rounds N           rounds of each contestant, in turn (default 3)
  --seconds S          measured time of a round (default 5), after --warm-up S (default 1)
  --pairs N            publisher/subscriber pairs (default 50)
  --fan N              subscribers of fan-out, publishers of fan-in (default 500)
  --payload BYTES      12 to 524288 (default 64)
  --window N           messages under way per publisher (default by workload)
  --rate N             open loop: so many messages a second in all
  --queued N           resume: messages waiting for each session (default 1000)
  --fsync always|everysec   of Redis (default everysec)
  --generators N       generator processes (pairs only; default 1)
  --json FILE          every round's figures`;

interface Run {
  settings: Settings;
  seconds: number;
  warmUpSeconds: number;
  generators: number;
  fsync: 'always' | 'everysec';
  place: Placement;
}

const sleep = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function playRound(
  peer: Peer,
  workload: Workload,
  run: Run,
): Promise<{ figures: RoundFigures; setting: string }> {
  const scope = new Scope();
  try {
    const { nodes, isDurable, isResume } = workload;
    const server = await peer.start(scope, {
      nodes,
      isDurable,
      fsync: run.fsync,
      launcher: run.place.servers,
    });
    const jobs = jobsOf(workload, run.settings, server.ports, run.generators);
    const generators = jobs.map(() => new Generator(scope, run.place.generator));
    const all = <T>(request: (index: number) => Parameters<Generator['ask']>[0]) =>
      Promise.all(generators.map((generator, index) => generator.ask<T>(request(index))));
    await all((index) => ({ kind: 'connect', job: jobs[index]! }));
    let cpuFrom = cpuSeconds(server.pids);
    let firstMicros: number[] | undefined;
    if (isResume) {
      const figures = await all<ResumeFigures>(() => ({ kind: 'resume', messages: run.settings.queued }));
      firstMicros = figures.flatMap((figure) => figure.firstMicros);
    } else {
      await all(() => ({ kind: 'start' }));
      await sleep(run.warmUpSeconds);
      cpuFrom = cpuSeconds(server.pids);
      await all<LoadCounts>(() => ({ kind: 'mark' }));
      await sleep(run.seconds);
      await all<LoadCounts>(() => ({ kind: 'mark' }));
    }
    const use = { cpuSeconds: cpuSeconds(server.pids) - cpuFrom, residentBytes: residentBytes(server.pids) };
    const reports = await all<LoadReport>(() => ({ kind: 'finish' }));
    return { figures: roundFigures(reports, use, firstMicros), setting: server.setting };
  } finally {
    await scope.close();
  }
}

interface Contest {
  workload: string;
  peer: string;
  setting: string;
  rounds: RoundFigures[];
}

/** All contestants in turn, then the next round: what the machine does meanwhile hits all of them alike. */
async function playWorkload(name: string, peers: Peer[], rounds: number, run: Run): Promise<Contest[]> {
  const workload = WORKLOADS.get(name)!;
  const { pairs, fan, payloadBytes, window, ratePerSecond, queued } = run.settings;
  const size = workload.shape === 'pairs' ? `${pairs} pairs` : `fan of ${fan}`;
  const loop = workload.isResume
    ? `${queued} messages each`
    : ratePerSecond === undefined
      ? `closed loop, window ${window || workload.window}`
      : `open loop, ${ratePerSecond} msg/s`;
  console.log(`\n${name}: ${workload.title}; ${size}, ${payloadBytes} bytes, ${loop}`);
  const contests = peers.map(
    (peer): Contest => ({ workload: name, peer: peer.name, setting: '', rounds: [] }),
  );
  for (let round = 0; round < rounds; round++) {
    for (const [index, peer] of peers.entries()) {
      const { figures, setting } = await playRound(peer, workload, run);
      const contest = contests[index]!;
      contest.setting = setting;
      contest.rounds.push(figures);
    }
  }
  for (const { peer, setting, rounds: played } of contests)
    console.log(describeRounds(peer, setting, played).join('\n'));
  const [first, ...others] = contests;
  for (const other of others)
    console.log(describeRatio(first!.peer, first!.rounds, other.peer, other.rounds));
  return contests;
}

function readOptions() {
  const text = { type: 'string' } as const;
  const names =
    'workload peers rounds seconds warm-up pairs fan payload window rate queued fsync generators json'.split(
      ' ',
    );
  const options = Object.fromEntries(names.map((name) => [name, text]));
  const { values } = parseArgs({ options: { ...options, help: { type: 'boolean' } } });
  return values as Record<string, string | undefined> & { help?: boolean };
}

function choose<T>(kind: string, list: string, known: Map<string, T>): string[] {
  const names = list.split(',');
  for (const name of names)
    if (!known.has(name)) throw new Error(`no ${kind} ${name}; known: ${[...known.keys()].join(', ')}`);
  return names;
}

async function main(): Promise<void> {
  const given = readOptions();
  if (given.help) {
    console.log(USAGE);
    return;
  }
  const number = (name: string, fallback: number) => {
    const value = Number(given[name] ?? fallback);
    if (!(value >= 0)) throw new Error(`--${name} must be a number`);
    return value;
  };
  const run: Run = {
    settings: {
      pairs: number('pairs', 50),
      fan: number('fan', 500),
      payloadBytes: Math.min(524_288, Math.max(12, number('payload', 64))),
      window: number('window', 0),
      ratePerSecond: given.rate === undefined ? undefined : number('rate', 0),
      queued: number('queued', 1000),
    },
    seconds: number('seconds', 5),
    warmUpSeconds: number('warm-up', 1),
    generators: number('generators', 1),
    fsync: given.fsync === 'always' ? 'always' : 'everysec',
    place: placement(),
  };
  const workloads = choose('workload', given.workload ?? 'pairs-qos0', WORKLOADS);
  const peers = choose('peer', given.peers ?? 'swarmq,mosquitto', PEERS).map((name) => PEERS.get(name)!);
  console.log(
    `${run.place.text}; ${run.place.model}; node ${process.version}; ${run.generators} generator(s)`,
  );
  const contests: Contest[] = [];
  for (const name of workloads) contests.push(...(await playWorkload(name, peers, number('rounds', 3), run)));
  if (given.json)
    writeFileSync(
      given.json,
      JSON.stringify({ machine: run.place.text, settings: run.settings, contests }, null, 2),
    );
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
