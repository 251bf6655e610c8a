// `npm run torture`: rounds of random clients and random faults on real processes until the time is over. A line per
// event, at the end the verdict, the figures and the seed; the exit code is 0 only when nothing was broken. Several can
// run side by side: ports and folders are each one's own.

import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { FAULTS } from './faults/all.ts';
import { type Figures, noFigures, type RoundResult, runRound } from './round.ts';
import { STOCK_PROGRAM } from './stock/stock.ts';
import { commandFor, readWishes, USAGE, type Wishes } from './torture-options.ts';

function listFaults(): void {
  const width = Math.max(...FAULTS.map(({ name }) => name.length));
  for (const { name, about, topologies, isDefault } of FAULTS) {
    const note = isDefault === false ? '; only when asked for' : '';
    process.stdout.write(`${name.padEnd(width)}  ${about} (${topologies.join(', ')}${note})\n`);
  }
}

function addFigures(total: Figures, one: Figures): void {
  for (const name of [
    'acked',
    'delivered',
    'nodeKills',
    'redisFaults',
    'diskFaults',
    'lostByRedis',
  ] as const) {
    total[name] += one[name];
  }
  for (const [name, times] of Object.entries(one.faults)) count(total.faults, name, times);
}

function count(counts: Record<string, number>, name: string, by: number): void {
  counts[name] = (counts[name] ?? 0) + by;
}

type Say = (line: string) => void;

interface Summary extends Figures {
  verdict: 'passed' | 'FAILED';
  program: 'swarmq' | 'stock';
  topology: string;
  durability: string;
  /** Names of the faults that were chosen from, as asked for; null for the default. */
  chosen: string | null;
  seed: number;
  rounds: number;
  minutes: number;
  failedSeeds: number[];
  /** Breaches by rule, and what did not come back as `trouble`. */
  breaches: Record<string, number>;
}

/** Runs rounds until the time is over or one has failed. */
async function torture(wishes: Wishes, say: Say): Promise<Summary> {
  const { minutes, rounds, seed, kind, durability, isStock } = wishes;
  const began = performance.now();
  const summary: Summary = {
    verdict: 'passed',
    program: isStock ? 'stock' : 'swarmq',
    topology: kind,
    durability,
    chosen: wishes.faultNames ?? null,
    seed,
    rounds: 0,
    minutes: 0,
    failedSeeds: [],
    breaches: {},
    ...noFigures(),
  };
  const isOver = () =>
    rounds === undefined ? performance.now() - began >= minutes * 60_000 : summary.rounds >= rounds;
  while (!isOver() && (summary.verdict === 'passed' || wishes.keepsGoing)) {
    const roundSeed = seed + summary.rounds;
    say(`round ${summary.rounds + 1}, seed ${roundSeed}: ${kind}, ${durability}`);
    const result = await runRound(
      {
        ...wishes,
        seed: roundSeed,
        profile: { ratePerSecond: wishes.messagesPerSecond },
        failureFolder: join(wishes.folder, `seed-${roundSeed}`),
        ...(isStock ? { program: STOCK_PROGRAM, hasAdmin: false, settleMs: 20_000 } : {}),
      },
      say,
    );
    summary.rounds++;
    addFigures(summary, result.figures);
    for (const { rule } of result.breaches) count(summary.breaches, rule, 1);
    if (result.troubles.length > 0) count(summary.breaches, 'trouble', result.troubles.length);
    const { acked, delivered } = result.figures;
    say(`round ${summary.rounds}: ${acked} acknowledged, ${delivered} delivered, ${describe(result)}`);
    if (result.breaches.length + result.troubles.length === 0) continue;
    summary.verdict = 'FAILED';
    summary.failedSeeds.push(roundSeed);
    say(`again: ${commandFor(wishes, roundSeed)}`);
  }
  summary.minutes = Number(((performance.now() - began) / 60_000).toFixed(1));
  return summary;
}

function describe({ breaches, troubles }: RoundResult): string {
  if (breaches.length + troubles.length === 0) return 'all kept';
  return `${breaches.length} breaches, ${troubles.length} troubles`;
}

async function main(): Promise<void> {
  let wishes: ReturnType<typeof readWishes>;
  try {
    wishes = readWishes(process.argv.slice(2));
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${USAGE}`);
    process.exitCode = 2;
    return;
  }
  if (wishes === 'help') process.stdout.write(USAGE);
  if (wishes === 'list') listFaults();
  if (wishes === 'help' || wishes === 'list') return;
  const began = performance.now();
  const say = (line: string) =>
    void process.stdout.write(`${((performance.now() - began) / 1000).toFixed(1).padStart(7)} s  ${line}\n`);
  const summary = await torture(wishes, say);
  process.stdout.write(`${JSON.stringify(summary, null, 1)}\n`);
  const { verdict, seed, rounds, acked, nodeKills, redisFaults } = summary;
  say(
    `${verdict}: seed ${seed}, ${rounds} rounds, ${acked} acknowledged, ${nodeKills} node kills, ${redisFaults} Redis faults`,
  );
  if (wishes.summary) appendFileSync(wishes.summary, `${JSON.stringify(summary)}\n`);
  process.exitCode = verdict === 'passed' ? 0 : 1;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
