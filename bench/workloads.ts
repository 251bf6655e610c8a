// The workloads by name: what a load does, what it needs of a broker, and its sizes, each of which the command line may
// change. A workload that is new is one entry here.

import type { FigureName } from './figures.ts';
import type { CrowdJob, LoadJob, Terms } from './job.ts';

/** What the command line may change of a workload. */
export interface Settings {
  qos: 0 | 1 | 2;
  protocol: 4 | 5;
  isTls: boolean;
  pairs: number;
  /** Subscribers of a fan-out or a group, publishers of a fan-in. */
  fan: number;
  /** Connections without traffic. */
  clients: number;
  /** How long they stay without traffic. */
  idleSeconds: number;
  payloadBytes: number;
  window: number;
  /** Messages per second of all publishers; absent: closed loop. */
  ratePerSecond: number | undefined;
  /** Messages that each publisher stores while nobody takes them. */
  queued: number;
  /** Topics of all publishers together, if more than one each. */
  topics: number;
  /** Wildcard filters that match nothing of the load. */
  idleFilters: number;
  /** Processes of swarmq behind one port; above 1 needs a store outside the process. */
  workers: number;
  /** appendfsync of a store outside the process. */
  fsync: 'always' | 'everysec';
}

/** What happens in a round once everybody is connected; `play.ts` knows each. */
export type Step = 'start' | 'warm-up' | 'run' | 'mark' | 'store' | 'fetch';

const STREAM: Step[] = ['start', 'warm-up', 'mark', 'run', 'mark'];
const FETCHED: Step[] = ['store', 'mark', 'fetch', 'mark'];
const STORED: Step[] = ['mark', 'store', 'mark', 'fetch'];

type Shape = 'pairs' | 'wildcards' | 'fan-out' | 'fan-in' | 'group' | 'retained' | 'crowd';

export interface Workload extends Settings {
  title: string;
  shape: Shape;
  /** Empty for a crowd, which only comes and stays. */
  steps: Step[];
  /** What it is about: drawn, and compared. */
  figure: FigureName;
  nodes: number;
  /** Needs a store outside the process, or what a broker has in its place. */
  isDurable: boolean;
  isClean: boolean;
  /** Subscribers of a fan-in, each with a wildcard that takes everything. */
  backends: number;
  /** A second load at the same time. */
  beside?: Partial<Workload>;
}

const pairs: Workload = {
  title: 'pairs, clean sessions, one node',
  shape: 'pairs',
  steps: STREAM,
  figure: 'delivered',
  nodes: 1,
  isDurable: false,
  isClean: true,
  backends: 1,
  qos: 0,
  protocol: 4,
  isTls: false,
  pairs: 50,
  fan: 500,
  clients: 10_000,
  idleSeconds: 0,
  payloadBytes: 64,
  window: 256,
  ratePerSecond: undefined,
  queued: 1000,
  topics: 0,
  idleFilters: 0,
  workers: 1,
  fsync: 'everysec',
};
const pairsQos1: Workload = { ...pairs, qos: 1, window: 32 };
/** Brokers get two nodes on one store, or what they have in its place. */
const onTwoNodes = { nodes: 2, isDurable: true, isClean: false };
const persistent: Workload = {
  ...pairsQos1,
  ...onTwoNodes,
  title: 'pairs, persistent sessions, publishers on node 1, subscribers on node 2',
};
const wildcards: Workload = {
  ...pairs,
  title: 'pairs, every subscriber with a wildcard of its own',
  shape: 'wildcards',
};

export const WORKLOADS = new Map<string, Workload>([
  ['pairs-qos0', pairs],
  ['pairs-qos1', pairsQos1],
  ['pairs-qos2', { ...pairs, qos: 2, window: 16 }],
  ['pairs-persistent', persistent],
  [
    'persistent-2000',
    {
      ...persistent,
      title: 'pairs, persistent, two nodes, so many that a session has one message per batch',
      pairs: 2000,
      window: 4,
    },
  ],
  [
    'persistent-2000-slow',
    {
      ...persistent,
      title: 'pairs, persistent, two nodes, one message per second each',
      figure: 'cpu',
      pairs: 2000,
      ratePerSecond: 2000,
    },
  ],
  ['persistent-qos2', { ...persistent, title: 'pairs, persistent sessions, two nodes', qos: 2, window: 16 }],
  [
    'latency-qos1',
    {
      ...pairsQos1,
      title: 'latency, clean sessions, one node, at little traffic',
      figure: 'p99',
      ratePerSecond: 2000,
    },
  ],
  [
    'latency-persistent',
    {
      ...persistent,
      title: 'latency, persistent sessions, two nodes, at little traffic',
      figure: 'p99',
      ratePerSecond: 2000,
    },
  ],
  [
    'fan-out',
    { ...pairs, title: 'one publisher to many subscribers', shape: 'fan-out', window: 32, pairs: 1 },
  ],
  ['fan-in', { ...pairs, title: 'many publishers to one subscriber', shape: 'fan-in', window: 32 }],
  ['filters-50', wildcards],
  [
    'filters-100k',
    { ...wildcards, title: `${wildcards.title}, beside 100,000 of others`, idleFilters: 100_000 },
  ],
  [
    'workers',
    {
      ...pairs,
      title: 'pairs, clean sessions, everybody to one port, processes behind it as told',
      isDurable: true,
    },
  ],
  [
    'topics-1m',
    {
      ...wildcards,
      title: 'pairs, every message to another topic of 1,000,000',
      topics: 1_000_000,
    },
  ],
  [
    'shared-group',
    {
      ...pairsQos1,
      title: 'many publishers to one shared subscription with many members',
      shape: 'group',
      fan: 10,
    },
  ],
  ['one-in-flight', { ...pairsQos1, title: 'pairs, one message under way per pair', window: 1 }],
  [
    'slow-clients',
    {
      ...pairsQos1,
      title: 'pairs, clean sessions, many clients with one message per second each',
      figure: 'cpu',
      pairs: 5000,
      ratePerSecond: 5000,
    },
  ],
  [
    'iot',
    {
      ...persistent,
      title: 'slow devices to backends with wildcards, two nodes, and commands to some of the devices',
      figure: 'cpu',
      shape: 'fan-in',
      fan: 2000,
      backends: 4,
      ratePerSecond: 2000,
      beside: { shape: 'pairs', pairs: 200, ratePerSecond: 200 },
    },
  ],
  [
    'resume',
    {
      ...persistent,
      title: 'messages stored for absent sessions, which then come back on the other node',
      steps: FETCHED,
      window: 100,
    },
  ],
  [
    'offline',
    {
      ...persistent,
      title: 'messages being stored for absent sessions',
      steps: STORED,
      figure: 'acked',
      window: 100,
      queued: 10_000,
    },
  ],
  [
    'retained',
    {
      ...pairsQos1,
      title: 'many subscribers come and ask for all retained messages at once',
      shape: 'retained',
      steps: FETCHED,
      pairs: 10,
      fan: 50,
    },
  ],
  [
    'connect-storm',
    {
      ...pairs,
      title: 'persistent sessions with a subscription each come back, 64 at a time',
      shape: 'crowd',
      steps: [],
      figure: 'connects',
      isDurable: true,
      isClean: false,
    },
  ],
  [
    'idle',
    {
      ...pairs,
      title: 'idle connections, clean sessions, one node',
      shape: 'crowd',
      steps: [],
      figure: 'memory',
      // Collectors that wait for quiet have had it.
      idleSeconds: 60,
    },
  ],
]);

/** The workload by that name, with what was asked for instead of its own. */
export function chosen(name: string, change: Partial<Settings>): Workload {
  const workload = { ...WORKLOADS.get(name)!, ...change };
  if (workload.qos === 0 && workload.steps.includes('store'))
    throw new Error(`${name} stores messages: QoS 1 or 2`);
  return workload;
}

/** Its sizes in a few words. */
export function sizeOf(workload: Workload): string {
  const { shape, pairs, fan, backends, payloadBytes, window, ratePerSecond, queued } = workload;
  if (shape === 'crowd') {
    const stay = workload.idleSeconds > 0 ? `, ${workload.idleSeconds} s without traffic` : '';
    return `${workload.clients} connections${stay}`;
  }
  const sizes: Partial<Record<Shape, string>> = {
    'fan-out': `1 to ${fan}`,
    'fan-in': `${fan} to ${backends}`,
    group: `${pairs} to a group of ${fan}`,
    retained: `${pairs} publishers, ${fan} subscribers`,
  };
  const stored = workload.steps.includes('store') ? `, ${queued} messages each` : '';
  const loop =
    ratePerSecond === undefined
      ? `closed loop, window ${window}${stored}`
      : `open loop, ${ratePerSecond} msg/s`;
  const terms = `${workload.protocol === 5 ? ', MQTT 5' : ''}${workload.isTls ? ', TLS' : ''}`;
  return `${sizes[shape] ?? `${pairs} pairs`}, QoS ${workload.qos}, ${payloadBytes} bytes, ${loop}${terms}`;
}

const canBeDivided = ({ shape, topics }: Workload) =>
  topics === 0 && (shape === 'pairs' || shape === 'wildcards');

/** The jobs of `generators` processes for one round, more if there is a second load. Only pairs can be divided. */
export function jobsOf(workload: Workload, ports: number[], generators: number, name = 'bench'): LoadJob[] {
  const { beside, ratePerSecond, steps, shape } = workload;
  const processes = canBeDivided(workload) ? Math.min(generators, workload.pairs) : 1;
  const jobs = Array.from({ length: processes }, (_, index): LoadJob => {
    const own = `${name}${index}`;
    const share = Math.floor((workload.pairs + index) / processes);
    return {
      ...termsOf(workload),
      name: own,
      ...addressesOf(workload, own, share),
      // As many topics as retained messages: each is still there when it is asked for.
      topicsEach: shape === 'retained' ? workload.queued : Math.max(1, Math.floor(workload.topics / share)),
      idleFilters: Math.ceil(workload.idleFilters / processes),
      order: shape === 'group' ? 'share' : shape === 'retained' ? 'none' : 'stream',
      isRetained: shape === 'retained',
      subscribesLate: shape === 'retained',
      publisherPorts: ports.slice(0, 1),
      subscriberPorts: steps.includes('fetch') ? [...ports].reverse() : ports.slice(-1),
      qos: workload.qos,
      window: workload.window,
      payloadBytes: workload.payloadBytes,
      isClean: workload.isClean,
      ...(ratePerSecond === undefined ? {} : { ratePerSecond: ratePerSecond / processes }),
    };
  });
  if (!beside) return jobs;
  return [...jobs, ...jobsOf({ ...workload, beside: undefined, ...beside }, ports, 1, 'beside')];
}

/** The job of a crowd. */
export function crowdJobOf(workload: Workload, port: number): CrowdJob {
  const { clients, isClean } = workload;
  const terms = { ...termsOf(workload), keepAlive: 600 };
  return { ...terms, name: 'bench', port, clients, isClean, isReturning: !isClean };
}

function termsOf({ protocol, isTls }: Workload): Terms {
  return { protocol, isTls, keepAlive: 0 };
}

type Addresses = Pick<LoadJob, 'topics' | 'filters' | 'copies'>;

/** Who publishes what and who subscribes to what, in the process called `name`, which has `pairs` of the pairs. */
function addressesOf(workload: Workload, name: string, pairs: number): Addresses {
  const { shape, fan, backends } = workload;
  const numbered = (count: number, end = '') =>
    Array.from({ length: count }, (_, index) => `b/${name}/${index}${end}`);
  const all = (count: number, filter: string) => new Array<string>(count).fill(filter);
  switch (shape) {
    case 'crowd':
    case 'pairs':
      return { topics: numbered(pairs), filters: numbered(pairs), copies: 1 };
    case 'wildcards':
      return {
        topics: numbered(pairs, workload.topics > 0 ? '' : '/value'),
        filters: numbered(pairs, '/+'),
        copies: 1,
      };
    case 'fan-out':
      return { topics: [`b/${name}`], filters: all(fan, `b/${name}`), copies: fan };
    case 'fan-in':
      return {
        topics: numbered(fan, '/state'),
        filters: Array.from({ length: backends }, (_, index) => `b/${name}/${index % 2 ? '+/state' : '#'}`),
        copies: backends,
      };
    case 'group':
      return { topics: numbered(pairs), filters: all(fan, `$share/group/b/${name}/#`), copies: 1 };
    case 'retained':
      return { topics: numbered(pairs), filters: all(fan, `b/${name}/#`), copies: fan };
  }
}
