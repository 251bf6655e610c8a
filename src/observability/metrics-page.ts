// The text of docs/metrics.md, from the tables of metrics: those of a node, and those of the process above workers. It says
// what the numbers mean together, which no single line of a table can.

import { METRICS } from './metrics.ts';
import { DROP_REASONS, LIMIT_NAMES } from './node-stats.ts';
import { WORKER_METRICS } from './worker-metrics.ts';

/** The text of docs/metrics.md. */
export function metricsPage(): string {
  const lines = [
    '# Metrics',
    '',
    'Generated from `src/observability/` by `scripts/docs.mjs`. Served as Prometheus text on the admin port',
    'at `/metrics`, with those of Node and the process beside them. Numbers are those of the node, except where they are',
    'said to be of the cluster: take the maximum of these over the nodes, and the sum of all others.',
    '',
    ...table(METRICS),
    '',
    '## Workers',
    '',
    'With `workers` above 1 one page has the metrics of all workers of the machine, and below these of the process above',
    'them. Every line has the label `node` then: the name of the worker, or `node.name` for the process above. Add the',
    'lines of a machine up where its sum is wanted; the page does not, since the counters of a worker that was started',
    'again begin at zero.',
    '',
    ...table(WORKER_METRICS),
    '',
    '## Reasons of dropped messages',
    '',
    'Over all nodes, `swarmq_messages_matched_total` = `swarmq_messages_delivered_total` + messages waiting +',
    '`swarmq_messages_dropped_total`, where waiting is `swarmq_queue_messages` (of the cluster, so counted once) and the',
    '`swarmq_live_messages` of every node. A message that nobody subscribes to is matched by none and not counted.',
    '',
    DROP_REASONS.map((reason) => `\`${reason}\``).join(', '),
    '',
    '## Limits',
    '',
    LIMIT_NAMES.map((limit) => `\`${limit}\``).join(', '),
  ];
  return `${lines.join('\n')}\n`;
}

interface Row {
  readonly name: string;
  readonly type: string;
  readonly labels?: readonly string[] | undefined;
  readonly help: string;
}

function table(metrics: readonly Row[]): string[] {
  return [
    '| metric | type | labels | meaning |',
    '|---|---|---|---|',
    ...metrics.map(
      ({ name, type, labels = [], help }) => `| \`${name}\` | ${type} | ${labels.join(', ')} | ${help} |`,
    ),
  ];
}
