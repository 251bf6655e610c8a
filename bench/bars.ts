// The bars of the project: which contestants play what against each other, and what must come of it. `--bars` plays them one
// after the other; a report judges what was written down by the same rows.

import { FIGURES, type FigureName, isSound, ratios, spread } from './figures.ts';
import type { Contest } from './play.ts';
import { median } from './tally.ts';
import type { Settings } from './workloads.ts';

/** A contestant by name; several of one peer have labels. */
interface Entry {
  peer: string;
  /** The peer, unless given. */
  label?: string;
  /** That of the bar, unless given. */
  workload?: string;
  change?: Partial<Settings>;
}

/** The median of a figure of the first contestant, or of its ratio to another one in the same rounds. */
export interface Demand {
  figure: FigureName;
  /** Label of the other; absent: the figure itself is judged. */
  against?: string;
  atLeast?: number;
  atMost?: number;
  /** Also no single round may be below. */
  never?: number;
}

export interface Bar {
  workload: string;
  entries: Entry[];
  /** Cores without which nothing can be said. */
  cores?: number;
  demands: Demand[];
}

const SWARMQ: Entry = { peer: 'swarmq' };
const WITH_MOSQUITTO: Entry[] = [SWARMQ, { peer: 'mosquitto' }];
const WITH_ALL: Entry[] = [...WITH_MOSQUITTO, { peer: 'stock' }, { peer: 'rabbitmq' }, { peer: 'nats' }];

const rate = (atLeast: number, against = 'mosquitto'): Demand => ({ figure: 'delivered', against, atLeast });
const cpu = (atMost: number): Demand => ({ figure: 'cpu', against: 'mosquitto', atMost });

/** By name, in the order in which they are played. */
export const BARS = new Map<string, Bar>([
  ['qos0', { workload: 'pairs-qos0', entries: WITH_ALL, demands: [rate(10)] }],
  ['qos1', { workload: 'pairs-qos1', entries: WITH_ALL, demands: [{ ...rate(6), never: 4 }] }],
  [
    'persistent',
    {
      workload: 'pairs-persistent',
      entries: WITH_ALL,
      demands: [rate(3), cpu(0.6), rate(15, 'stock'), rate(1, 'rabbitmq'), rate(1, 'nats')],
    },
  ],
  ['persistent-2000', { workload: 'persistent-2000', entries: WITH_MOSQUITTO, demands: [rate(1.5)] }],
  ['persistent-2000-slow', { workload: 'persistent-2000-slow', entries: WITH_MOSQUITTO, demands: [cpu(6)] }],
  [
    'fsync-always',
    {
      workload: 'pairs-persistent',
      entries: [
        { peer: 'swarmq', label: 'swarmq, always', change: { fsync: 'always' } },
        { peer: 'swarmq', label: 'swarmq, everysec' },
      ],
      demands: [rate(0.6, 'swarmq, everysec')],
    },
  ],
  [
    'persistent-qos2',
    {
      workload: 'persistent-qos2',
      entries: [
        { peer: 'swarmq', label: 'swarmq, QoS 2' },
        { peer: 'swarmq', label: 'swarmq, QoS 1', workload: 'pairs-persistent' },
        { peer: 'mosquitto', label: 'mosquitto, QoS 2' },
      ],
      demands: [rate(0.4, 'swarmq, QoS 1')],
    },
  ],
  ['fan-out', { workload: 'fan-out', entries: WITH_ALL, demands: [rate(6)] }],
  ['fan-in', { workload: 'fan-in', entries: WITH_ALL, demands: [rate(6)] }],
  [
    'latency-qos1',
    {
      workload: 'latency-qos1',
      entries: WITH_MOSQUITTO,
      demands: [
        { figure: 'p50', against: 'mosquitto', atMost: 2 },
        { figure: 'p99', against: 'mosquitto', atMost: 2 },
      ],
    },
  ],
  [
    'latency-persistent',
    {
      workload: 'latency-persistent',
      entries: WITH_ALL,
      demands: [
        { figure: 'p50', atMost: 2 },
        { figure: 'p99', atMost: 10 },
      ],
    },
  ],
  ['idle', { workload: 'idle', entries: WITH_MOSQUITTO, demands: [{ figure: 'memory', atMost: 14 }] }],
  [
    'connect-storm',
    {
      workload: 'connect-storm',
      entries: WITH_MOSQUITTO,
      demands: [{ figure: 'connectsPerCpu', atLeast: 3000 }],
    },
  ],
  [
    'workers',
    {
      workload: 'workers',
      entries: [
        { peer: 'swarmq', label: 'swarmq, 4 workers', change: { workers: 4 } },
        { peer: 'swarmq', label: 'swarmq, 2 workers', change: { workers: 2 } },
        { peer: 'swarmq', label: 'swarmq, 1 worker' },
      ],
      demands: [rate(3, 'swarmq, 1 worker')],
      // Four for the workers, one for the generator; at QoS 0 Redis has next to nothing to do.
      cores: 5,
    },
  ],
  [
    'filters',
    {
      workload: 'filters-100k',
      entries: [
        { peer: 'swarmq', label: 'swarmq, 100,000 filters' },
        { peer: 'swarmq', label: 'swarmq, 50 filters', workload: 'filters-50' },
        { peer: 'mosquitto', label: 'mosquitto, 100,000 filters' },
      ],
      demands: [rate(0.8, 'swarmq, 50 filters')],
    },
  ],
  ['topics', { workload: 'topics-1m', entries: WITH_MOSQUITTO, demands: [rate(2)] }],
  ['one-in-flight', { workload: 'one-in-flight', entries: WITH_MOSQUITTO, demands: [rate(0.8), cpu(2)] }],
  [
    'one-in-flight-qos0',
    {
      workload: 'one-in-flight',
      entries: WITH_MOSQUITTO.map((entry) => ({ ...entry, change: { qos: 0 } })),
      demands: [rate(0.8), cpu(2)],
    },
  ],
  ['slow-clients', { workload: 'slow-clients', entries: WITH_MOSQUITTO, demands: [rate(0.8), cpu(2)] }],
]);

export const labelOf = ({ peer, label }: Entry) => label ?? peer;

export interface Verdict {
  /** "delivered at least 10 x mosquitto". */
  demand: string;
  /** Median and range; "-" where nothing can be said. */
  measured: string;
  /** Undefined: not measured, or no round that counts. */
  isMet: boolean | undefined;
}

/** What `contests`, played as `bar` says, amount to. */
export function judge(bar: Bar, contests: Contest[]): Verdict[] {
  const ours = contests.find(({ label }) => label === labelOf(bar.entries[0]!));
  return bar.demands.map((demand) => {
    const values = ours ? valuesOf(demand, ours, contests) : [];
    return { demand: describeDemand(demand), measured: spread(values, 2), isMet: isMet(demand, values) };
  });
}

function valuesOf({ figure, against }: Demand, ours: Contest, contests: Contest[]): number[] {
  if (against === undefined) return ours.rounds.filter(isSound).map(FIGURES[figure].pick);
  const other = contests.find(({ label }) => label === against);
  return other ? ratios(ours.rounds, other.rounds, figure) : [];
}

function isMet({ atLeast, atMost, never }: Demand, values: number[]): boolean | undefined {
  if (values.length === 0) return undefined;
  const middle = median(values);
  return (
    (atLeast === undefined || middle >= atLeast) &&
    (atMost === undefined || middle <= atMost) &&
    (never === undefined || Math.min(...values) >= never)
  );
}

function describeDemand({ figure, against, atLeast, atMost, never }: Demand): string {
  const { title, unit } = FIGURES[figure];
  const [word, bound] = atLeast === undefined ? ['at most', atMost] : ['at least', atLeast];
  const what = against === undefined ? unit : `x ${against}`;
  const always = never === undefined ? '' : `, in no round below ${never} x`;
  return `${title} ${word} ${bound} ${what}${always}`;
}
