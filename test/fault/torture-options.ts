// The command line of `npm run torture`: what can be asked for, and the command that repeats one round.

import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DEFAULT_PROFILE } from './crowd-people.ts';
import { faultsNamed } from './faults/all.ts';
import type { Fault } from './faults/fault.ts';
import { DURABILITIES, type Durability, TOPOLOGY_KINDS, type TopologyKind } from './topology.ts';

export const USAGE = `npm run torture -- [--minutes N] [--seed S] [--faults a,b] [--topology T] [--durability D]

  --minutes N       how long; default 5. A round that has begun is finished.
  --rounds N        so many rounds instead
  --traffic N       seconds of traffic in a round; default 60
  --seed S          of the first round, the next has S+1; default drawn
  --faults a,b      only these; "node-*" is all that begin so, "none" is none. --list shows them
  --rate N          faults a minute; default 12
  --load N          messages a second that are offered; default ${DEFAULT_PROFILE.ratePerSecond}
  --topology T      ${TOPOLOGY_KINDS.join(', ')}; default standalone
  --durability D    ${DURABILITIES.join(', ')}; default everysec, replicas for sentinel and cluster
  --stock           aedes with aedes-persistence-redis and mqemitter-redis in place of swarmq
  --keep-going      go on behind a round that failed
  --folder F        where failures are kept; default a new temporary folder
  --summary F       append the result as a line of JSON
  --list            the faults, each with a line
  --help            this
`;

/** What a command line asks for. */
export interface Wishes {
  minutes: number;
  rounds: number | undefined;
  trafficMs: number;
  seed: number;
  faults: readonly Fault[] | undefined;
  faultNames: string | undefined;
  faultsPerMinute: number;
  messagesPerSecond: number;
  kind: TopologyKind;
  durability: Durability;
  isStock: boolean;
  keepsGoing: boolean;
  folder: string;
  summary: string | undefined;
}

/** Throws when `word` is not one of `list`. */
function oneOf<T extends string>(list: readonly T[], word: string): T {
  const found = list.find((candidate) => candidate === word);
  if (found === undefined) throw new Error(`${word} is none of ${list.join(', ')}`);
  return found;
}

function numberOf(word: string, name: string): number {
  const value = Number(word);
  if (!(value >= 0)) throw new Error(`--${name} wants a number, not ${word}`);
  return value;
}

/** Answers a word when only that is asked for. Throws on what is no option or has no such value. */
export function readWishes(args: string[]): Wishes | 'list' | 'help' {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({
    args,
    options: {
      minutes: { ...text, default: '5' },
      rounds: text,
      traffic: { ...text, default: '60' },
      seed: text,
      faults: text,
      rate: { ...text, default: '12' },
      load: { ...text, default: String(DEFAULT_PROFILE.ratePerSecond) },
      topology: { ...text, default: 'standalone' },
      durability: text,
      stock: { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
      folder: text,
      summary: text,
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return 'help';
  if (values.list) return 'list';
  const kind = oneOf(TOPOLOGY_KINDS, values.topology);
  // The embedded store writes through to the disk in any case.
  const usual = { standalone: 'everysec', sentinel: 'replicas', cluster: 'replicas', embedded: 'always' }[
    kind
  ];
  const names = values.faults;
  return {
    minutes: numberOf(values.minutes, 'minutes'),
    rounds: values.rounds === undefined ? undefined : numberOf(values.rounds, 'rounds'),
    trafficMs: numberOf(values.traffic, 'traffic') * 1000,
    seed: values.seed === undefined ? Math.floor(Math.random() * 1e9) : numberOf(values.seed, 'seed'),
    faults: names === undefined ? undefined : names === 'none' ? [] : faultsNamed(names.split(',')),
    faultNames: names,
    faultsPerMinute: numberOf(values.rate, 'rate'),
    messagesPerSecond: numberOf(values.load, 'load'),
    kind,
    durability: oneOf(DURABILITIES, values.durability ?? usual),
    isStock: values.stock,
    keepsGoing: values['keep-going'],
    folder: values.folder ?? join(tmpdir(), `swarmq-torture-${process.pid}`),
    summary: values.summary,
  };
}

/** The command that runs the round with `seed` again. */
export function commandFor(wishes: Wishes, seed: number): string {
  const { kind, durability, trafficMs, faultNames, faultsPerMinute, messagesPerSecond, isStock } = wishes;
  const words = ['npm run torture --', '--rounds 1', `--seed ${seed}`, `--topology ${kind}`];
  words.push(`--durability ${durability}`, `--traffic ${trafficMs / 1000}`, `--rate ${faultsPerMinute}`);
  words.push(`--load ${messagesPerSecond}`);
  if (faultNames !== undefined) words.push(`--faults '${faultNames}'`);
  if (isStock) words.push('--stock');
  return words.join(' ');
}
