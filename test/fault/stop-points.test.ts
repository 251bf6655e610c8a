// A node killed at every point between two steps (src/util/stop-point.ts), by one and the same story: a session that is
// taken over and resumed, subscribes and unsubscribes, a publisher at QoS 1 and 2 with small, large and retained
// messages, a will. Wherever the node ends, its clients go on at the other one, and every guarantee holds (G1 to G7).

import t, { type Test } from 'tap';
import { STOP_POINTS, type StopPoint } from '../../src/util/stop-point.ts';
import { none } from '../helpers/bars.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery, readPayload, type SentLog } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import type { Owner } from '../helpers/owner.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { keepConnected, type Roaming, StreamPublisher } from '../helpers/roaming.ts';
import { startStoppingNode } from '../helpers/stop-at.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(600_000);

/** A short lease: each dead node is waited for. */
const CONFIG = 'cluster:\n  lease: 2s\n  renewEvery: 300ms\n  sweepEvery: 200ms\n';
/** Which passings of a point are stopped at, where it is not the first: in the middle of the traffic. */
const PASSINGS: Partial<Record<StopPoint, readonly number[]>> = {
  'publish/recorded': [7],
  'publish/payload-stored': [2],
  'publish/enqueued': [1, 40],
  'publish/before-retain': [3],
  'publish/retained': [3],
  'publish/committed': [1, 12],
  'publish/pubrel': [5],
  'publish/forgotten': [5],
  'ack/puback': [4],
  'ack/pubrec': [1, 12],
  'ack/pubcomp': [4],
  'ack/sealed': [1, 3],
  'ack/committed': [1, 3],
  'resume/pulled': [1, 2],
};

let redis: Awaited<ReturnType<typeof startRedis>>;
let other: SwarmqNode;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
  other = await startNode(t, { redis: redis.url, config: CONFIG, name: 'other' });
});

/** Does it again on the next connection until it was answered. */
async function persist(roaming: Roaming, run: () => Promise<unknown>): Promise<void> {
  for (;;) {
    await roaming.connected();
    try {
      await run();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** The session that is taken over from the other node, with a window in flight and more behind it. */
class Wanderer {
  readonly client: MqttClient;
  readonly log: SentLog;
  readonly roaming: Roaming;

  static async begin(owner: Owner, name: string, ports: () => number[]): Promise<Wanderer> {
    const client = new MqttClient(owner, { clientId: `${name}-wanderer`, version: 5, clean: false });
    await client.connect(other.port);
    await client.subscribe([`${name}/#`, `gone/${name}`], 2);
    client.leaveOpen();
    const early = new MqttClient(owner, { clientId: `${name}-early` });
    await early.connect(other.port);
    const options = { publisher: 'early', topic: `${name}/early`, qos: 2, count: 150 } as const;
    const log = await new StreamPublisher(early, options).start().completed();
    return new Wanderer(client, log, ports);
  }

  private constructor(client: MqttClient, log: SentLog, ports: () => number[]) {
    this.client = client;
    this.log = log;
    this.roaming = keepConnected(client, ports);
  }

  async changeSubscriptions(name: string): Promise<void> {
    await persist(this.roaming, () => this.client.subscribe(`extra/${name}`, 1));
    await persist(this.roaming, () => this.client.unsubscribe(`gone/${name}`));
  }
}

interface Streams {
  logs: SentLog[];
  /** Number of the last retained message. */
  lastRetained: number;
}

/** Small messages at QoS 1 and 2, large ones, and retained ones, through one client that goes on at the next node. */
async function publishAll(owner: Owner, name: string, ports: () => number[]): Promise<Streams> {
  const publisher = new MqttClient(owner, { clientId: `${name}-publisher`, version: 5, clean: false });
  const roaming = keepConnected(publisher, ports);
  await roaming.connected();
  const small = {
    publisher: 'small',
    topic: `${name}/small`,
    qos: (seq: number) => (seq % 2 ? 1 : 2),
  } as const;
  const large = { publisher: 'large', topic: `${name}/large`, qos: 2, payloadBytes: 20_000 } as const;
  const kept = { publisher: 'kept', topic: `kept/${name}`, qos: 1, retain: () => true } as const;
  const streams = [
    new StreamPublisher(publisher, { ...small, window: 10, count: 80 }),
    new StreamPublisher(publisher, { ...large, window: 3, count: 8 }),
    new StreamPublisher(publisher, { ...kept, window: 3, count: 10 }),
  ];
  const logs = await Promise.all(streams.map((stream) => stream.start().completed()));
  roaming.stop();
  return { logs: logs.slice(0, 2), lastRetained: logs[2]!.sent - 1 };
}

/** A client with a will that dies; on the other node where this one is dead already. */
async function leaveWill(owner: Owner, name: string, victim: SwarmqNode): Promise<void> {
  const will = { topic: `${name}/will`, payload: Buffer.from('will:0:'), qos: 2 as const, retain: false };
  const client = new MqttClient(owner, { clientId: `${name}-mortal`, version: 5, clean: false, will });
  await client.connect(victim.port).catch(() => client.connect(other.port));
  client.cut();
}

/** Resolves when the will has come to `client` and nobody has anything to do for it any more. */
async function willSeenTo(name: string, client: MqttClient): Promise<void> {
  await eventually(
    'the will comes',
    () => client.received.some(({ topic }) => topic === `${name}/will`),
    20_000,
  );
  const isTaken = async () => {
    for (const key of (await redis.command('KEYS', '*}:taken')) as string[]) {
      if ((await redis.command('HEXISTS', key, `${name}-mortal`)) === 1) return true;
    }
    return false;
  };
  await eventually('the will is done with', async () => !(await isTaken()), 20_000);
}

/** Everything promised came, in order, at QoS 2 once, and the will once, before what was sent last. */
async function judgeReceiver(t: Test, label: string, client: MqttClient, logs: SentLog[]): Promise<void> {
  const wills = () => client.received.filter(({ topic, isRepeat }) => topic.endsWith('/will') && !isRepeat);
  await eventually(`${label}: the end comes`, () =>
    client.received.some(({ topic }) => topic.endsWith('/end')),
  );
  const isStream = ({ topic }: { topic: string }) => !/\/(will|end)$|^extra\//.test(topic);
  const verdict = await awaitDelivery(
    {
      get received() {
        return client.received.filter(isStream);
      },
    },
    logs,
  );
  const isQos2 = (id: string) => {
    const { publisher, seq } = readPayload(Buffer.from(`${id}:`));
    return logs.find((log) => log.publisher === publisher)?.qos[seq] === 2;
  };
  none(t, `${label}: acknowledged and lost`, verdict.lost);
  none(t, `${label}: twice at QoS 2`, verdict.doubled.filter(isQos2));
  none(t, `${label}: out of order`, verdict.disordered);
  none(t, `${label}: never sent`, verdict.unknown);
  t.equal(wills().length, 1, `${label}: one will`);
}

async function story(t: Test, name: string, point: StopPoint, nth: number): Promise<void> {
  const nodeOptions = { redis: redis.url, config: CONFIG, name };
  const victim = await startStoppingNode(t, { point, nth }, nodeOptions);
  const ports = () => (victim.isRunning ? [victim.port] : [other.port]);
  const absent = new MqttClient(t, { clientId: `${name}-absent`, version: 5, clean: false });
  await absent.connect(other.port);
  await absent.subscribe(`${name}/#`, 2);
  await absent.disconnect();
  const far = new MqttClient(t, { clientId: `${name}-far`, version: 5, clean: false });
  await far.connect(other.port);
  await far.subscribe(`${name}/#`, 2);

  const wanderer = await Wanderer.begin(t, name, ports);
  const [{ logs, lastRetained }] = await Promise.all([
    publishAll(t, name, ports),
    wanderer.changeSubscriptions(name),
  ]);
  await leaveWill(t, name, victim);
  await eventually('the node has stopped at its point', () => !victim.isRunning, 15_000);
  await wanderer.roaming.connected();

  const publisher = new MqttClient(t, { clientId: `${name}-late` });
  await publisher.connect(other.port);
  await publisher.publish(`gone/${name}`, 'x', { qos: 1 });
  await publisher.publish(`extra/${name}`, 'x', { qos: 1 });
  await eventually('the new subscription is served', () =>
    wanderer.client.received.some(({ topic }) => topic === `extra/${name}`),
  );
  await willSeenTo(name, far);
  await publisher.publish(`${name}/end`, 'x', { qos: 1 });
  const all = [...logs, wanderer.log];
  await judgeReceiver(t, 'taken over', wanderer.client, all);
  await judgeReceiver(t, 'elsewhere', far, all);
  await absent.connect(other.port);
  await judgeReceiver(t, 'absent', absent, all);
  t.notOk(
    wanderer.client.received.some(({ topic }) => topic === `gone/${name}`),
    'nothing after UNSUBACK',
  );
  t.ok(
    wanderer.client.connections.every(({ sessionPresent }, at) => at === 0 || sessionPresent),
    'session present',
  );
  const reader = new MqttClient(t, { clientId: `${name}-reader` });
  await reader.connect(other.port);
  await reader.subscribe(`kept/${name}`, 1);
  await eventually('the retained message comes', () => reader.received.length > 0);
  t.equal(readPayload(reader.received[0]!.payload).seq, lastRetained, 'the last retained one');
  wanderer.roaming.stop();
}

// Most of a story is waiting for a lease to end.
t.jobs = 4;
for (const point of Object.keys(STOP_POINTS) as StopPoint[]) {
  // Those are passed by no client's doing: orphans-killed has them.
  if (point.startsWith('orphans/')) continue;
  for (const nth of PASSINGS[point] ?? [1]) {
    const name = `${point.replace('/', '-')}-${nth}`;
    t.test(`killed at ${point}, passing ${nth}`, { buffered: true }, (t) => story(t, name, point, nth));
  }
}
