// The layers of the configuration, and errors that name key, place and reason.

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { compileConfig } from '../../src/config/compile.ts';
import { effectiveConfig } from '../../src/config/document.ts';
import { variableOf } from '../../src/config/env.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ConfigError, describeProblem } from '../../src/config/problem.ts';
import { allKeys } from '../../src/config/tree.ts';

const folder = t.testdir({ 'pw.txt': 'from-file\n' });

function load(
  yaml: string | undefined,
  environment: Record<string, string> = {},
  flags: [string, string][] = [],
) {
  const file = yaml === undefined ? undefined : join(folder, 'swarmq.yaml');
  if (file && yaml !== undefined) writeFileSync(file, yaml);
  return loadConfig({
    file,
    environment,
    flags: flags.map(([path, value]) => ({ flag: `--${path}`, path: path.split('.'), value })),
  });
}

function problemsOf(...args: Parameters<typeof load>): string[] {
  try {
    load(...args);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(describeProblem);
  }
}

t.test('without anything, the defaults, with units in the names', async (t) => {
  const { config } = load(undefined);
  t.strictSame(config, compileConfig());
  t.match(config, {
    data: { dir: './data', memory: false },
    redis: null,
    durability: { level: 'written', replicas: 0, timeoutMs: 5000 },
    admin: { host: '127.0.0.1', port: 18083 },
    limits: { maxPacketSizeBytes: 2 * 1024 * 1024, maxSessionExpiryMs: Number.POSITIVE_INFINITY },
    cluster: { leaseMs: 3000, renewEveryMs: 500 },
    log: { level: 'info' },
  });
  t.strictSame(
    config.listeners.map(({ name, type, host, port }) => [name, type, host, port]),
    [
      ['tcp', 'tcp', '0.0.0.0', 1883],
      ['ws', 'ws', '0.0.0.0', 8083],
    ],
  );
});

t.test('an empty file, and keys with nothing behind them, are the defaults', async (t) => {
  for (const yaml of ['', '# nothing\n', 'limits:\nredis:\n  url:\nlisteners:\n']) {
    t.strictSame(load(yaml).config, compileConfig());
  }
});

t.test('defaults < file < environment < flags', async (t) => {
  const yaml = 'limits:\n  maxPacketSize: 1MB\n';
  const variable = { SWARMQ_LIMITS__MAX_PACKET_SIZE: '3MB' };
  const bytes = (...args: Parameters<typeof load>) =>
    load(...args).config.limits.maxPacketSizeBytes / 1024 ** 2;
  t.equal(bytes(undefined), 2);
  t.equal(bytes(yaml), 1);
  t.equal(bytes(yaml, variable), 3);
  t.equal(bytes(yaml, variable, [['limits.maxPacketSize', '4MB']]), 4);
});

t.test('every option has a variable, however its name is written', async (t) => {
  t.equal(variableOf('limits.maxPacketSize'), 'SWARMQ_LIMITS__MAX_PACKET_SIZE');
  const variables = new Set<string>();
  for (const key of allKeys()) {
    const variable = variableOf(key.replace('<name>', 'tcp'));
    t.notOk(variables.has(variable), `${variable} is of one option only`);
    variables.add(variable);
    const problems = problemsOf(undefined, { [variable]: '\u0001' });
    t.notMatch(problems.join(), 'no such option', variable);
  }
  t.equal(load(undefined, { SWARMQ_LIMITS__MAXTOPICLEVELS: '7' }).config.limits.maxTopicLevels, 7);
  t.equal(load(undefined, { SWARMQ_NODE__NAME: 'a1' }).config.node.name, 'a1');
});

t.test(
  'listeners: those of the file replace the default ones; environment and flags build on them',
  async (t) => {
    const names = (...args: Parameters<typeof load>) =>
      load(...args).config.listeners.map(({ name, type, port }) => `${name} ${type} ${port}`);
    const own = 'listeners:\n  plant-a:\n    type: tcp\n    port: 2000\n';
    t.strictSame(names(own), ['plant-a tcp 2000']);
    t.strictSame(names(own, { SWARMQ_LISTENERS__PLANT_A__PORT: '2001' }), ['plant-a tcp 2001']);
    t.strictSame(names(own, {}, [['listeners.tcp.port', '1']]), ['plant-a tcp 2000', 'tcp tcp 1']);
    t.strictSame(names(undefined, { SWARMQ_LISTENERS__TCP__PORT: '5' }), ['tcp tcp 5', 'ws ws 8083']);
    t.strictSame(names(undefined, {}, [['listeners.ws.port', 'off']]), ['tcp tcp 1883']);
    t.strictSame(names('listeners:\n  ws:\n'), ['ws ws 8083']);
    t.strictSame(
      names(undefined, {
        SWARMQ_LISTENERS__TCP__TRUSTED_PROXIES: '10.0.0.0/8, ::1',
        SWARMQ_LISTENERS__TCP__PROXY_PROTOCOL: 'any',
      }),
      ['tcp tcp 1883', 'ws ws 8083'],
    );
  },
);

t.test('workers: one, a number, or as many as there are cores', async (t) => {
  const redis = 'redis:\n  url: redis://h\n';
  const workers = (...args: Parameters<typeof load>) => load(...args).config.workers;
  t.equal(workers(undefined), 1);
  t.equal(workers(`${redis}workers: 3`), 3);
  t.equal(workers(`${redis}workers: auto`), Math.min(availableParallelism(), 64));
  t.equal(workers(redis, { SWARMQ_WORKERS: '4' }), 4);
  t.equal(workers(redis, { SWARMQ_WORKERS: '4' }, [['workers', '5']]), 5);
  t.match(effectiveConfig(load(redis, { SWARMQ_WORKERS: 'auto' }).tree), 'workers: auto # SWARMQ_WORKERS');
  t.equal(workers('workers: 1'), 1, 'one needs no Redis');
});

t.test('secrets: from the environment, from a file, never printed', async (t) => {
  const { config, tree } = load(undefined, {
    SWARMQ_REDIS__URL: 'redis://user:in-url@h',
    SWARMQ_REDIS__PASSWORD_FILE: join(folder, 'pw.txt'),
    SWARMQ_REDIS__SENTINEL_PASSWORD: 'hush',
  });
  t.equal(config.redis?.password, 'from-file');
  t.equal(config.redis?.sentinelPassword, 'hush');
  const printed = effectiveConfig(tree);
  for (const word of ['in-url', 'from-file', 'hush']) t.notMatch(printed, word);
  t.match(printed, 'url: redis://user:********@h # SWARMQ_REDIS__URL');
});

t.test('users: named by entry or by name, keys by the environment or a file, never printed', async (t) => {
  const keys = (letter: string) =>
    `SCRAM-SHA-256$4096:${'s'.repeat(22)}==$${letter.repeat(43)}=:${letter.repeat(43)}=`;
  const yaml = `auth:\n  users:\n    ann:\n      keys: ${keys('A')}\n    b:\n      username: "Bob, the 2nd"\n`;
  const { config, tree } = load(yaml, { SWARMQ_AUTH__USERS__B__KEYS: keys('B') });
  t.strictSame(config.auth, {
    allowAnonymous: false,
    users: [
      { username: 'ann', keys: keys('A') },
      { username: 'Bob, the 2nd', keys: keys('B') },
    ],
  });
  const printed = effectiveConfig(tree);
  t.notMatch(printed, /AAAA|BBBB/);
  t.match(printed, 'keys: "********" # swarmq.yaml:4');
  for (const [fault, reason] of [
    ['ann:\n      keys: secret', /auth.users.ann.keys: must be a line that `swarmq hash-password` printed/],
    ['ann:\n      username: x', /auth.users.ann.keys: is needed/],
    [
      `ann:\n      keys: ${keys('A')}\n    b:\n      username: ann\n      keys: ${keys('A')}`,
      /auth.users.b: there is a user ann already/,
    ],
  ] as const) {
    t.throws(() => load(`auth:\n  users:\n    ${fault}\n`), { message: reason });
  }
  t.throws(() => load('connection:\n  redirect: permanent\n'), {
    message: /connection.redirect: needs connection.serverReference/,
  });
});

t.test('the effective configuration loads to the same', async (t) => {
  const yaml =
    'limits:\n  maxQueueTime: never\nlisteners:\n  tcp:\n    port: 0\n    trustedProxies: [10.0.0.1]\n';
  const first = load(yaml, { SWARMQ_LOG__LEVEL: 'warn' });
  t.strictSame(load(effectiveConfig(first.tree)).config, first.config);
});

t.test('all problems at once, each with its place', async (t) => {
  const yaml = [
    'limits:',
    '  maxPaketSize: 1MB',
    '  maxInflightMessages: many',
    'maxQueuedBytes: 3',
    'listeners:',
    '  front:',
    '    port: 99999',
    'whatever: 1',
  ].join('\n');
  const problems = problemsOf(yaml, { SWARMQ_LIMITS__MAX_TOPIC_LEVELS: 'x', SWARMQ_DURABILTY: 'fsync' }, [
    ['cluster.lease', '3'],
  ]);
  for (const line of [
    'swarmq.yaml:2: limits.maxPaketSize: unknown key; the nearest known key is maxPacketSize',
    'swarmq.yaml:3: limits.maxInflightMessages: must be a whole number from 1 to 16384',
    'swarmq.yaml:4: maxQueuedBytes: unknown key; there is limits.maxQueuedBytes',
    'swarmq.yaml:7: listeners.front.port: must be a port from 0 to 65535 (0 picks a free one), or off',
    'SWARMQ_LIMITS__MAX_TOPIC_LEVELS: limits.maxTopicLevels: must be a whole number from 2 to 65535',
    'SWARMQ_DURABILTY: no such option; the nearest is SWARMQ_DURABILITY',
    '--cluster.lease: cluster.lease: must be a duration such as 3s (units ms, s, m, h, d)',
  ]) {
    t.ok(problems.includes(line), line);
  }
  t.match(
    problems.find((line) => line.includes('whatever')),
    /^swarmq.yaml:8: whatever: unknown key; known here: node/,
  );
  t.equal(problems.length, 8);
});

t.test('one thing wrong', async (t) => {
  const cases: [string, RegExp][] = [
    ['a: [1', /^swarmq.yaml:1: not valid YAML/],
    ['node:\n  name: a\n  name: b', /^swarmq.yaml:3: not valid YAML/],
    ['- 1\n', /^swarmq.yaml:1: must be a section/],
    ['limits: 5', /^swarmq.yaml:1: limits: must be a section/],
    ['limits:\n  maxTopicLevels:\n    x: 1', /^swarmq.yaml:2: limits.maxTopicLevels: must be a single value/],
    ['node:\n  name: "a b"', /swarmq.yaml:2: node.name: must have letters/],
    ['workers: 2', /swarmq.yaml:1: workers: 2 needs redis.url: the embedded store serves one process/],
    ['workers: auto', /swarmq.yaml:1: workers: auto needs redis.url/],
    ['workers: 0', /swarmq.yaml:1: workers: must be a whole number from 1 to 64, or auto/],
    ['workers: many', /swarmq.yaml:1: workers: must be a whole number from 1 to 64, or auto/],
    ['durability: replicas', /swarmq.yaml:1: durability: must be written, replicas:N, fsync or fsync:N/],
    ['durability: fsync', /swarmq.yaml:1: durability: fsync needs redis.url/],
    ['redis:\n  url: mysql://x', /swarmq.yaml:2: redis.url: must begin with/],
    [
      'redis:\n  url: redis://x\ndata:\n  memory: true',
      /swarmq.yaml:4: data.memory: is of the embedded store/,
    ],
    ['listeners:\n  "a b":\n    type: tcp', /swarmq.yaml:2: listeners.a b: a name has letters/],
    ['listeners:\n  __proto__:\n    type: tcp', /swarmq.yaml:2: listeners.__proto__: cannot be a name/],
    ['listeners:\n  foo:\n    port: 1', /swarmq.yaml:2: listeners.foo.type: is needed: tcp, tls, ws, wss/],
    [
      'listeners:\n  tls:\n    port: 1',
      /swarmq.yaml:2: listeners.tls.tls: a listener of type tls needs cert/,
    ],
    [
      'listeners:\n  tcp:\n    tls: {cert: a}',
      /swarmq.yaml:3: listeners.tcp.tls: belongs to a listener of type/,
    ],
    ['listeners:\n  tcp:\n    proxyProtocol: v1', /swarmq.yaml:\d: listeners.tcp.trustedProxies: must name/],
    ['listeners:\n  tcp:\n    trustedProxies: [x]', /swarmq.yaml:3: .*"x" is not an address or a network/],
    ['listeners:\n  tcp:\n    trustedProxies: [1.2.3.4/40]', /is not an address or a network/],
    [
      'listeners:\n  a: {type: tcp, port: 9}\n  b: {type: tcp, port: 9}',
      /swarmq.yaml:3: listeners.b.port: .* taken/,
    ],
    ['listeners: {}\nadmin:\n  port: off', /swarmq.yaml:1: listeners: nothing would be opened/],
    ['cluster:\n  lease: 1s', /swarmq.yaml:2: cluster.lease: must be at least three times/],
    ['cluster:\n  lease: 1ms', /swarmq.yaml:2: cluster.lease: must be between 500ms and 5m/],
    ['limits:\n  maxConnectionBytes: 1MB', /swarmq.yaml:2: limits.maxConnectionBytes: must not be less/],
    ['limits:\n  maxPacketSize: 1GB', /swarmq.yaml:2: .* must be at least 1KB and at most 268435455/],
  ];
  for (const [yaml, expected] of cases) {
    const problems = problemsOf(yaml);
    t.equal(problems.length, 1, `${JSON.stringify(yaml)}: ${problems.join(' | ')}`);
    t.match(problems[0], expected);
  }
  t.match(problemsOf(undefined, { SWARMQ_CONFIG: '/nowhere/x.yaml' }), ['/nowhere/x.yaml: no such file']);
});

t.test('the environment: what is refused and what is passed over', async (t) => {
  const passedOver = {
    SWARMQ_PORT: 'tcp://10.0.0.1:1883',
    SWARMQ_PORT_1883_TCP_ADDR: '10.0.0.1',
    SWARMQ_SERVICE_HOST: '10.0.0.1',
    SWARMQ_HEADLESS_SERVICE_PORT_MQTT: '1883',
    OTHER: 'x',
  };
  t.strictSame(problemsOf(undefined, passedOver), []);
  const cases: [Record<string, string>, RegExp][] = [
    [{ SWARMQ_LIMITS__NOPE: '1' }, /^SWARMQ_LIMITS__NOPE: no such option/],
    [{ SWARMQ_LIMITS: '1' }, /^SWARMQ_LIMITS: no such option/],
    [{ SWARMQ_LISTENERS__TCP: '1' }, /no such option/],
    [{ SWARMQ_NODE__NAME__X: '1' }, /no such option/],
    [{ SWARMQ_NODE__NAME_FILE: '/etc/hostname' }, /only secrets may come from a file/],
    [{ SWARMQ_REDIS__PASSWORD_FILE: '/nowhere' }, /redis.password: cannot read \/nowhere \(ENOENT\)/],
    [{ SWARMQ_LIMITS__MAXTOPICLEVELS: '7', SWARMQ_LIMITS__MAX_TOPIC_LEVELS: '8' }, /sets it as well/],
  ];
  for (const [environment, expected] of cases) {
    const problems = problemsOf(undefined, environment);
    t.equal(problems.length, 1, problems.join(' | '));
    t.match(problems[0], expected);
  }
});
