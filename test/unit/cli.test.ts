// The command line by its exit codes and what it writes where.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { isPassword, parseKeys } from '../../src/auth/scram-keys.ts';
import { projectFile, runSwarmq } from '../helpers/command-line.ts';

const folder = t.testdir({
  'good.yaml': 'redis:\n  url: redis://u:hidden@127.0.0.1:1\nlimits:\n  maxTopicLevels: 9\n',
  'bad.yaml': 'limits:\n  maxTopicLevel: 9\n  maxPacketSize: huge\n',
});

t.test('help and version', async (t) => {
  const { version } = JSON.parse(readFileSync(projectFile('package.json'), 'utf8'));
  t.match(runSwarmq(['--version']), { code: 0, stdout: `${version}\n`, stderr: '' });
  t.match(runSwarmq(['start', '--version']), { code: 0, stdout: `${version}\n` });
  const help = runSwarmq(['--help']);
  t.equal(help.code, 0);
  for (const name of ['start', 'cluster', 'check-config', 'hash-password']) {
    t.match(help.stdout, `  ${name} `);
    t.match(runSwarmq([name, '--help']), {
      code: 0,
      stdout: new RegExp(`^Usage: swarmq ${name}`),
      stderr: '',
    });
  }
  t.strictSame(runSwarmq([]), help, 'no command prints the help');
  t.strictSame(runSwarmq(['help', 'cluster']), runSwarmq(['cluster', '--help']));
});

t.test('a wrong command line is exit code 2 and one sentence', async (t) => {
  const cases: [string[], string][] = [
    [['stat'], "unknown command 'stat'"],
    [['start', '--prot', '1883'], "Unknown option '--prot'"],
    [['start', '--port'], "Option '--port <value>' argument missing"],
    [['start', 'now'], "Unexpected argument 'now'"],
    [['check-config', 'a', 'b'], "unexpected argument 'b'"],
    [['worker', 'node-1'], 'a worker is started by swarmq start --workers N only'],
    [['hash-password', '--iterations', '1'], '--iterations is 1000 to 1000000'],
    [['cluster', '--nodes', '0'], "--nodes must be a number from 1 to 64, not '0'"],
    [['cluster', '--base-port', 'x'], "--base-port must be a number from 0 to 65533, not 'x'"],
  ];
  for (const [args, sentence] of cases) {
    const result = runSwarmq(args);
    t.equal(result.code, 2, args.join(' '));
    t.equal(result.stdout, '');
    t.match(result.stderr, sentence);
    t.match(result.stderr, "--help'");
  }
});

t.test('hash-password prints what the configuration takes, and never the password', async (t) => {
  const { code, stdout, stderr } = runSwarmq(
    ['hash-password', '--iterations', '2000'],
    {},
    'hush hush\nmore',
  );
  t.strictSame([code, stderr], [0, '']);
  t.match(stdout, /^SCRAM-SHA-256\$2000:[A-Za-z0-9+/]{22}==\$\S{44}:\S{44}\n$/);
  t.notMatch(stdout, 'hush');
  const keys = stdout.trim();
  t.equal(runSwarmq(['check-config'], { SWARMQ_AUTH__USERS__ANN__KEYS: keys }).code, 0);
  t.ok(await isPassword(parseKeys(keys), 'hush hush'));
  t.match(runSwarmq(['hash-password'], {}, '\n'), { code: 2, stderr: /no password on standard input/ });
});

t.test('a bad configuration is exit code 3 with every error', async (t) => {
  const errors = [
    'bad.yaml:2: limits.maxTopicLevel: unknown key; the nearest known key is maxTopicLevels',
    'bad.yaml:3: limits.maxPacketSize: must be a size such as 2MB',
  ];
  const file = join(folder, 'bad.yaml');
  for (const args of [
    ['check-config', file],
    ['start', '--config', file],
    ['cluster', '--config', file],
  ]) {
    const result = runSwarmq(args);
    t.equal(result.code, 3, args.join(' '));
    t.equal(result.stdout, '');
    for (const error of errors) t.match(result.stderr, error);
  }
  t.match(runSwarmq(['start', '--port', 'x']), {
    code: 3,
    stderr: /--port: listeners.tcp.port: must be a port/,
  });
  t.match(runSwarmq(['check-config', '--workers', '2']), {
    code: 3,
    stderr: '--workers: workers: 2 needs redis.url: the embedded store serves one process',
  });
  t.match(runSwarmq(['check-config', join(folder, 'none.yaml')]), {
    code: 3,
    stderr: /none.yaml: no such file/,
  });
});

t.test('check-config prints the effective configuration without secrets', async (t) => {
  const result = runSwarmq(['check-config', join(folder, 'good.yaml'), '--port', '7'], {
    SWARMQ_LIMITS__MAX_TOPIC_LENGTH: '2KB',
  });
  t.equal(result.code, 0, result.stderr);
  t.match(result.stdout, 'url: redis://u:********@127.0.0.1:1 # good.yaml:2');
  t.match(result.stdout, 'maxTopicLevels: 9 # good.yaml:4');
  t.match(result.stdout, 'maxTopicLength: 2KB # SWARMQ_LIMITS__MAX_TOPIC_LENGTH');
  t.match(result.stdout, /port: 7 # --port/);
  t.notMatch(result.stdout, 'hidden');
  const named = runSwarmq(['check-config'], { SWARMQ_CONFIG: join(folder, 'good.yaml') });
  t.match(named, { code: 0, stdout: /maxTopicLevels: 9/ });
});

t.test('a cluster without a Redis to be found says so', async (t) => {
  const result = runSwarmq(['cluster', '--base-port', '0'], { PATH: folder });
  t.equal(result.code, 1);
  t.match(result.stderr, 'neither redis-server nor valkey-server is on PATH');
});
