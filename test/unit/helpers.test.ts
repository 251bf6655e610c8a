// The tools of the fault tests are tools only if they tell a bad broker from a good one: checks of the checks, and of the
// real processes they start. mosquitto stands in for a broker where one is needed.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { judge, messagePayload, SentLog } from '../helpers/history.ts';
import { ConnectRefused, MqttClient, type Received } from '../helpers/mqtt-client.ts';
import { resetSocket, startProxy } from '../helpers/net-proxy.ts';
import { endChild, freePort, type Owner, spawnOwned, temporaryFolder } from '../helpers/owner.ts';
import { startRedisCluster } from '../helpers/redis-cluster.ts';
import { startRedis, startSentinelSet } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { portOf } from '../helpers/swarmq-node.ts';

// Only the clients of mosquitto are sure to be installed where the tests run.
const skip = spawnSync('mosquitto', ['-h']).error ? 'mosquitto is not installed' : false;

async function startMosquitto(owner: Owner): Promise<number> {
  const port = await freePort();
  const file = join(temporaryFolder(owner, 'mosquitto'), 'mosquitto.conf');
  writeFileSync(
    file,
    `listener ${port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n`,
  );
  const child = spawnOwned('mosquitto', ['-c', file], { stdio: 'ignore' });
  owner.teardown(() => endChild(child, 'SIGKILL'));
  await eventually('mosquitto listens', () => canConnect(port));
  return port;
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

function received(seq: number, extra: Partial<Received> = {}): Received {
  const payload = Buffer.from(messagePayload('p', seq));
  const fixed = { at: 0, topic: 't', qos: 1 as const, dup: false, retain: false, packetId: 1, connection: 0 };
  return { ...fixed, payload, isRepeat: false, properties: undefined, ...extra };
}

function sentLog(count: number, acked: number[]): SentLog {
  const log = new SentLog('p');
  for (let seq = 0; seq < count; seq++) log.addSent('t', 1);
  for (const seq of acked) log.addAcked(seq);
  return log;
}

t.test('judge finds loss, doubles and disorder', async (t) => {
  const log = sentLog(6, [0, 1, 2, 3, 5]);
  const verdict = judge(
    [log],
    [received(0), received(2), received(1), received(2), received(5), received(4)],
  );
  t.same(verdict.lost, ['p:3'], 'acked and not received');
  t.same(verdict.doubled, ['p:2']);
  t.same(verdict.disordered, ['p:1'], 'the unacknowledged 4 may come late');
  t.same(verdict.received, 5);
  const again = judge([log], [received(0), received(0, { isRepeat: true }), received(9)]);
  t.same(again.doubled, [], 'a repeat of an unreleased id is no second delivery');
  t.same(again.unknown, ['p:9']);
});

t.test(
  'a client keeps its session over a cut connection and repeats what is unfinished',
  { skip },
  async (t) => {
    const port = await startMosquitto(t);
    const proxy = await startProxy(t, port);
    for (const version of [4, 5] as const) {
      for (const qos of [1, 2] as const) {
        const name = `v${version}q${qos}`;
        const subscriber = new MqttClient(t, { clientId: `s-${name}`, version, clean: false });
        const publisher = new MqttClient(t, { clientId: `p-${name}`, version, clean: false });
        const roamingSubscriber = keepConnected(subscriber, () => [proxy.port]);
        await roamingSubscriber.connected();
        t.same(await subscriber.subscribe(`t/${name}`, qos), [qos]);
        const roaming = keepConnected(publisher, () => [proxy.port]);
        const stream = new StreamPublisher(publisher, {
          publisher: name,
          topic: `t/${name}`,
          qos,
          window: 20,
        }).start();
        for (let round = 1; round <= 3; round++) {
          await eventually('some were sent', () => stream.log.acked > round * 300);
          proxy.cut();
          const isBack = ({ connections }: MqttClient) => connections.length === round + 1;
          await eventually('both are back', () => isBack(publisher) && isBack(subscriber));
        }
        const log = await stream.finish();
        await eventually('all arrived', () => judge([log], subscriber.received).lost.length === 0);
        const verdict = judge([log], subscriber.received);
        t.ok(log.acked > 900 && subscriber.connections.length === 4);
        t.ok(subscriber.connections.at(-1)!.sessionPresent, 'session present');
        t.same(verdict.unknown, []);
        if (qos === 2) t.same(verdict.doubled, [], 'exactly once');
        roaming.stop();
        roamingSubscriber.stop();
        subscriber.cut();
        publisher.cut();
      }
    }
  },
);

t.test('manual acknowledgement', { skip }, async (t) => {
  const port = await startMosquitto(t);
  const client = new MqttClient(t, { clientId: 'm', version: 5, clean: false, acks: 'manual' });
  await client.connect(port);
  await client.subscribe('a', 1);
  await client.publish('a', 'one', { qos: 1 });
  await eventually('it came', () => client.received.length === 1);
  const second = new MqttClient(t, { clientId: 'm', version: 5, clean: false });
  const record = await second.connect(port);
  t.ok(record.sessionPresent);
  await eventually('the unacknowledged one comes again', () => second.received[0]?.dup);
  await eventually('the old connection is closed', () => !client.isConnected);
});

t.test('a DISCONNECT of the broker is recorded, a refusing CONNACK is an error with its code', async (t) => {
  const answers = [Buffer.from([0x20, 3, 0, 0, 0, 0xe0, 2, 0x8e, 0]), Buffer.from([0x20, 3, 0, 0x97, 0])];
  const server = createServer((socket) => {
    socket.once('data', () => socket.end(answers.shift() ?? ''));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const client = new MqttClient(t, { clientId: 'd', version: 5 });
  const record = await client.connect(port);
  await eventually('it is closed', () => !client.isConnected);
  t.equal(record.disconnectCode, 0x8e);
  const refusal = await client.connect(port).catch((error: unknown) => error);
  t.ok(refusal instanceof ConnectRefused && refusal.code === 0x97);
});

t.test('a socket that is reset in the turn in which its peer ended is closed', async (t) => {
  const closed = await new Promise((resolve) => {
    const server = createServer((socket) => {
      socket.on('error', resolve).on('close', () => resolve('closed'));
      // Its own end is under way two ticks behind that of the peer.
      socket.resume().on('end', () => {
        process.nextTick(() => process.nextTick(() => resetSocket(socket)));
      });
    });
    t.teardown(() => server.close());
    server.listen(0, '127.0.0.1', () =>
      connect((server.address() as AddressInfo).port, '127.0.0.1').end('x'),
    );
  });
  t.equal(closed, 'closed');
});

t.test('a proxy delays, holds and cuts', { skip }, async (t) => {
  const proxy = await startProxy(t, await startMosquitto(t));
  const client = new MqttClient(t, { clientId: 'x' });
  await client.connect(proxy.port);
  proxy.delayMs = 50;
  let started = performance.now();
  await client.publish('a', 'b', { qos: 1 });
  t.ok(performance.now() - started >= 99, 'both ways are delayed');
  proxy.delayMs = 0;
  proxy.halfOpen = true;
  const held = client.publish('a', 'c', { qos: 1 });
  started = performance.now();
  setTimeout(() => {
    proxy.halfOpen = false;
  }, 100);
  await held;
  t.ok(performance.now() - started >= 95, 'bytes are held and flow on');
  t.equal(proxy.cut(), 1);
  await eventually('the client sees the end', () => !client.isConnected);
});

t.test('a proxy that was silent tells of an end that came meanwhile', async (t) => {
  const accepted: Socket[] = [];
  const server = createServer((socket) => void accepted.push(socket.on('error', () => {})));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  t.teardown(() => server.close());
  const proxy = await startProxy(t, (server.address() as AddressInfo).port);
  const client = connect(proxy.port, '127.0.0.1');
  let isClosed = false;
  client
    .on('error', () => {})
    .on('close', () => {
      isClosed = true;
    });
  await eventually('they are connected', () => accepted.length === 1);
  proxy.halfOpen = true;
  accepted[0]!.destroy();
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(isClosed, false);
  proxy.halfOpen = false;
  await eventually('the client is told', () => isClosed);
  t.equal(proxy.connections, 0);
});

t.test('a redis-server comes back on its port with what its append-only file holds', async (t) => {
  const redis = await startRedis(t, { appendonly: true, appendfsync: 'always' });
  await redis.command('SET', 'a', '1');
  await redis.restart();
  t.equal(await redis.command('GET', 'a'), '1');
  redis.pause();
  const answer = redis.command('PING');
  redis.resume();
  t.equal(await answer, 'PONG');
  t.equal(await redis.clientKill('normal'), 0, 'its own connection is spared');
});

t.test('Sentinels fail over, a Cluster serves all slots', async (t) => {
  const set = await startSentinelSet(t, { downAfterMs: 300 });
  const old = await set.master();
  await old.kill();
  await eventually('the replica is master', async () => (await set.master()) !== old, 20_000);
  const cluster = await startRedisCluster(t);
  const owners = new Set(
    await Promise.all(['b', 'c', 'a'].map((key) => cluster.masters[0]!.command('CLUSTER', 'KEYSLOT', key))),
  );
  t.equal(owners.size, 3);
});

t.test('the ready line is understood in words and in JSON', async (t) => {
  t.equal(portOf('swarmq a ready: mqtt 127.0.0.1:1883, admin http://127.0.0.1:18083', 'admin'), 18083);
  t.equal(portOf('{"node":"a","mqttPort":1883,"adminPort":18083}', 'admin'), 18083);
  t.equal(portOf('ready, mqtt 1883', 'admin'), undefined);
});
