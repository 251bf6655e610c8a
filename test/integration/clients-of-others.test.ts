// Clients of others against a node as it is: mosquitto_pub, mosquitto_sub and mosquitto_rr, MQTT.js over TCP, TLS and
// WebSocket, Eclipse Paho for Python. Everybody needs a user name and a password, which stand in no log.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import mqtt from 'mqtt';
import t, { type Test } from 'tap';
import { makeKeys } from '../../src/auth/scram-keys.ts';
import { projectFile } from '../helpers/command-line.ts';
import { eventually } from '../helpers/eventually.ts';
import { freePort } from '../helpers/owner.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(180_000);

const USER = 'ann';
const PASSWORD = 'correct-horse';
const certificates = t.testdir({});
const ports = { tls: 0, ws: 0, wss: 0 };
let node: SwarmqNode;

t.before(async () => {
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ];
  const files = ['-keyout', 'server.key', '-out', 'server.crt', '-subj', '/CN=localhost'];
  execFileSync('openssl', [...args, ...files], { cwd: certificates, stdio: 'pipe' });
  for (const name of ['tls', 'ws', 'wss'] as const) ports[name] = await freePort();
  const file = (name: string) => join(certificates, name);
  const secure = `tls: { cert: ${file('server.crt')}, key: ${file('server.key')} }`;
  node = await startNode(t, {
    logLevel: 'debug',
    args: ['--ws-port', String(ports.ws)],
    config: `
listeners:
  tcp: { host: 127.0.0.1 }
  ws: { host: 127.0.0.1 }
  tls: { host: 127.0.0.1, port: ${ports.tls}, ${secure} }
  wss: { host: 127.0.0.1, port: ${ports.wss}, ${secure} }
auth:
  users:
    ${USER}:
      keys: ${await makeKeys(PASSWORD, Buffer.from('0123456789abcdef'), 4096)}
`,
  });
});

/** Runs a program; resolves with its exit code and output once it ends. */
function run(t: Test, command: string, args: string[]) {
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk) => {
      output += chunk;
    });
  }
  t.teardown(() => child.kill('SIGKILL'));
  const done = once(child, 'close').then(([code]) => ({ code: code as number, output }));
  return { done };
}

const credentials = ['-u', USER, '-P', PASSWORD];

/** Arguments of a mosquitto client. */
const common = (version: string) => [
  '-h',
  '127.0.0.1',
  '-p',
  String(node.port),
  '-V',
  version,
  ...credentials,
];

for (const version of ['311', '5']) {
  t.test(`mosquitto_pub and mosquitto_sub, -V ${version}`, async (t) => {
    const subacks = async () => (await node.metric('swarmq_packets_sent_total', 'type="suback"')) ?? 0;
    const before = await subacks();
    const subscriber = run(t, 'mosquitto_sub', [
      ...[...common(version), '-i', `sub-${version}`, '-t', 'm/#', '-q', '2', '-v', '-C', '5'],
    ]);
    await eventually('SUBACK', async () => (await subacks()) > before);
    const more = version === '5' ? ['-D', 'publish', 'user-property', 'k', 'v'] : [];
    for (const qos of ['0', '1', '2']) {
      const publish = [...common(version), '-t', `m/${qos}`, '-m', `q${qos}`, '-q', qos, ...more];
      t.equal((await run(t, 'mosquitto_pub', publish).done).code, 0, `QoS ${qos}`);
    }
    const many = ['--repeat', '2', '-t', 'm/r', '-m', 'again', '-q', '1'];
    t.equal((await run(t, 'mosquitto_pub', [...common(version), ...many]).done).code, 0);
    const { code, output } = await subscriber.done;
    t.equal(code, 0);
    for (const line of ['m/0 q0', 'm/1 q1', 'm/2 q2', 'm/r again']) t.match(output, line);
  });

  t.test(`mosquitto_pub with a wrong password, -V ${version}`, async (t) => {
    const args = ['-h', '127.0.0.1', '-p', String(node.port), '-V', version, '-u', USER, '-P', 'wrong'];
    const { code, output } = await run(t, 'mosquitto_pub', [...args, '-t', 'x', '-m', 'x']).done;
    t.not(code, 0);
    t.match(output, /not authori[sz]ed|bad user name or password/i);
  });

  t.test(`mosquitto_rr, -V ${version}`, async (t) => {
    const responder = await mqtt.connectAsync(`mqtt://127.0.0.1:${node.port}`, {
      username: USER,
      password: PASSWORD,
      protocolVersion: 5,
      clientId: `responder-${version}`,
    });
    t.teardown(() => responder.endAsync());
    await responder.subscribeAsync('rr/request', { qos: 1 });
    responder.on('message', (_topic, payload, packet) => {
      const { responseTopic = 'rr/response', correlationData } = packet.properties ?? {};
      const properties = correlationData === undefined ? {} : { correlationData };
      responder.publish(responseTopic, `answer to ${payload}`, { qos: 1, properties });
    });
    const request = ['-t', 'rr/request', '-e', 'rr/response', '-m', 'question', '-q', '1', '-W', '20'];
    const { code, output } = await run(t, 'mosquitto_rr', [...common(version), ...request]).done;
    t.equal(code, 0);
    t.equal(output, 'answer to question\n');
  });
}

for (const transport of ['mqtt', 'mqtts', 'ws', 'wss'] as const) {
  for (const protocolVersion of [4, 5] as const) {
    t.test(`MQTT.js by ${transport}, level ${protocolVersion}`, async (t) => {
      const port = { mqtt: node.port, mqtts: ports.tls, ws: ports.ws, wss: ports.wss }[transport];
      const path = transport.startsWith('ws') ? '/mqtt' : '';
      const client = await mqtt.connectAsync(`${transport}://127.0.0.1:${port}${path}`, {
        username: USER,
        password: PASSWORD,
        protocolVersion,
        rejectUnauthorized: false,
        reconnectPeriod: 0,
        clientId: `js-${transport}-${protocolVersion}`,
        ...(protocolVersion === 5 ? { properties: { topicAliasMaximum: 5 } } : {}),
      });
      t.teardown(() => client.endAsync(true));
      const got: string[] = [];
      client.on('message', (topic, payload, packet) => void got.push(`${topic} ${payload} ${packet.qos}`));
      await client.subscribeAsync(`js/${transport}/+`, { qos: 2 });
      for (const qos of [0, 1, 2] as const) {
        await client.publishAsync(`js/${transport}/a`, `m${qos}`, { qos });
        await client.publishAsync(`js/${transport}/b`, 'x'.repeat(50_000), { qos });
      }
      await eventually('all', () => got.length === 6);
      for (const qos of [0, 1, 2]) t.ok(got.includes(`js/${transport}/a m${qos} ${qos}`), `QoS ${qos}`);
      t.equal(
        got.filter((line) => line.startsWith(`js/${transport}/b xxx`)).length,
        3,
        'aliases are understood',
      );
    });
  }
}

t.test('MQTT.js with a wrong password, and without', async (t) => {
  const url = `mqtt://127.0.0.1:${node.port}`;
  for (const [protocolVersion, wrong, none] of [
    [4, 4, 5],
    [5, 0x86, 0x87],
  ] as const) {
    const options = { protocolVersion, reconnectPeriod: 0 };
    await t.rejects(mqtt.connectAsync(url, { ...options, username: USER, password: 'wrong' }), {
      code: wrong,
    });
    await t.rejects(mqtt.connectAsync(url, options), { code: none });
  }
});

/** A Python that has Paho; undefined where there is none. */
const python = ['python3', '/usr/bin/python3'].find(
  (program) => spawnSync(program, ['-c', 'import paho.mqtt.client']).status === 0,
);

const isMissing = python === undefined && 'no python3-paho-mqtt here';
t.test('Eclipse Paho for Python', { skip: isMissing }, async (t) => {
  const script = projectFile('test/helpers/paho-client.py');
  t.ok(existsSync(script));
  for (const version of ['311', '5']) {
    const { code, output } = await run(t, python as string, [
      script,
      String(node.port),
      version,
      USER,
      PASSWORD,
    ]).done;
    t.equal(code, 0, output);
    const lines = output.trim().split('\n');
    const pairs =
      version === '5'
        ? [
            ['b', '1'],
            ['a', '2'],
            ['b', '3'],
          ]
        : null;
    const expected = [0, 1, 2].map((qos) => [`paho/${qos}`, `m${qos}`, qos, pairs]);
    t.same(lines.map((line) => JSON.parse(line)).sort(), expected, `MQTT ${version}`);
  }
});

t.test('no password stands in the log of all this', async (t) => {
  t.match(node.log, 'js-wss-5', 'which tells who came');
  t.notMatch(node.log, PASSWORD);
});
