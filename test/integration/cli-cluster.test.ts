// `swarmq cluster`: the lines to copy work, a killed node comes back on its port, and nothing is left behind however
// the command ends.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { cleanEnvironment, swarmqCommand } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { endChild, isAlive, type Owner, spawnOwned, temporaryFolder } from '../helpers/owner.ts';

t.setTimeout(120_000);
const shell = (line: string) => promisify(execFile)('/bin/sh', ['-c', line]);

async function startCluster(owner: Owner, args: string[] = [], env: Record<string, string> = {}) {
  const [program, ...first] = swarmqCommand() as [string, ...string[]];
  const child = spawnOwned(program, [...first, 'cluster', '--base-port', '0', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: cleanEnvironment(env),
  });
  owner.teardown(() => endChild(child, 'SIGTERM', 15_000));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  await eventually('the cluster is up', () => text.includes('Ctrl-C') || child.exitCode !== null, 60_000);
  if (child.exitCode !== null) throw new Error(text);
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  return {
    child,
    exited,
    text: () => text,
    line: (part: string) => text.split('\n').find((line) => line.includes(part)) ?? '',
    folder: /Logs are in (\S+)\./.exec(text)?.[1] as string,
    pids: () => [...text.matchAll(/pid (\d+)/g)].map((match) => Number(match[1])),
  };
}

t.test('three nodes; the two lines to copy; a killed node returns; Ctrl-C ends all', async (t) => {
  const cluster = await startCluster(t);
  t.equal(cluster.pids().length, 4, 'Redis and three nodes');
  for (const pid of cluster.pids()) t.ok(isAlive(pid), `${pid}`);

  // -E ends the subscriber once its session has the subscription: the message waits for it in the store.
  const subscribe = cluster.line('mosquitto_sub').trim();
  t.match(subscribe, /^mosquitto_sub .* -c .*-i .*-q 1/);
  await shell(`${subscribe} -E`);
  await shell(cluster.line('mosquitto_pub'));
  t.match((await shell(`${subscribe} -C 1 -W 20`)).stdout, 'demo/hello hello');

  const before = cluster.line('node-2: mqtt');
  const [, address, pid] = /^node-2: (mqtt .*), pid (\d+)$/.exec(before) ?? [];
  process.kill(Number(pid), 'SIGKILL');
  await eventually('it is shown', () => cluster.text().includes('node-2 died (SIGKILL); starting it again'));
  await eventually('it is back', () => cluster.line('(back)'), 30_000);
  t.match(cluster.line('(back)'), `node-2: ${address}, pid `, 'on its ports');

  const pids = cluster.pids().filter((other) => other !== Number(pid));
  t.ok(existsSync(cluster.folder));
  cluster.child.kill('SIGINT');
  t.equal(await cluster.exited, 0);
  for (const other of pids) t.notOk(isAlive(other), `${other} has ended`);
  t.notOk(existsSync(cluster.folder), 'its folder is gone');
});

/** An MQTT port of a cluster of one node whose admin port is free too. */
async function freeBasePort(): Promise<number> {
  for (;;) {
    const servers = [createServer().listen(0, '127.0.0.1')];
    await once(servers[0]!, 'listening');
    const { port } = servers[0]!.address() as AddressInfo;
    const other = createServer();
    const isFree = await new Promise((resolve) => {
      other.once('error', () => resolve(false));
      other.listen(adminPortOf(port), '127.0.0.1', () => resolve(true));
    });
    for (const server of [...servers, other]) server.close();
    if (isFree) return port;
  }
}
const adminPortOf = (port: number) => (port + 16_200 > 65_535 ? port - 16_200 : port + 16_200);

t.test('--base-port moves the admin ports too: two clusters side by side', async (t) => {
  for (let count = 0; count < 2; count++) {
    const port = await freeBasePort();
    const cluster = await startCluster(t, ['--base-port', String(port), '--nodes', '1']);
    t.match(
      cluster.line('node-1: mqtt'),
      `127.0.0.1:${port}, admin http://127.0.0.1:${adminPortOf(port)}, pid`,
    );
  }
});

t.test('--no-restart leaves a dead node dead; a killed command leaves no orphans', async (t) => {
  const cluster = await startCluster(t, ['--nodes', '2', '--no-restart']);
  const pids = cluster.pids();
  t.equal(pids.length, 3);
  process.kill(pids[2] as number, 'SIGKILL');
  await eventually('it is shown', () => cluster.text().includes('node-2 died (SIGKILL); it stays down'));
  cluster.child.kill('SIGKILL');
  await eventually('all have ended', () => !pids.some(isAlive), 15_000);
});

t.test('nodes listen on the loopback address only, whatever the configuration says', async (t) => {
  const config = join(temporaryFolder(t, 'cluster'), 'swarmq.yaml');
  writeFileSync(
    config,
    'listeners:\n  Back-End: { type: tcp, port: 0 }\n  web: { type: ws, port: 0 }\nadmin: { host: 0.0.0.0 }\n',
  );
  const wide = { SWARMQ_LISTENERS__tcp__HOST: '0.0.0.0', SWARMQ_LISTENERS__WEB__HOST: '::' };
  for (const [args, env, names] of [
    [[], {}, ['tcp', 'admin']],
    [['--config', config], wide, ['Back-End', 'web', 'tcp', 'admin']],
  ] as const) {
    const cluster = await startCluster(t, ['--nodes', '1', ...args], env);
    const log = readFileSync(join(cluster.folder, 'node-1.log'), 'utf8');
    const ready = log.split('\n').find((line) => line.startsWith('swarmq is ready')) ?? '';
    const open = [...ready.matchAll(/(\S+)=\w+:\/\/(\S+):(\d+)/g)].map(([, ...words]) => words);
    t.same(new Set(open.map(([name]) => name)), new Set(names));
    for (const [name, host, port] of open) {
      t.equal(host, '127.0.0.1', name);
      const elsewhere = connect({ host: '127.0.0.2', port: Number(port) });
      await t.rejects(once(elsewhere, 'connect'), { code: 'ECONNREFUSED' }, `${name} is nowhere else`);
    }
    await endChild(cluster.child, 'SIGTERM', 15_000);
  }
});

t.test('a node that cannot start ends the cluster with its reason', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const child = spawnOwned(
    swarmqCommand()[0] as string,
    [...swarmqCommand().slice(1), 'cluster', '--nodes', '1', '--base-port', String(port)],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: cleanEnvironment(),
    },
  );
  t.teardown(() => endChild(child, 'SIGTERM', 15_000));
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  const [code] = await once(child, 'close');
  t.equal(code, 1);
  t.match(
    text,
    /the local cluster cannot be started: node-\d ended while starting \(exit code 1\)\n.*SWARMQ_ERR_LISTEN/s,
  );
});
