// The Prometheus metrics, each declared once in one table: name, help, label and how to read it from the node's
// numbers. Nothing here is called per message; values are read when /metrics is asked for. No label ever holds a client
// id, a topic or a user.

import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import type { Histogram } from './histogram.ts';
import {
  DROP_REASONS,
  LIMIT_NAMES,
  NODE_STATES,
  type NodeStats,
  PACKET_LABELS,
  SESSION_EVENTS,
} from './node-stats.ts';
import { VERSION } from './version.ts';

type Labelled = readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];

/** A number of `S`, by default the numbers of a node. */
export interface NumberDeclaration<S = NodeStats> {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly labels?: readonly string[];
  readonly read: (stats: S) => number | Labelled;
}

interface HistogramDeclaration {
  readonly name: string;
  readonly help: string;
  readonly type: 'histogram';
  readonly labels?: undefined;
  readonly read: (stats: NodeStats) => Histogram;
}

export type MetricDeclaration = NumberDeclaration | HistogramDeclaration;

const byName = (label: string, names: readonly string[], values: ArrayLike<number>): Labelled =>
  names.map((name, index) => [{ [label]: name }, values[index] as number]);

const packets = (values: Float64Array): Labelled => byName('type', PACKET_LABELS, values).slice(1);

const counter = (
  name: string,
  help: string,
  read: NumberDeclaration['read'],
  labels: readonly string[] = [],
): MetricDeclaration => ({ name: `swarmq_${name}`, help, type: 'counter', labels, read });

const gauge = (
  name: string,
  help: string,
  read: NumberDeclaration['read'],
  labels: readonly string[] = [],
): MetricDeclaration => ({ name: `swarmq_${name}`, help, type: 'gauge', labels, read });

const histogram = (name: string, help: string, read: (stats: NodeStats) => Histogram): MetricDeclaration => ({
  name: `swarmq_${name}`,
  help,
  type: 'histogram',
  read,
});

const QOS_NAMES = ['0', '1', '2'];

/** Every metric of a node. */
export const METRICS: readonly MetricDeclaration[] = [
  gauge('build_info', 'Always 1; the version is a label.', () => [[{ version: VERSION }, 1]], ['version']),
  gauge(
    'state',
    'State of the node: 1 for the present one.',
    (stats) => NODE_STATES.map((state) => [{ state }, state === stats.state ? 1 : 0]),
    ['state'],
  ),

  gauge(
    'connections',
    'Open connections.',
    (stats) => [...stats.connections].map(([listener, count]) => [{ listener }, count]),
    ['listener'],
  ),
  gauge(
    'drain_remaining_connections',
    'While the node stops: connections that are still open; else 0.',
    (stats) => (stats.state === 'draining' ? [...stats.connections.values()].reduce((a, b) => a + b, 0) : 0),
  ),
  counter('connections_opened_total', 'Connections accepted.', (stats) => stats.connectionsOpened),
  counter('connections_closed_total', 'Connections closed.', (stats) => stats.connectionsClosed),
  gauge(
    'connections_held',
    'Connections that are not read from until messages of theirs, or the will of the connection before, are committed.',
    (stats) => stats.connectionsHeld,
  ),
  counter('bytes_received_total', 'Bytes received from clients.', (stats) => stats.bytesReceived),
  counter('bytes_sent_total', 'Bytes sent to clients.', (stats) => stats.bytesSent),
  counter('packets_received_total', 'MQTT packets received.', (stats) => packets(stats.packetsReceived), [
    'type',
  ]),
  counter('packets_sent_total', 'MQTT packets sent.', (stats) => packets(stats.packetsSent), ['type']),

  counter(
    'messages_received_total',
    'Messages published by clients; repetitions of QoS 2 not counted.',
    (stats) => byName('qos', QOS_NAMES, stats.messagesReceived),
    ['qos'],
  ),
  counter('publish_bytes_received_total', 'Their payload bytes.', (stats) => stats.publishBytesReceived),
  counter(
    'messages_matched_total',
    'Deliveries owed: one per message and receiving session. Over the cluster this is delivered + waiting + dropped.',
    (stats) => stats.messagesMatched,
  ),
  counter(
    'messages_queued_total',
    'Messages put into the queue of a session.',
    (stats) => stats.messagesQueued,
  ),
  counter(
    'messages_delivered_total',
    'Messages delivered: QoS 0 when written to the connection, QoS 1 and 2 when the acknowledgement is committed.',
    (stats) => byName('qos', QOS_NAMES, stats.messagesDelivered),
    ['qos'],
  ),
  counter(
    'messages_dropped_total',
    'Deliveries owed that were given up, by reason.',
    (stats) => byName('reason', DROP_REASONS, stats.messagesDropped),
    ['reason'],
  ),
  counter('messages_resent_total', 'Messages sent once more with DUP.', (stats) => stats.messagesResent),
  counter(
    'messages_repeated_total',
    'Repetitions of QoS 2 messages by publishers, recognised and not delivered again.',
    (stats) => stats.messagesRepeated,
  ),
  counter(
    'shared_messages_total',
    'Messages given to a member of a group of shared subscriptions.',
    (stats) => stats.messagesShared,
  ),
  counter(
    'shared_messages_moved_total',
    'Messages of shared subscriptions moved to another member because a session ended.',
    (stats) => stats.messagesMovedOn,
  ),
  gauge(
    'shared_groups',
    'Groups of shared subscriptions with members, of the whole cluster.',
    (stats) => stats.sharedGroups,
  ),
  gauge(
    'shared_group_keys',
    'Topics, publishers or sticky groups whose member this node remembers.',
    (stats) => stats.sharedGroupKeys,
  ),
  counter('wills_published_total', 'Wills published by this node.', (stats) => stats.willsPublished),
  counter(
    'limit_rejections_total',
    'What a limit of the configuration refused, closed or held back.',
    (stats) => byName('limit', LIMIT_NAMES, stats.limitRejections),
    ['limit'],
  ),

  counter(
    'authentication_total',
    'Authentications.',
    (stats) => [
      [{ result: 'accepted' }, stats.authenticationsAccepted],
      [{ result: 'refused' }, stats.authenticationsRefused],
    ],
    ['result'],
  ),
  counter(
    'authorization_total',
    'Authorizations. What was allowed to be published is in swarmq_messages_received_total.',
    (stats) => [
      [{ action: 'publish', result: 'denied' }, stats.publishesDenied],
      [{ action: 'subscribe', result: 'allowed' }, stats.subscribesAllowed],
      [{ action: 'subscribe', result: 'denied' }, stats.subscribesDenied],
    ],
    ['action', 'result'],
  ),
  gauge(
    'sessions',
    'Sessions: connected to this node, and all of the cluster.',
    (stats) => [
      [{ state: 'connected' }, stats.sessionsConnected],
      [{ state: 'stored' }, stats.totals.sessions],
    ],
    ['state'],
  ),
  counter(
    'session_events_total',
    'What happened to sessions.',
    (stats) => byName('event', SESSION_EVENTS, stats.sessionEvents),
    ['event'],
  ),
  gauge(
    'subscriptions',
    'Subscriptions of the sessions connected to this node.',
    ({ subscriptions }) => Object.entries(subscriptions).map(([kind, count]) => [{ kind }, count]),
    ['kind'],
  ),
  gauge('routes', 'Receivers in the routing table; of the cluster.', (stats) => stats.routes),

  gauge(
    'inflight_messages',
    'QoS 1 and 2 messages sent and not yet acknowledged.',
    (stats) => stats.inflightMessages,
  ),
  gauge(
    'live_messages',
    'QoS 1 and 2 messages sent, not yet acknowledged or waiting, of sessions that end with their connection.',
    (stats) => stats.liveMessages,
  ),
  gauge(
    'queue_messages',
    'Messages in the queues of all sessions; of the cluster.',
    (stats) => stats.totals.queuedMessages,
  ),
  gauge('queue_bytes', 'Their bytes.', (stats) => stats.totals.queuedBytes),
  gauge('retained_messages', 'Retained messages; of the cluster.', (stats) => stats.totals.retainedMessages),
  gauge('retained_bytes', 'Their bytes.', (stats) => stats.totals.retainedBytes),
  gauge('outbox_bytes', 'Bytes waiting to be written to connections.', (stats) => stats.outboxBytes),
  gauge(
    'uncommitted_messages',
    'Messages not yet committed by the store.',
    (stats) => stats.uncommittedMessages,
  ),
  gauge('uncommitted_bytes', 'Their bytes.', (stats) => stats.uncommittedBytes),

  gauge('cluster_nodes', 'Live nodes of the cluster, this one included.', (stats) => stats.clusterNodes),
  gauge('lease_age_seconds', 'Time since the lease was last renewed.', (stats) => stats.leaseAgeSeconds),
  counter(
    'inbox_entries_total',
    'Entries of node inboxes: read by this node, and written to other nodes.',
    (stats) => [
      [{ direction: 'received' }, stats.inboxEntriesReceived],
      [{ direction: 'sent' }, stats.inboxEntriesSent],
    ],
    ['direction'],
  ),
  counter(
    'bus_messages_total',
    'Messages of the control bus.',
    (stats) => [
      [{ direction: 'received' }, stats.controlMessagesReceived],
      [{ direction: 'sent' }, stats.controlMessagesSent],
    ],
    ['direction'],
  ),
  counter(
    'pushes_total',
    'Messages pushed to a session: sent on at once, or read from the store later.',
    (stats) => [
      [{ result: 'taken' }, stats.pushesTaken],
      [{ result: 'passed_over' }, stats.pushesPassedOver],
    ],
    ['result'],
  ),
  counter('pulls_total', 'Reads of session queues.', (stats) => stats.pulls),
  counter(
    'sessions_repaired_total',
    'Sessions found behind by a comparison with the store.',
    (stats) => stats.sessionsRepaired,
  ),

  gauge('redis_up', '1 while the store answers.', (stats) => stats.storeUp),
  counter('redis_reconnects_total', 'Connections to the store made again.', (stats) => stats.storeReconnects),
  counter('redis_retries_total', 'Calls of the store made again.', (stats) => stats.storeRetries),
  histogram('commit_duration_seconds', 'Time of one commit batch.', (stats) => stats.commitDuration),
  histogram(
    'commit_batch_messages',
    'Operations that one commit batch completed.',
    (stats) => stats.commitBatchMessages,
  ),
  histogram(
    'publish_duration_seconds',
    'From a QoS 1 or 2 PUBLISH to its acknowledgement.',
    (stats) => stats.publishDuration,
  ),
  histogram(
    'subscribe_barrier_duration_seconds',
    'Time a SUBACK waited until all nodes knew the subscription.',
    (stats) => stats.subscribeBarrierDuration,
  ),

  counter(
    'event_loop_stalls_total',
    'Delays of the event loop above its limit.',
    (stats) => stats.eventLoopStalls,
  ),
  gauge('event_loop_stall_seconds', 'Longest delay of the event loop since the last scrape.', (stats) => {
    const longest = stats.eventLoopStallSeconds;
    stats.eventLoopStallSeconds = 0;
    return longest;
  }),
];

/** The metrics of one node as Prometheus text. */
export class Metrics {
  readonly contentType: string;
  readonly #registry = new Registry();

  /** `hasProcessMetrics` adds those of Node and the process (memory, CPU, event loop); `labels` are put to every line. */
  constructor(stats: NodeStats, hasProcessMetrics = true, labels: Readonly<Record<string, string>> = {}) {
    this.#registry.setDefaultLabels(labels);
    this.contentType = this.#registry.contentType;
    for (const declaration of METRICS) {
      if (declaration.type === 'histogram') this.#registry.registerMetric(lazyHistogram(declaration, stats));
      else this.#registry.registerMetric(lazyNumber(declaration, stats));
    }
    if (hasProcessMetrics) collectDefaultMetrics({ register: this.#registry });
  }

  /** The body of /metrics. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}

/** A metric of prom-client that is read when asked for. */
export function lazyNumber<S>(declaration: NumberDeclaration<S>, stats: S): Metric<string> {
  const { name, help, labels = [], read } = declaration;
  const values = (): Labelled => {
    const value = read(stats);
    return typeof value === 'number' ? [[{}, value]] : value;
  };
  const common = { name, help, labelNames: [...labels], registers: [] };
  if (declaration.type === 'gauge') {
    return new Gauge({
      ...common,
      collect() {
        this.reset();
        for (const [labelled, value] of values()) this.set(labelled, value);
      },
    });
  }
  return new Counter({
    ...common,
    collect() {
      this.reset();
      for (const [labelled, value] of values()) this.inc(labelled, value);
    },
  });
}

/** prom-client's own histogram can only be fed value by value; the registry needs a name and get() of a metric. */
function lazyHistogram(declaration: HistogramDeclaration, stats: NodeStats): Metric<string> {
  const { name, help, read } = declaration;
  const get = () => ({
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    values: bucketLines(name, read(stats)),
  });
  return { name, help, type: 'histogram', get, reset() {} } as unknown as Metric<string>;
}

function bucketLines(name: string, histogram: Histogram): object[] {
  let total = 0;
  const lines: object[] = histogram.bounds.map((bound, index) => {
    total += histogram.counts[index] as number;
    return { metricName: `${name}_bucket`, labels: { le: String(bound) }, value: total };
  });
  total += histogram.counts[histogram.bounds.length] as number;
  lines.push({ metricName: `${name}_bucket`, labels: { le: '+Inf' }, value: total });
  lines.push({ metricName: `${name}_sum`, labels: {}, value: histogram.sum });
  lines.push({ metricName: `${name}_count`, labels: {}, value: total });
  return lines;
}
