// Every kind of listener of one running node, with clients of others: MQTT.js and the mosquitto programs over TCP, TLS,
// WebSocket and secure WebSocket; and behind PROXY headers the client's own address in log and limits.

import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import mqtt from 'mqtt';
import t, { type Test } from 'tap';
import { createWebSocketStream, WebSocket } from 'ws';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { temporaryFolder } from '../helpers/owner.ts';
import { proxyV2 } from '../helpers/proxy-header.ts';
import { portOf, type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(120_000);
const run = promisify(execFile);

const folder = temporaryFolder(t, 'certificates');
const pem = (name: string) => join(folder, name);
let node: SwarmqNode;
const ports: Record<string, number> = {};

function openssl(...args: string[]): void {
  execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
}

/** An authority, and certificates that it has signed. */
function makeCertificates(): void {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-days',
    '2',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt',
    '-subj',
    '/CN=authority',
  );
  for (const [name, subject] of [
    ['server', '/CN=localhost'],
    ['client', '/CN=device-7'],
    ['renewed', '/CN=renewed'],
  ] as const) {
    openssl('req', ...key, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
    const signed = [
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '2',
      '-copy_extensions',
      'copy',
    ];
    openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.crt`);
  }
}

t.before(async () => {
  makeCertificates();
  const tls = `tls: { cert: ${pem('server.crt')}, key: ${pem('server.key')} }`;
  const strict = `tls: { cert: ${pem('server.crt')}, key: ${pem('server.key')}, ca: ${pem('ca.crt')}, requestCert: true }`;
  const proxy = 'proxyProtocol: any, trustedProxies: [127.0.0.1]';
  const config = `
listeners:
  tcp: { type: tcp }
  secure: { type: tls, port: 0, ${tls} }
  strict: { type: tls, port: 0, ${strict} }
  web: { type: ws, port: 0, path: /devices }
  secureweb: { type: wss, port: 0, ${tls} }
  proxied: { type: tcp, port: 0, ${proxy}, maxConnectionsPerSource: 2 }
  proxiedweb: { type: wss, port: 0, ${tls}, ${proxy} }
`;
  node = await startNode(t, { config, logLevel: 'debug' });
  for (const name of ['secure', 'strict', 'web', 'secureweb', 'proxied', 'proxiedweb']) {
    ports[name] = portOf(node.readyLine, ` ${name}=\\w+://0.0.0.0`) ?? 0;
  }
  ports.tcp = node.port;
});

const url = (name: string) =>
  ({
    tcp: `mqtt://localhost:${ports.tcp}`,
    secure: `mqtts://localhost:${ports.secure}`,
    strict: `mqtts://localhost:${ports.strict}`,
    web: `ws://localhost:${ports.web}/devices`,
    secureweb: `wss://localhost:${ports.secureweb}/mqtt`,
  })[name]!;

const trust = () => ({ ca: readFileSync(pem('ca.crt')) });
const own = () => ({
  ...trust(),
  cert: readFileSync(pem('client.crt')),
  key: readFileSync(pem('client.key')),
});

async function open(t: Test, name: string, options: mqtt.IClientOptions): Promise<mqtt.MqttClient> {
  const client = await mqtt.connectAsync(url(name), { reconnectPeriod: 0, family: 4, ...options } as never);
  t.teardown(() => client.end(true));
  return client;
}

t.test('MQTT.js over each of them: all hear each other', async (t) => {
  const names = ['tcp', 'secure', 'strict', 'web', 'secureweb'];
  for (const protocolVersion of [4, 5] as const) {
    const clients = await Promise.all(
      names.map((name) => {
        // MQTT.js takes a certificate as a wish for TLS.
        const secure = name === 'tcp' || name === 'web' ? {} : own();
        return open(t, name, { protocolVersion, clientId: `${name}-${protocolVersion}`, ...secure });
      }),
    );
    const got = clients.map(() => [] as string[]);
    for (const [index, client] of clients.entries()) {
      client.on('message', (_topic, payload) => got[index]!.push(payload.toString()));
      await client.subscribeAsync('all', { qos: 1 });
    }
    for (const [index, client] of clients.entries()) {
      await client.publishAsync('all', names[index]!, { qos: (index % 3) as 0 | 1 | 2 });
    }
    const large = 'x'.repeat(300_000);
    await clients[4]!.publishAsync('all', large, { qos: 1 });
    await eventually('all have all', () => got.every((one) => one.length === 6));
    for (const one of got) t.ok(names.every((name) => one.includes(name)) && one.includes(large));
    await Promise.all(clients.map((client) => client.endAsync()));
  }
});

t.test('TLS: a client must know the authority, and be known where that is asked for', async (t) => {
  await t.rejects(open(t, 'secure', {}), /self.signed|unable to verify|certificate/i);
  await t.rejects(open(t, 'strict', trust()));
  const client = await open(t, 'strict', { ...own(), clientId: 'known' });
  t.ok(client.connected);
  t.ok((await node.metric('swarmq_connections', 'strict'))! >= 1);
});

t.test('a wrong path, and a plain client on a secure port', async (t) => {
  const wrong = new WebSocket(`ws://localhost:${ports.web}/mqtt`, ['mqtt']);
  await t.rejects(once(wrong, 'open'), /40[04]/);
  const plain = connect({ port: ports.secure!, host: '127.0.0.1' });
  t.teardown(() => plain.destroy());
  let isClosed = false;
  plain.on('error', () => {});
  plain.on('close', () => {
    isClosed = true;
  });
  plain.write(Buffer.from('100d00044d5154540402000000015a', 'hex'));
  await eventually('it is closed', () => isClosed);
  await open(t, 'secure', trust());
  t.pass('others come in');
});

t.test('mosquitto_pub and mosquitto_sub over TCP and TLS', async (t) => {
  for (const [name, more] of [
    ['tcp', []],
    ['secure', ['--cafile', pem('ca.crt')]],
    ['strict', ['--cafile', pem('ca.crt'), '--cert', pem('client.crt'), '--key', pem('client.key')]],
  ] as const) {
    for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
      const topic = `mosquitto/${name}/${version}`;
      const where = ['-h', 'localhost', '-p', String(ports[name]), '-V', version, ...more];
      await run('mosquitto_pub', [...where, '-t', topic, '-m', 'kept', '-q', '1', '-r']);
      const { stdout } = await run('mosquitto_sub', [
        ...where,
        '-t',
        topic,
        '-q',
        '2',
        '-C',
        '1',
        '-W',
        '10',
        '-v',
      ]);
      t.equal(stdout, `${topic} kept\n`);
    }
  }
});

/** A client whose bytes begin with a PROXY header. */
function behindProxy(t: Test, clientId: string, header: Buffer): MqttClient {
  return new MqttClient(t, {
    clientId,
    version: 5,
    open: (port) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.write(header);
      return socket;
    },
  });
}

const v1 = (source: string) => Buffer.from(`PROXY TCP4 ${source} 10.0.0.1 4711 1883\r\n`);

const addressOf = (clientId: string) => {
  const line = node.log
    .split('\n')
    .find((one) => one.includes(`"clientId":"${clientId}"`) && one.includes('client connected'));
  return line === undefined ? undefined : (JSON.parse(line) as { remoteAddress: string }).remoteAddress;
};

t.test('PROXY v1 and v2: the real address in the log', async (t) => {
  for (const [clientId, header, address] of [
    ['one', v1('192.0.2.7'), '192.0.2.7'],
    ['two', proxyV2({ source: '192.0.2.8' }), '192.0.2.8'],
    ['six', proxyV2({ source: '2001:db8::7', destination: '2001:db8::1' }), '2001:db8::7'],
  ] as const) {
    const client = behindProxy(t, clientId, header);
    await client.connect(ports.proxied!);
    await eventually('logged', () => addressOf(clientId) !== undefined);
    t.equal(addressOf(clientId), address);
  }
  const plain = new MqttClient(t, { clientId: 'plain', version: 5 });
  await plain.connect(ports.tcp!);
  await eventually('logged', () => addressOf('plain') === '127.0.0.1');
});

t.test('PROXY: limits count the real source', async (t) => {
  const refused = async (limit: string) =>
    (await node.metric('swarmq_limit_rejections_total', `"${limit}"`)) ?? 0;
  const before = await refused('connections_per_source');
  for (const clientId of ['a', 'b'])
    await behindProxy(t, clientId, v1('198.51.100.1')).connect(ports.proxied!);
  await t.rejects(behindProxy(t, 'c', proxyV2({ source: '198.51.100.1' })).connect(ports.proxied!));
  t.equal(await refused('connections_per_source'), before + 1);
  await behindProxy(t, 'd', v1('198.51.100.2')).connect(ports.proxied!);
  t.pass('another source behind the same proxy has room');
  const headers = await refused('proxy_header');
  await t.rejects(new MqttClient(t, { clientId: 'bare', version: 5 }).connect(ports.proxied!));
  const foreign = new MqttClient(t, {
    clientId: 'foreign',
    open: (port) => {
      const socket = connect({ port, host: '127.0.0.1', localAddress: '127.0.0.2' });
      socket.write(v1('198.51.100.9'));
      return socket;
    },
  });
  await t.rejects(foreign.connect(ports.proxied!));
  t.equal(await refused('proxy_header'), headers + 2, 'no header, and one of a stranger');
});

t.test('PROXY before TLS and WebSocket', async (t) => {
  const client = new MqttClient(t, {
    clientId: 'layers',
    version: 5,
    open: (port) => {
      const socket = connect({ port, host: '127.0.0.1' });
      socket.write(proxyV2({ source: '203.0.113.5' }));
      const webSocket = new WebSocket(`wss://localhost:${port}/mqtt`, ['mqtt'], {
        createConnection: () => connectTls({ socket, servername: 'localhost', ...trust() }),
      });
      return createWebSocketStream(webSocket);
    },
  });
  await client.connect(ports.proxiedweb!);
  await client.subscribe('t', 1);
  await client.publish('t', 'x', { qos: 1 });
  await eventually('served', () => client.received.length === 1);
  await eventually('logged', () => addressOf('layers') === '203.0.113.5');
});

t.test(
  'SIGHUP: new certificates for new connections; those that cannot be used change nothing',
  async (t) => {
    const nameSeen = async (listener: string) => {
      const options = { port: ports[listener]!, host: '127.0.0.1', rejectUnauthorized: false };
      const socket = connectTls(options);
      t.teardown(() => socket.destroy());
      await once(socket, 'secureConnect');
      return socket.getPeerCertificate().subject.CN;
    };
    const count = (line: string) => node.log.split(`"${line}"`).length - 1;
    const before = await open(t, 'secure', { ...trust(), clientId: 'before' });
    t.equal(await nameSeen('secure'), 'localhost');
    for (const end of ['crt', 'key']) copyFileSync(pem(`renewed.${end}`), pem(`server.${end}`));
    t.equal(await nameSeen('secure'), 'localhost', 'not before it is told');
    process.kill(node.pid, 'SIGHUP');
    await eventually('told', () => count('reading the certificates of the listeners again') === 1);
    await eventually('the new one', async () => (await nameSeen('secure')) === 'renewed');
    t.equal(await nameSeen('secureweb'), 'renewed', 'each listener');
    await before.publishAsync('t', 'the open connection stays', { qos: 1 });

    const fault = 'new certificate files cannot be used: the old ones stay';
    t.equal(count(fault), 0);
    writeFileSync(pem('server.key'), 'no key');
    process.kill(node.pid, 'SIGHUP');
    await eventually('told for all four', () => count(fault) === 4);
    t.match(node.log, /"level":(50|"error").*SWARMQ_ERR_LISTEN/);
    t.equal(await nameSeen('secure'), 'renewed');
  },
);
