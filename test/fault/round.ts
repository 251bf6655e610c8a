// One round of the torture: a new topology, a crowd of random clients on it, faults at random times, then quiet, and the
// judgement of the history. All that is drawn comes from the seed of the round; real processes are not repeated to the
// microsecond, but the same clients meet the same faults at about the same times.

import { type Random, seededRandom } from '../../src/util/random.ts';
import { Scope } from '../helpers/owner.ts';
import { check } from './checker.ts';
import { Crowd } from './crowd.ts';
import type { CrowdProfile } from './crowd-people.ts';
import { drawFault, faultsFor } from './faults/all.ts';
import { type Fault, pause } from './faults/fault.ts';
import { History } from './history.ts';
import type { Breach } from './promises.ts';
import { type Member, startTopology, type Topology, type TopologyOptions } from './topology.ts';

export interface RoundOptions extends TopologyOptions {
  seed: number;
  trafficMs: number;
  /** Which faults are drawn from; default all that are for everyday use. Empty: none at all. */
  faults?: readonly Fault[];
  /** Faults a minute of traffic; default 12. */
  faultsPerMinute?: number;
  /** How long everything may take to be as it was, and every client to be served; default two minutes. */
  settleMs?: number;
  /** What is missing is taken for lost after this time at rest, and at once when something else is broken; default `settleMs`. */
  missingMs?: number;
  /** The time of traffic and faults begins when everybody has come once, instead of with the first. */
  startsWhole?: boolean;
  /** Who is in the crowd, where that differs from the usual. */
  profile?: Partial<CrowdProfile>;
  /** Folder for history and logs when the round fails. */
  failureFolder: string;
}

export interface Figures {
  acked: number;
  delivered: number;
  nodeKills: number;
  redisFaults: number;
  diskFaults: number;
  /** How often each fault was done. */
  faults: Record<string, number>;
  /** Acknowledged and lost because Redis itself lost it, which the level of durability allows. */
  lostByRedis: number;
}

export interface RoundResult {
  figures: Figures;
  breaches: Breach[];
  /** What else went wrong: something that should have come back did not. */
  troubles: string[];
}

const SETTLE_MS = 120_000;

export function noFigures(): Figures {
  return { acked: 0, delivered: 0, nodeKills: 0, redisFaults: 0, diskFaults: 0, faults: {}, lostByRedis: 0 };
}

/** The parts of a topology that faults have for themselves while they last. */
class Claims {
  readonly #taken = new Set<string>();

  /** Takes all of `names` or none. */
  take(names: readonly string[]): boolean {
    if (names.some((name) => this.#taken.has(name))) return false;
    for (const name of names) this.#taken.add(name);
    return true;
  }

  release(names: readonly string[]): void {
    for (const name of names) this.#taken.delete(name);
  }
}

/** Runs one round. `say` gets a line per event. Throws when the topology cannot be started. */
export async function runRound(options: RoundOptions, say: (line: string) => void): Promise<RoundResult> {
  const scope = new Scope();
  try {
    const topology = await startTopology(scope, options);
    return await new Round(options, topology, say).run(scope);
  } finally {
    await scope.close();
  }
}

/** Messages that were acknowledged and are gone with what Redis itself was allowed to lose. */
function countLostByRedis(history: History): number {
  const events = [...history];
  if (!events.some((event) => event.kind === 'fault' && event.lossFrom !== null)) return 0;
  // The same history, as if nothing could be lost.
  const strict = new History();
  for (const event of events) strict.add(event.kind === 'fault' ? { ...event, lossFrom: null } : event);
  const lost = check(strict).filter(({ rule }) => rule === 'delivered' || rule === 'sharedDelivered');
  return new Set(lost.map(({ what }) => /ever got (\d+)/.exec(what)?.[1])).size;
}

class Round {
  readonly #options: RoundOptions;
  readonly #topology: Topology;
  readonly #random: Random;
  readonly #say: (line: string) => void;
  readonly #history = new History();
  readonly #claims = new Claims();
  readonly #figures = noFigures();
  readonly #troubles: string[] = [];

  constructor(options: RoundOptions, topology: Topology, say: (line: string) => void) {
    this.#options = options;
    this.#topology = topology;
    this.#random = seededRandom(options.seed);
    this.#say = say;
  }

  async run(scope: Scope): Promise<RoundResult> {
    const crowd = new Crowd(scope, {
      random: seededRandom(this.#random.below(2 ** 31)),
      ports: () => this.#topology.ports,
      history: this.#history,
      profile: this.#options.profile,
    });
    crowd.start();
    if (this.#options.startsWhole) await this.#attempt('all have come', () => crowd.gathered());
    await Promise.all([pause(this.#options.trafficMs), ...this.#schedule()]);
    this.#say('the faults are over');
    const { settleMs = SETTLE_MS, missingMs } = this.#options;
    await this.#attempt('all is as it was', () => this.#topology.whole(settleMs));
    await this.#attempt('the clients come to rest', () => crowd.finish(settleMs, missingMs));
    this.#countMessages();
    const breaches = this.#judge();
    if (breaches.length + this.#troubles.length > 0) this.#keep();
    return { figures: this.#figures, breaches, troubles: this.#troubles };
  }

  /** Draws all faults of the round and starts each at its time. */
  #schedule(): Promise<void>[] {
    const { trafficMs, faults, faultsPerMinute = 12 } = this.#options;
    const list = faultsFor(this.#topology, faults);
    if (list.length === 0) return [];
    const count = Math.max(1, Math.round((trafficMs / 60_000) * faultsPerMinute));
    return Array.from({ length: count }, async () => {
      const fault = drawFault(list, this.#random);
      // The first clients are connected before the first fault, and traffic goes on a little behind the last.
      const atMs = 1000 + this.#random.below(Math.max(1, trafficMs - 4000));
      const random = seededRandom(this.#random.below(2 ** 31));
      await pause(atMs);
      await this.#do(fault, random, trafficMs - atMs);
    });
  }

  /** Does a fault as soon as what it needs is free; not at all when that is not within `withinMs`. */
  async #do(fault: Fault, random: Random, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    const first = random.below(this.#topology.members.length);
    for (;;) {
      for (let at = 0; at < this.#topology.members.length; at++) {
        const index = (first + at) % this.#topology.members.length;
        const names = this.#needs(fault, index);
        if (!this.#claims.take(names)) continue;
        try {
          await this.#perform(fault, this.#topology.members[index]!, random);
        } finally {
          this.#claims.release(names);
        }
        return;
      }
      if (performance.now() > deadline) return;
      await pause(50);
    }
  }

  #needs(fault: Fault, index: number): string[] {
    // In front of servers there is one set of links for all: one thing at a time happens to Redis there.
    const isShared = this.#topology.kind !== 'standalone';
    switch (fault.needs) {
      case 'nodes':
        return this.#topology.members.map((_, at) => `node ${at}`);
      case 'redis':
        return ['redis'];
      case 'redis-link':
        return [isShared ? 'redis' : `redis-link ${index}`];
      default:
        return [`${fault.needs} ${index}`];
    }
  }

  async #perform(fault: Fault, member: Member, random: Random): Promise<void> {
    const { name, scope } = fault;
    const isOfMember = fault.needs !== 'redis' && fault.needs !== 'nodes';
    const what = isOfMember ? `${name} ${member.name}` : name;
    const lossMs = fault.lossMs?.(this.#topology) ?? null;
    const lossFrom = lossMs === null ? null : Math.max(0, performance.now() - lossMs);
    const port = isOfMember ? member.clients.port : null;
    const begin = { kind: 'fault', at: performance.now(), what, scope, port, lossFrom } as const;
    this.#history.add({ ...begin, phase: 'begin' });
    this.#figures.faults[name] = (this.#figures.faults[name] ?? 0) + 1;
    this.#say(what);
    await this.#attempt(what, () =>
      fault.run({
        topology: this.#topology,
        random,
        member,
        say: (text) => this.#say(`  ${what}: ${text}`),
        count: (kind, by = 1) => {
          this.#figures[kind] += by;
        },
      }),
    );
    this.#history.add({ ...begin, at: performance.now(), phase: 'end' });
  }

  async #attempt(what: string, run: () => Promise<unknown>): Promise<void> {
    try {
      await run();
    } catch (error) {
      const text = `${what}: ${error instanceof Error ? error.message : String(error)}`;
      this.#troubles.push(text);
      this.#say(`TROUBLE ${text}`);
    }
  }

  #countMessages(): void {
    for (const event of this.#history) {
      if (event.kind === 'acked' && event.reason < 0x80) this.#figures.acked++;
      else if (event.kind === 'deliver') this.#figures.delivered++;
    }
  }

  #judge(): Breach[] {
    const breaches = check(this.#history);
    for (const { rule, what } of breaches.slice(0, 20)) this.#say(`BREACH ${rule}: ${what}`);
    this.#figures.lostByRedis = countLostByRedis(this.#history);
    return breaches;
  }

  #keep(): void {
    const { failureFolder } = this.#options;
    this.#topology.writeLogs(failureFolder);
    this.#history.write(`${failureFolder}/history.jsonl`);
    this.#say(`history and logs are in ${failureFolder}`);
  }
}
