// What keeps a node from starting, or makes it wait: a configuration that does not load, a Redis that does not fit, a Redis
// that is not there yet.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { runSwarmq } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { freePort, temporaryFolder } from '../helpers/owner.ts';
import { RedisServer, startRedis } from '../helpers/redis-server.ts';
import { SwarmqNode } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

t.test('a configuration that does not load', async (t) => {
  const file = join(temporaryFolder(t, 'config'), 'swarmq.yaml');
  const cases: [yaml: string, wanted: RegExp][] = [
    ['limits:\n  maxPaketSize: 1MB\n', /swarmq\.yaml:2: limits\.maxPaketSize: .*maxPacketSize/],
    [
      'limits:\n  maxQueuedMessages: lots\n',
      /swarmq\.yaml:2: limits\.maxQueuedMessages: must be a whole number/,
    ],
    ['durability: maybe\n', /swarmq\.yaml:1: durability: must be written/],
    ['listeners:\n  tls:\n    type: tls\n', /listeners\.tls/],
    ['redis:\n  url: http://h\n', /swarmq\.yaml:2: redis\.url: /],
    ['a: [1', /swarmq\.yaml:1: not valid YAML/],
  ];
  for (const [yaml, wanted] of cases) {
    writeFileSync(file, yaml);
    for (const command of ['start', 'check-config']) {
      const words = command === 'start' ? ['start', '--config', file] : ['check-config', file];
      const { code, stdout, stderr } = runSwarmq(words);
      t.equal(code, 3, `${command}: exit code`);
      t.match(stderr, wanted, `${command}: key, line and reason`);
      t.equal(stdout, '', 'nothing on standard output');
      t.notMatch(stderr, /\n\s+at /, 'no stack');
    }
  }
  const missing = runSwarmq(['start', '--config', join(file, 'none.yaml')]);
  t.equal(missing.code, 3);
  t.match(missing.stderr, /none\.yaml/);
  const variable = runSwarmq(['start'], { SWARMQ_LIMITS__MAX_TOPIC_LEVELS: 'x' });
  t.equal(variable.code, 3);
  t.match(variable.stderr, /SWARMQ_LIMITS__MAX_TOPIC_LEVELS: limits\.maxTopicLevels: /);
});

t.test('a Redis that evicts is refused', async (t) => {
  const redis = await startRedis(t, { config: { 'maxmemory-policy': 'allkeys-lru' } });
  const args = ['start', '--redis', redis.url, '--port', '0', '--ws-port', 'off', '--admin-port', '0'];
  const { code, stdout, stderr } = runSwarmq(args);
  t.equal(code, 1);
  t.equal(stdout, '');
  const sentences = stderr.split('\n').filter((line) => line.startsWith('swarmq: '));
  t.equal(sentences.length, 1, 'one sentence');
  t.match(sentences[0], /maxmemory-policy is allkeys-lru: .*set it to noeviction/);
  t.notMatch(stderr, /\n\s+at /, 'no stack');
});

t.test('a directory that another node uses, and a port that is taken', async (t) => {
  const folder = temporaryFolder(t, 'data');
  const first = new SwarmqNode(await freePort(), folder, {});
  t.teardown(() => first.sigkill());
  await first.start();
  const data = ['--data', join(folder, 'data'), '--ws-port', 'off', '--admin-port', '0'];
  const locked = runSwarmq(['start', '--port', '0', ...data]);
  t.equal(locked.code, 1);
  t.match(locked.stderr, /SWARMQ_ERR_STORE_LOCKED/);
  const other = ['--data', join(folder, 'other'), '--ws-port', 'off', '--admin-port', '0'];
  const taken = runSwarmq(['start', '--port', String(first.port), ...other]);
  t.equal(taken.code, 1);
  t.match(taken.stderr, /SWARMQ_ERR_LISTEN/);
  t.ok(first.isRunning);
});

t.test('a Redis that cannot be reached is waited for', async (t) => {
  // What was acknowledged is there behind the SIGKILL below, also where the disk is slow.
  const kept = { appendonly: true, appendfsync: 'always' } as const;
  const redis = new RedisServer(await freePort(), temporaryFolder(t, 'redis'), kept);
  t.teardown(() => redis.kill());
  const folder = temporaryFolder(t, 'node');
  const adminPort = await freePort();
  const args = ['--admin-port', String(adminPort)];
  const node = new SwarmqNode(await freePort(), folder, { redis: redis.url, args, readyWithinMs: 60_000 });
  t.teardown(() => node.sigkill());
  const ready = node.start();
  const page = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`);
    return { status: answer.status, body: (await answer.json()) as { reasons?: string[]; state: string } };
  };
  await eventually('the admin port answers', () => page('/livez'));
  t.match(await page('/livez'), { status: 200, body: { alive: true } }, 'it must not be restarted for it');
  t.equal((await page('/readyz')).status, 503);
  await eventually('the reason names the address', async () =>
    (await page('/readyz')).body.reasons?.join().includes('ECONNREFUSED'),
  );
  const linesOf = (word: RegExp) => node.log.split('\n').filter((line) => word.test(line)).length;
  const changes = () => [linesOf(/store cannot be used/), linesOf(/store can be used/)];
  // Many attempts have failed by the time of a few seconds; the log tells the change of state, not the attempts.
  await new Promise((resolve) => setTimeout(resolve, 3000));
  t.same(changes(), [1, 0], `one line: ${node.log}`);
  await redis.start();
  await ready;
  await eventually('ready', async () => (await page('/readyz')).status === 200);
  const told = (lines: [number, number]) =>
    eventually(`the log tells ${lines}`, () => changes().join() === lines.join());
  await told([1, 1]);
  const client = new MqttClient(t, { clientId: 'c', version: 5, clean: false });
  await client.connect(node.port);
  await client.subscribe('t', 1);
  await redis.kill();
  await eventually('not ready', async () => (await page('/readyz')).status === 503);
  t.ok(client.isConnected, 'its clients stay');
  await redis.start();
  await eventually('ready again', async () => (await page('/readyz')).status === 200);
  await told([2, 2]);
  await client.publish('t', 'x', { qos: 1 });
  await eventually('and serves', () => client.received.length === 1);
  t.equal(await node.stop(), 0);
});
