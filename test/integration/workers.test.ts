// Several node processes behind the ports of one: connections are spread, sessions and messages go between them as between
// any nodes, a worker that dies is replaced while the port goes on, and nothing is left behind however it ends.

import { execFile, execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { createWebSocketStream, WebSocket } from 'ws';
import { runSwarmq } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { awaitDelivery } from '../helpers/history.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { freePort, isAlive, temporaryFolder } from '../helpers/owner.ts';
import { proxyV2 } from '../helpers/proxy-header.ts';
import { type RedisServer, startRedis } from '../helpers/redis-server.ts';
import { keepConnected, StreamPublisher } from '../helpers/roaming.ts';
import { portOf, type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);
const run = promisify(execFile);

interface WorkerView {
  node: string;
  pid: number;
  ready: boolean;
  connections: number;
}

let redis: RedisServer;

t.before(async () => {
  redis = await startRedis(t);
});

async function workersOf(node: SwarmqNode): Promise<WorkerView[]> {
  return (JSON.parse((await node.admin('/')).body) as { workers: WorkerView[] }).workers;
}

/** Clients come to the two workers in turn only where both have told that those before have gone. */
async function untilEmpty(node: SwarmqNode): Promise<void> {
  await eventually('no worker has a client', async () =>
    (await workersOf(node)).every(({ connections }) => connections === 0),
  );
}

async function isRefused(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(false);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'));
  });
}

async function connected(t: Test, port: number, clientId: string, open?: () => Duplex): Promise<MqttClient> {
  const client = new MqttClient(t, { clientId, clean: false, ...(open ? { open } : {}) });
  await client.connect(port);
  return client;
}

t.test('one port, two workers', async (t) => {
  const folder = temporaryFolder(t, 'certificates');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  const files = ['-keyout', 'server.key', '-out', 'server.crt', '-subj', '/CN=localhost'];
  execFileSync('openssl', ['req', '-x509', ...key, ...files], { cwd: folder, stdio: 'pipe' });
  const tls = `tls: { cert: ${join(folder, 'server.crt')}, key: ${join(folder, 'server.key')} }`;
  const config = `
listeners:
  tcp: { type: tcp, host: 127.0.0.1 }
  secure: { type: tls, port: 0, ${tls} }
  secureweb: { type: wss, port: 0, ${tls} }
  proxied: { type: tls, port: 0, ${tls}, proxyProtocol: any, trustedProxies: [127.0.0.1] }
`;
  const node = await startNode(t, { redis: redis.url, name: 'machine', config, args: ['--workers', '2'] });

  await t.test('one line says ready and names all ports and processes; one admin port', async (t) => {
    const workers = await workersOf(node);
    t.match(workers, [
      { node: 'machine-1', ready: true },
      { node: 'machine-2', ready: true },
    ]);
    for (const { node: name, pid } of workers) t.ok(node.readyLine.includes(`${name}:${pid}`), name);
    t.match(node.readyLine, new RegExp(`^swarmq is ready: machine tcp=\\S+:${node.port} secure=`));
    const ready = await node.admin('/readyz');
    t.same([ready.status, JSON.parse(ready.body)], [200, { ready: true, reasons: [], state: 'ready' }]);
    t.equal((await node.admin('/livez')).status, 200);
  });

  await t.test('clients land on both, in equal parts', async (t) => {
    for (let client = 0; client < 6; client++) await connected(t, node.port, `even-${client}`);
    for (const name of ['machine-1', 'machine-2']) {
      t.equal(await node.metric('swarmq_connections', `node="${name}"`), 3, name);
    }
  });

  await t.test('metrics: one page, each line with its node', async (t) => {
    const { body } = await node.admin('/metrics');
    const heads = body.split('\n').filter((line) => line.startsWith('# HELP'));
    t.equal(new Set(heads).size, heads.length, 'each metric has one head');
    const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    t.same(
      lines.filter((line) => !/\{.*node="machine(-[12])?"/.test(line)),
      [],
    );
    t.equal(await node.metric('swarmq_workers', 'state="ready"'), 2);
    // Of the nodes that come behind it a node reads with its next renewal.
    await eventually(
      'each is a node of the cluster',
      async () => (await node.metric('swarmq_cluster_nodes', 'machine-1')) === 2,
    );
    t.equal(await node.metric('process_resident_memory_bytes', 'machine-3'), undefined);
  });

  await t.test('a message published at one reaches a session on the other', async (t) => {
    await untilEmpty(node);
    const subscriber = await connected(t, node.port, 'across-subscriber');
    await subscriber.subscribe('across', 1);
    const publisher = await connected(t, node.port, 'across-publisher');
    await publisher.publish('across', 'live', { qos: 1 });
    await eventually('it has come', () => subscriber.received.length === 1);
    const count = async (name: string) =>
      Promise.all([1, 2].map((i) => node.metric(name, `qos="1",node="machine-${i}"`)));
    const published = await count('swarmq_messages_received_total');
    await eventually('the other worker delivered it', async () => {
      const delivered = await count('swarmq_messages_delivered_total');
      return delivered[published.indexOf(0)] === 1 && delivered[published.indexOf(1)] === 0;
    });
    await subscriber.disconnect();
    await publisher.publish('across', 'waits', { qos: 1 });
    await subscriber.connect(node.port);
    await eventually('it has waited', () => subscriber.received.length === 2);
  });

  await t.test('mosquitto: a session that comes back, on whichever worker', async (t) => {
    const at = ['-h', '127.0.0.1', '-p', String(node.port)];
    await run('mosquitto_sub', [...at, '-c', '-i', 'demo', '-q', '1', '-t', 'demo/#', '-E']);
    await run('mosquitto_pub', [...at, '-q', '1', '-t', 'demo/1', '-m', 'hello']);
    const got = await run('mosquitto_sub', [
      ...at,
      '-c',
      '-i',
      'demo',
      '-q',
      '1',
      '-t',
      'x',
      '-C',
      '1',
      '-W',
      '20',
    ]);
    t.equal(got.stdout, 'hello\n');
  });

  await t.test('TLS, secure WebSocket and PROXY headers are the worker\u2019s', async (t) => {
    const port = (name: string) => portOf(node.readyLine, ` ${name}=\\w+://0.0.0.0`) ?? 0;
    const ca = readFileSync(join(folder, 'server.crt'));
    const trust = { ca, servername: 'localhost' };
    const behindHeader = () => {
      const socket = connect(port('proxied'), '127.0.0.1');
      socket.write(proxyV2({ source: '192.0.2.7' }));
      return connectTls({ socket, ...trust });
    };
    const web = () =>
      createWebSocketStream(
        new WebSocket(`wss://localhost:${port('secureweb')}/mqtt`, 'mqtt', { ca, family: 4 }),
      );
    // Twice each, so that both workers get one.
    for (const round of [1, 2]) {
      for (const [name, open] of [
        ['secure', () => connectTls({ port: port('secure'), host: '127.0.0.1', ...trust })],
        ['secureweb', web],
        ['proxied', behindHeader],
      ] as const) {
        const client = await connected(t, 0, `${name}-${round}`, open);
        await client.subscribe(name, 1);
        await client.publish(name, 'x'.repeat(100_000), { qos: 1 });
        await eventually(name, () => client.received.length === 1);
      }
    }
  });

  await t.test(
    'a worker killed in mid-stream: nothing acknowledged is lost, another takes its place',
    async (t) => {
      await untilEmpty(node);
      const subscriber = new MqttClient(t, { clientId: 'kill-subscriber', clean: false });
      const listening = keepConnected(subscriber, () => [node.port]);
      await listening.connected();
      await subscriber.subscribe('kill', 1);
      const publisher = new MqttClient(t, { clientId: 'kill-publisher', clean: false });
      const sending = keepConnected(publisher, () => [node.port]);
      await sending.connected();
      const stream = new StreamPublisher(publisher, { publisher: 'p', topic: 'kill', qos: 1 }).start();
      await eventually('the stream is running', () => stream.log.acked > 500, 30_000);
      // Either of them has one of the two clients: they came one after the other.
      const [victim] = (await workersOf(node)) as [WorkerView];
      process.kill(victim.pid, 'SIGKILL');
      t.notOk(await isRefused(node.port), 'the port goes on');
      const isBack = async () => {
        const [{ pid, ready }] = (await workersOf(node)) as [WorkerView];
        return ready && pid !== victim.pid;
      };
      await eventually('it is back', isBack, 30_000);
      await Promise.all([listening.connected(), sending.connected()]);
      const { acked } = stream.log;
      await eventually('the stream goes on', () => stream.log.acked > acked + 500, 30_000);
      const log = await stream.finish();
      const verdict = await awaitDelivery(subscriber, [log], {}, 60_000);
      t.same([verdict.lost, verdict.unknown, verdict.disordered], [[], [], []]);
      t.ok(publisher.connections.length + subscriber.connections.length > 2, 'somebody was on them');
      t.equal(await node.metric('swarmq_worker_deaths_total'), 1);
      await eventually('one line', () => node.log.split('a worker died: it is started again').length === 2);
      for (const client of [listening, sending]) client.stop();
    },
  );

  await t.test(
    'a worker that stands still is passed over; when it dies, another has what was on its way',
    async (t) => {
      await untilEmpty(node);
      const [first] = (await workersOf(node)) as [WorkerView];
      process.kill(first.pid, 'SIGSTOP');
      const clients = Array.from({ length: 6 }, (_, i) => new MqttClient(t, { clientId: `passed-${i}` }));
      const all = Promise.all(clients.map((client) => client.connect(node.port, { withinMs: 30_000 })));
      await eventually('all but the one on its way', () => clients.filter((c) => c.isConnected).length === 5);
      const answer = async () => JSON.parse((await node.admin('/readyz')).body);
      await eventually(
        'it is told',
        async () => (await answer()).reasons[0] === 'machine-1: it does not answer',
      );
      t.match(await answer(), { ready: true, state: 'degraded' });
      process.kill(first.pid, 'SIGKILL');
      t.equal((await all).length, 6, 'the one, too, by its first connection');
      await eventually('all workers are ready', async () => (await answer()).state === 'ready', 30_000);
    },
  );

  await t.test('SIGHUP: all read the certificates again', async (t) => {
    process.kill(node.pid, 'SIGHUP');
    await eventually('both have', () => node.log.split('reading the certificates').length === 3);
    t.ok(node.isRunning);
  });

  await t.test('SIGTERM: all end cleanly', async (t) => {
    const pids = (await workersOf(node)).map(({ pid }) => pid);
    await connected(t, node.port, 'drained');
    t.equal(await node.stop(), 0);
    t.notOk(pids.some(isAlive), 'no worker is left');
    t.ok(await isRefused(node.port));
    await eventually('both went through their end', () => node.log.split('"state":"stopped"').length === 3);
  });
});

t.test('port 0, and the parent killed: all share the port that was picked, and none is left', async (t) => {
  const args = ['--port', '0', '--ws-port', '0', '--workers', '2'];
  const node = await startNode(t, { redis: redis.url, name: 'free', args });
  const port = portOf(node.readyLine, 'tcp=mqtt://0.0.0.0') as number;
  t.not(portOf(node.readyLine, 'ws=ws://0.0.0.0'), port);
  for (const name of ['a', 'b']) await connected(t, port, name);
  t.same(
    await eventually('both', async () => {
      const counts = (await workersOf(node)).map(({ connections }) => connections);
      return counts.includes(0) ? undefined : counts;
    }),
    [1, 1],
  );
  const pids = (await workersOf(node)).map(({ pid }) => pid);
  await node.sigkill();
  t.ok(await isRefused(port), 'nobody but the parent held the port');
  await eventually('the workers have ended', () => !pids.some(isAlive), 15_000);
});

t.test('while Redis is away the admin port tells it, and a signal ends the start', async (t) => {
  const [adminPort, nowhere] = [await freePort(), await freePort()];
  const args = ['--admin-port', String(adminPort), '--workers', '2'];
  const starting = startNode(t, { redis: `redis://127.0.0.1:${nowhere}`, name: 'early', args });
  const failed = t.rejects(starting, /ended with 0/);
  const page = async (path: string) => fetch(`http://127.0.0.1:${adminPort}${path}`);
  const answer = await eventually(
    'it is told',
    async () => {
      const text = await (await page('/readyz')).text();
      return text.includes('early-2: the store is not available') ? text : '';
    },
    30_000,
  );
  t.match(JSON.parse(answer), { ready: false, state: 'starting' });
  const { workers } = (await (await page('/')).json()) as { workers: WorkerView[] };
  const [parent] =
    /PPid:\s+(\d+)/.exec(readFileSync(`/proc/${workers[0]?.pid}/status`, 'utf8'))?.slice(1) ?? [];
  process.kill(Number(parent), 'SIGTERM');
  await failed;
  await eventually('the workers have ended', () => !workers.some(({ pid }) => isAlive(pid)));
});

t.test('a worker that cannot start: exit code 1 and its reason', async (t) => {
  const args = ['start', '--workers', '2', '--redis', redis.url, '--port', '0', '--admin-port', 'off'];
  const environment = {
    SWARMQ_LISTENERS__S__TYPE: 'tls',
    SWARMQ_LISTENERS__S__PORT: '0',
    SWARMQ_LISTENERS__S__TLS__CERT: '/nowhere.crt',
    SWARMQ_LISTENERS__S__TLS__KEY: '/nowhere.key',
  };
  const { code, stdout, stderr } = runSwarmq([...args, '--ws-port', 'off'], environment);
  t.same([code, stdout], [1, '']);
  t.match(stderr, /certificate \/nowhere.crt: ENOENT.*SWARMQ_ERR_LISTEN/);
  t.match(
    stderr,
    /a worker cannot be started: node-\d ended while starting \(exit code 1\) \(SWARMQ_ERR_WORKER_START\)/,
  );
});

t.test('without a shared store: a configuration error', async (t) => {
  const reason = '--workers: workers: 2 needs redis.url: the embedded store serves one process';
  t.match(runSwarmq(['start', '--workers', '2']), { code: 3, stdout: '', stderr: reason });
});
