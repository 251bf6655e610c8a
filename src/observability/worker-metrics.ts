// The metrics of a machine whose workers share its ports: those of the supervising process, and the joining of its text
// with those of the workers into one page. They are not added up: each line keeps the name of its node, since the counters
// of a worker that was started again begin at zero, which a sum would show as a fall of all.

import { collectDefaultMetrics, Registry } from 'prom-client';
import { lazyNumber, type NumberDeclaration } from './metrics.ts';

/** The numbers of the supervising process. */
export interface WorkersStats {
  readonly workers: number;
  readonly workersReady: number;
  readonly workerDeaths: number;
  readonly connectionsWaiting: number;
  readonly connectionsRefused: number;
}

/** Every metric of the supervising process. */
export const WORKER_METRICS: readonly NumberDeclaration<WorkersStats>[] = [
  {
    name: 'swarmq_workers',
    help: 'Worker processes of this machine.',
    type: 'gauge',
    labels: ['state'],
    read: ({ workers, workersReady }) => [
      [{ state: 'ready' }, workersReady],
      [{ state: 'not_ready' }, workers - workersReady],
    ],
  },
  {
    name: 'swarmq_worker_deaths_total',
    help: 'Workers that ended by themselves and were started again.',
    type: 'counter',
    read: (stats) => stats.workerDeaths,
  },
  {
    name: 'swarmq_connections_waiting',
    help: 'Connections accepted and not yet given to a worker.',
    type: 'gauge',
    read: (stats) => stats.connectionsWaiting,
  },
  {
    name: 'swarmq_connections_refused_total',
    help: 'Connections closed since too many waited for a worker, or one for longer than connectTimeout.',
    type: 'counter',
    read: (stats) => stats.connectionsRefused,
  },
];

/** The supervising process's own part of the page; its process metrics carry `nodeName`. */
export class WorkerMetrics {
  readonly contentType: string;
  readonly #registry = new Registry();

  constructor(stats: WorkersStats, nodeName: string) {
    this.contentType = this.#registry.contentType;
    this.#registry.setDefaultLabels({ node: nodeName });
    for (const declaration of WORKER_METRICS) this.#registry.registerMetric(lazyNumber(declaration, stats));
    collectDefaultMetrics({ register: this.#registry });
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/** One page of several: the lines of a metric stand together, below one head. */
export function joinPages(pages: readonly string[]): string {
  const metrics = new Map<string, { head: string; lines: string[] }>();
  for (const page of pages) {
    for (const block of page.split(/^(?=# HELP )/m)) {
      const [, head, name, rest] = /^(# HELP (\S+).*\n# TYPE .*\n)([\s\S]*)$/.exec(block) ?? [];
      if (head === undefined || name === undefined) continue;
      const metric = metrics.get(name) ?? { head, lines: [] };
      metrics.set(name, metric);
      metric.lines.push(...(rest as string).split('\n').filter((line) => line !== ''));
    }
  }
  return [...metrics.values()].map(({ head, lines }) => `${head}${lines.join('\n')}\n`).join('\n');
}
