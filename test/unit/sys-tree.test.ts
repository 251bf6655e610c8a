// The $SYS/broker topics: mosquitto's names and load averages, over several nodes.

import t from 'tap';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { SysTree, sumReports, sysReport } from '../../src/observability/sys-tree.ts';

const totals = {
  ...{ sessions: 5, retainedMessages: 2, queuedMessages: 7, queuedBytes: 700 },
  ...{ subscriptions: 11, sharedSubscriptions: 3 },
};

/** What mosquitto 2.0 publishes below $SYS/broker, without the load averages. */
const OF_MOSQUITTO = [
  ...['bytes/received', 'bytes/sent', 'clients/active', 'clients/connected', 'clients/disconnected'],
  ...['clients/expired', 'clients/inactive', 'clients/maximum', 'clients/total', 'heap/current'],
  ...['heap/maximum', 'messages/received', 'messages/sent', 'messages/stored', 'publish/bytes/received'],
  ...['publish/bytes/sent', 'publish/messages/dropped', 'publish/messages/received', 'publish/messages/sent'],
  ...['retained messages/count', 'shared_subscriptions/count', 'store/messages/bytes'],
  ...['store/messages/count', 'subscriptions/count', 'uptime', 'version'],
];

function asMap(topics: { topic: string; value: string }[]): Map<string, string> {
  return new Map(topics.map(({ topic, value }) => [topic.replace('$SYS/broker/', ''), value]));
}

t.test('sums of all nodes under mosquitto’s names', async (t) => {
  const nodes = [new NodeStats(), new NodeStats()];
  for (const stats of nodes) {
    stats.packetsReceived[1]! += 1;
    stats.packetsReceived[3]! += 10;
    stats.packetsSent[3]! += 20;
    stats.messagesDropped[0]! += 1;
    stats.messagesDropped[4]! += 2;
    stats.bytesReceived = 1000;
    stats.publishBytesReceived = 300;
    stats.publishBytesSent = 450;
    stats.sessionsConnected = 2;
    stats.sessionsConnectedMax = 3;
    stats.liveSubscriptions = 4;
    stats.connections.set('tcp', 2).set('ws', 1);
  }
  const report = sumReports(nodes.map((stats) => sysReport(stats, 100, 150)));
  const values = asMap(new SysTree(0).update(report, totals, 61_500));
  const expected: Record<string, string> = {
    uptime: '61 seconds',
    'clients/total': '5',
    'clients/connected': '4',
    'clients/disconnected': '1',
    'clients/maximum': '6',
    'connections/socket/count': '6',
    'messages/received': '22',
    'messages/sent': '40',
    'messages/stored': '9',
    'store/messages/bytes': '700',
    'publish/messages/received': '20',
    'publish/messages/sent': '40',
    'publish/messages/dropped': '6',
    'publish/bytes/received': '600',
    'publish/bytes/sent': '900',
    'bytes/received': '2000',
    'retained messages/count': '2',
    // Those in the table of routes, once, and those of each node that are not.
    'subscriptions/count': '19',
    'shared_subscriptions/count': '3',
    'heap/current': '200',
    'heap/maximum': '300',
  };
  for (const [name, value] of Object.entries(expected)) t.equal(values.get(name), value, name);
  for (const name of OF_MOSQUITTO) t.ok(values.has(name), name);
  t.match(values.get('version'), /^swarmq version \d/);
});

t.test('only what changed is told again', async (t) => {
  const tree = new SysTree(0);
  const report = sumReports([sysReport(new NodeStats(), 1, 1)]);
  t.ok(tree.update(report, totals, 1000).length > 20);
  const second = asMap(tree.update(report, totals, 1000));
  t.strictSame([...second.keys()], []);
  t.strictSame(
    [...asMap(tree.update(report, { ...totals, sessions: 6 }, 1999)).keys()].filter(
      (name) => !name.startsWith('load/'),
    ),
    ['clients/total', 'clients/disconnected', 'clients/inactive'],
  );
});

t.test('load averages per minute, over 1, 5 and 15 minutes', async (t) => {
  const tree = new SysTree(0);
  const stats = new NodeStats();
  let last = new Map<string, string>();
  // 10 messages a second for half an hour.
  for (let second = 0; second <= 1800; second += 10) {
    stats.packetsReceived[3]! = second * 10;
    last = new Map([
      ...last,
      ...asMap(tree.update(sumReports([sysReport(stats, 1, 1)]), totals, second * 1000)),
    ]);
  }
  t.ok(Math.abs(Number(last.get('load/publish/received/1min')) - 600) < 1);
  t.ok(Math.abs(Number(last.get('load/publish/received/15min')) - 600 * (1 - Math.exp(-2))) < 1);
  t.equal(last.get('load/sockets/1min'), '0.00');
  // A node restarted: the total falls, the load does not go below zero.
  stats.packetsReceived[3] = 0;
  const after = asMap(tree.update(sumReports([sysReport(stats, 1, 1)]), totals, 1_810_000));
  t.ok(Number(after.get('load/publish/received/1min')) > 0);
});
