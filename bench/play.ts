// Rounds: a contestant with fresh processes and fresh data, a load, and what both told. And contests: all contestants in
// turn, then the next round, so that what the machine does meanwhile hits all of them alike.

import { Scope } from '../test/helpers/owner.ts';
import { crowdFigures, failedRound, type RoundFigures, roundFigures, type ServerUse } from './figures.ts';
import { makeCertificate, type Peer, type RunningPeer } from './peers/peer.ts';
import { cpuSeconds, Generator, memoryBytes, type Placement, threadSeconds } from './processes.ts';
import { chosen, crowdJobOf, jobsOf, type Settings, type Step, sizeOf, type Workload } from './workloads.ts';

export interface Run {
  rounds: number;
  seconds: number;
  warmUpSeconds: number;
  generators: number;
  place: Placement;
}

/** Who plays what. */
export interface Side {
  label: string;
  peer: Peer;
  workload: string;
  change: Partial<Settings>;
}

/** A side and what became of it. Goes to a file as it is. */
export interface Contest {
  label: string;
  peer: string;
  workload: string;
  title: string;
  size: string;
  version: string;
  setting: string;
  /** What an acknowledgement of this contestant says. */
  ack: string;
  rounds: RoundFigures[];
}

const sleep = (seconds: number) => new Promise<void>((resolve) => setTimeout(resolve, seconds * 1000));

/** Time for garbage of a start, or of many connections, to be collected. */
const SETTLE_SECONDS = 2;
/** Longest that servers are waited for which have work left, and what of a second's CPU is next to no work. */
const QUIET_SECONDS = 60;
const QUIET_CPU_SECONDS = 0.1;

async function playRound(peer: Peer, workload: Workload, run: Run) {
  const scope = new Scope();
  try {
    const { nodes, workers, isDurable, fsync, isTls } = workload;
    const server = await peer.start(scope, {
      nodes,
      workers,
      isDurable,
      fsync,
      certificate: isTls ? makeCertificate(scope) : undefined,
      launcher: run.place.servers,
    });
    const play = workload.shape === 'crowd' ? playCrowd : playLoad;
    return { figures: await play(scope, server, workload, run), server };
  } finally {
    await scope.close();
  }
}

/** CPU time of servers and generators since it was made. */
class Meter {
  readonly #servers: number[];
  readonly #generators: number[];
  #serversFrom: number;
  #threadsFrom: Map<string, number>;
  #generatorsFrom: number[];
  #from: number;

  constructor(servers: number[], generators: Generator[]) {
    this.#servers = servers;
    this.#generators = generators.map(({ pid }) => pid);
    this.#serversFrom = cpuSeconds(servers);
    this.#threadsFrom = threadSeconds(servers);
    this.#generatorsFrom = this.#generators.map((pid) => cpuSeconds([pid]));
    this.#from = performance.now();
  }

  read(): ServerUse {
    const seconds = (performance.now() - this.#from) / 1000;
    const busy = this.#generators.map((pid, index) => cpuSeconds([pid]) - this.#generatorsFrom[index]!);
    const threads = [...threadSeconds(this.#servers)];
    return {
      cpuSeconds: cpuSeconds(this.#servers) - this.#serversFrom,
      busiestSeconds: Math.max(...threads.map(([name, used]) => used - (this.#threadsFrom.get(name) ?? 0))),
      memoryBytes: memoryBytes(this.#servers),
      generatorBusy: Math.max(...busy) / seconds,
    };
  }
}

/** Resolves when the servers have done what they were given: a second with next to no work. */
async function quiet(pids: number[]): Promise<void> {
  for (let seconds = 0; seconds < QUIET_SECONDS; seconds++) {
    const before = cpuSeconds(pids);
    await sleep(1);
    if (cpuSeconds(pids) - before < QUIET_CPU_SECONDS) return;
  }
}

async function playLoad(
  scope: Scope,
  server: RunningPeer,
  workload: Workload,
  run: Run,
): Promise<RoundFigures> {
  const jobs = jobsOf(workload, server.ports, run.generators);
  const generators = jobs.map(() => new Generator(scope, run.place.generator));
  await Promise.all(
    generators.map((generator, index) => generator.ask({ kind: 'connect', job: jobs[index]! })),
  );
  let meter: Meter | undefined;
  let use: ServerUse | undefined;
  let firstMicros: number[] | undefined;
  const steps: Record<Step, () => Promise<unknown>> = {
    'warm-up': () => sleep(run.warmUpSeconds),
    run: () => sleep(run.seconds),
    start: () => Promise.all(generators.map((generator) => generator.ask({ kind: 'start' }))),
    store: () =>
      Promise.all(generators.map((generator) => generator.ask({ kind: 'store', messages: workload.queued }))),
    async fetch() {
      const figures = await Promise.all(generators.map((generator) => generator.ask({ kind: 'fetch' })));
      firstMicros = figures.flat();
    },
    // What is between the first mark and the second is measured.
    async mark() {
      if (meter) use = meter.read();
      else meter = new Meter(server.pids, generators);
      await Promise.all(generators.map((generator) => generator.ask({ kind: 'mark' })));
    },
  };
  for (const step of workload.steps) await steps[step]();
  const reports = await Promise.all(generators.map((generator) => generator.ask({ kind: 'finish' })));
  return roundFigures(reports, use!, firstMicros);
}

async function playCrowd(
  scope: Scope,
  server: RunningPeer,
  workload: Workload,
  run: Run,
): Promise<RoundFigures> {
  const generator = new Generator(scope, run.place.generator);
  await sleep(SETTLE_SECONDS);
  const emptyBytes = memoryBytes(server.pids);
  await generator.ask({ kind: 'prepare', job: crowdJobOf(workload, server.ports[0]!) });
  await quiet(server.pids);
  const meter = new Meter(server.pids, [generator]);
  const report = await generator.ask({ kind: 'gather' });
  const use = meter.read();
  await sleep(SETTLE_SECONDS);
  const busyBytes = memoryBytes(server.pids);
  await sleep(workload.idleSeconds);
  use.memoryBytes = memoryBytes(server.pids);
  report.failures.push(...(await generator.ask({ kind: 'disperse' })));
  return crowdFigures(report, use, emptyBytes, busyBytes);
}

/** Plays all sides in turn. One that cannot play is left out, and `tell` is told why. */
export async function playContest(sides: Side[], run: Run, tell: (line: string) => void): Promise<Contest[]> {
  const entries = sides.flatMap((side) => {
    const workload = chosen(side.workload, side.change);
    const obstacle = side.peer.obstacle(workload);
    if (obstacle !== undefined) tell(`${side.label} is left out: ${obstacle}`);
    return obstacle === undefined ? [{ side, workload, contest: contestOf(side, workload) }] : [];
  });
  for (let round = 0; round < run.rounds; round++) {
    for (const { side, workload, contest } of entries) {
      try {
        const { figures, server } = await playRound(side.peer, workload, run);
        Object.assign(contest, { version: server.version, setting: server.setting, ack: server.ack });
        contest.rounds.push(figures);
      } catch (error) {
        contest.rounds.push(failedRound(error instanceof Error ? error.message : String(error)));
      }
    }
  }
  return entries.map(({ contest }) => contest);
}

function contestOf({ label, peer, workload: name }: Side, workload: Workload): Contest {
  const { title } = workload;
  const unknown = { version: '', setting: '', ack: '', rounds: [] };
  return { label, peer: peer.name, workload: name, title, size: sizeOf(workload), ...unknown };
}
