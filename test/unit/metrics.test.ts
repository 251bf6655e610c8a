// The metrics as Prometheus text, read from plain numbers.

import t from 'tap';
import { Histogram } from '../../src/observability/histogram.ts';
import { METRICS, Metrics } from '../../src/observability/metrics.ts';
import { DROP_REASONS, Drop, Limit, NodeStats } from '../../src/observability/node-stats.ts';
import { joinPages, WORKER_METRICS, WorkerMetrics } from '../../src/observability/worker-metrics.ts';

t.test('names follow the rules and are declared once', async (t) => {
  const all = [...METRICS, ...WORKER_METRICS];
  const names = all.map((metric) => metric.name);
  t.equal(new Set(names).size, names.length);
  for (const { name, type, help } of all) {
    t.match(name, /^swarmq_[a-z][a-z0-9_]*$/);
    t.equal(name.endsWith('_total'), type === 'counter', `${name}: _total is for counters`);
    t.match(help, /^[A-Z1].*\.$/, `${name}: a sentence`);
  }
});

t.test('no label can hold what a client sends', async (t) => {
  const labels = new Set([...METRICS, ...WORKER_METRICS].flatMap((metric) => metric.labels ?? []));
  for (const label of labels) t.notMatch(label, /client|topic|user|address/);
});

t.test('connections that remain are told while the node drains, and only then', async (t) => {
  const stats = new NodeStats();
  const metrics = new Metrics(stats, false);
  stats.connections.set('tcp', 4).set('ws', 3);
  for (const [state, remaining] of [
    ['ready', 0],
    ['draining', 7],
    ['stopped', 0],
  ] as const) {
    stats.state = state;
    t.match(await metrics.text(), `swarmq_drain_remaining_connections ${remaining}\n`, state);
  }
});

t.test('values are read when asked for', async (t) => {
  const stats = new NodeStats();
  const metrics = new Metrics(stats, false);
  stats.messagesReceived[1]! += 3;
  stats.messagesDropped[Drop.QUEUE_FULL]! += 2;
  stats.limitRejections[Limit.PACKET_SIZE]! += 1;
  stats.packetsReceived[3]! += 7;
  stats.connections.set('tcp', 4);
  stats.state = 'ready';
  stats.publishesDenied = 5;
  stats.eventLoopStallSeconds = 0.25;
  const text = await metrics.text();
  for (const line of [
    'swarmq_messages_received_total{qos="1"} 3',
    'swarmq_messages_dropped_total{reason="queue_full"} 2',
    'swarmq_messages_dropped_total{reason="expired"} 0',
    'swarmq_limit_rejections_total{limit="packet_size"} 1',
    'swarmq_packets_received_total{type="publish"} 7',
    'swarmq_connections{listener="tcp"} 4',
    'swarmq_state{state="ready"} 1',
    'swarmq_state{state="degraded"} 0',
    'swarmq_authorization_total{action="publish",result="denied"} 5',
    'swarmq_event_loop_stall_seconds 0.25',
  ]) {
    t.match(text, `\n${line}\n`, line);
  }
  stats.messagesReceived[1]! += 1;
  stats.connections.delete('tcp');
  const later = await metrics.text();
  t.match(later, '\nswarmq_messages_received_total{qos="1"} 4\n', 'not added up');
  t.notMatch(later, 'listener="tcp"');
  t.match(later, '\nswarmq_event_loop_stall_seconds 0\n', 'the longest since the last scrape');
});

t.test('every drop reason has an index of its own', async (t) => {
  t.strictSame(
    DROP_REASONS.map((reason) => Drop[reason.toUpperCase() as keyof typeof Drop]),
    DROP_REASONS.map((_, index) => index),
  );
});

t.test('pages of several processes become one: each metric once, each line as it was', async (t) => {
  const workers = await Promise.all(
    ['a-1', 'a-2'].map((node, index) => {
      const stats = new NodeStats();
      stats.messagesReceived[1] = index + 1;
      stats.commitBatchMessages.observe(3);
      return new Metrics(stats, false, { node }).text();
    }),
  );
  const own = { workers: 2, workersReady: 1, workerDeaths: 0, connectionsWaiting: 0, connectionsRefused: 0 };
  const page = joinPages([await new WorkerMetrics(own, 'a').text(), ...workers, '']);
  const heads = page.split('\n').filter((line) => line.startsWith('# TYPE'));
  t.equal(new Set(heads).size, heads.length);
  for (const lines of [
    'swarmq_workers{state="not_ready",node="a"} 1\n',
    'swarmq_messages_received_total{qos="2",node="a-1"} 0\nswarmq_messages_received_total{qos="0",node="a-2"} 0\n',
    'swarmq_messages_received_total{qos="1",node="a-2"} 2\n',
    'swarmq_commit_batch_messages_bucket{le="4",node="a-2"} 1\n',
  ]) {
    t.ok(page.includes(lines), lines);
  }
});

t.test('histograms', async (t) => {
  const histogram = new Histogram([1, 2]);
  for (const value of [0.5, 1, 1.5, 9]) histogram.observe(value);
  t.strictSame([...histogram.counts], [2, 1, 1]);
  t.equal(histogram.sum, 12);
  t.equal(histogram.count(), 4);
  const stats = new NodeStats();
  stats.commitBatchMessages.observe(3);
  const text = await new Metrics(stats, false).text();
  for (const line of [
    '# TYPE swarmq_commit_batch_messages histogram',
    'swarmq_commit_batch_messages_bucket{le="2"} 0',
    'swarmq_commit_batch_messages_bucket{le="4"} 1',
    'swarmq_commit_batch_messages_bucket{le="+Inf"} 1',
    'swarmq_commit_batch_messages_sum 3',
    'swarmq_commit_batch_messages_count 1',
  ]) {
    t.match(text, `${line}\n`, line);
  }
});

t.test('those of Node and the process stand beside them', async (t) => {
  t.match(await new Metrics(new NodeStats()).text(), /process_resident_memory_bytes \d/);
});
