// `swarmq start` as a process: the one line on standard output, the exit codes, and what ends it.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { cleanEnvironment, swarmqCommand } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { endChild, type Owner, spawnOwned, temporaryFolder } from '../helpers/owner.ts';

interface Running {
  child: ChildProcess;
  stdout(): string;
  stderr(): string;
  exitCode(): Promise<number | null>;
}

function start(owner: Owner, args: string[], env: Record<string, string> = {}): Running {
  const [program, ...first] = swarmqCommand() as [string, ...string[]];
  const child = spawnOwned(program, [...first, 'start', ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: cleanEnvironment(env),
  });
  owner.teardown(() => endChild(child, 'SIGKILL'));
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk;
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, stdout: () => text.stdout, stderr: () => text.stderr, exitCode: () => ended };
}

const freePorts = ['--port', '0', '--ws-port', '0', '--admin-port', '0'];

t.test('ready: one line with the ports; SIGTERM and SIGINT end it with 0', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const node = start(t, [...freePorts, '--node', 'alpha', '--data', temporaryFolder(t, 'start')]);
    await eventually('the line', () => node.stdout().endsWith('\n'), 30_000);
    const pattern =
      /^swarmq is ready: alpha tcp=mqtt:\/\/0\.0\.0\.0:(\d+) ws=ws:\/\/0\.0\.0\.0:(\d+)\/mqtt admin=http:\/\/127\.0\.0\.1:(\d+)\n$/;
    const ports = pattern.exec(node.stdout())?.slice(1).map(Number) ?? [];
    t.equal(ports.length, 3, node.stdout());
    t.equal(new Set(ports).size, 3);
    t.equal((await fetch(`http://127.0.0.1:${ports[2]}/livez`)).status, 200);
    node.child.kill(signal);
    t.equal(await node.exitCode(), 0, `${signal}: ${node.stderr().slice(-500)}`);
    t.match(node.stdout(), pattern, 'nothing else on standard output');
  }
});

t.test('off leaves a listener out', async (t) => {
  const node = start(t, ['--port', '0', '--ws-port', 'off', '--admin-port', 'off'], {
    SWARMQ_DATA__MEMORY: 'true',
  });
  await eventually('the line', () => node.stdout().endsWith('\n'), 30_000);
  t.match(node.stdout(), /^swarmq is ready: node tcp=mqtt:\/\/0\.0\.0\.0:\d+\n$/);
});

t.test('a port that is taken: exit code 1 and one sentence', async (t) => {
  const taken = createServer().listen(0, '0.0.0.0');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const { port } = taken.address() as AddressInfo;
  const node = start(t, ['--port', String(port), '--ws-port', 'off', '--admin-port', 'off'], {
    SWARMQ_DATA__MEMORY: 'true',
  });
  t.equal(await node.exitCode(), 1);
  t.equal(node.stdout(), '');
  t.match(node.stderr(), new RegExp(`swarmq: a listener cannot be opened: .*${port}.*SWARMQ_ERR_LISTEN`));
});

t.test('--stop-at-input-end: the end of standard input ends it', async (t) => {
  const node = start(t, [
    ...freePorts,
    '--stop-at-input-end',
    '--data',
    join(temporaryFolder(t, 'start'), 'x'),
  ]);
  await eventually('the line', () => node.stdout().endsWith('\n'), 30_000);
  node.child.stdin?.end();
  t.equal(await node.exitCode(), 0);
});
