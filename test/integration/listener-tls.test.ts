// TLS and the PROXY protocol on real sockets, alone and on top of each other. Certificates come from the openssl
// command, which these tests need.

import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import t from 'tap';
import { WebSocket } from 'ws';
import { eventually } from '../helpers/eventually.ts';
import { connectSocket, startListener } from '../helpers/listener.ts';
import { proxyV2, tlv } from '../helpers/proxy-header.ts';

const certDir = mkdtempSync(join(tmpdir(), 'swarmq-listener-'));
t.teardown(() => rmSync(certDir, { recursive: true, force: true }));

function openssl(...args: string[]): void {
  try {
    execFileSync('openssl', args, { cwd: certDir, stdio: 'pipe' });
  } catch (cause) {
    throw new Error('the openssl command is needed to make certificates for this test', { cause });
  }
}

/** A self-signed certificate: `<name>.crt` and `<name>.key`. */
function makeCertificate(name: string, commonName: string): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-keyout', `${name}.key`, '-out', `${name}.crt`, '-subj', `/CN=${commonName}`],
    ...['-addext', `subjectAltName=DNS:${commonName}`],
  );
}

makeCertificate('server', 'localhost');
makeCertificate('other', 'other.example');
makeCertificate('client', 'device-7');
const pem = (name: string) => join(certDir, name);

t.test('tls: both ways, and what the client certificate says', async (t) => {
  const options = {
    certFile: pem('server.crt'),
    keyFile: pem('server.key'),
    caFile: undefined,
    requestCert: false,
  };
  const { port, streams } = await startListener(t, { type: 'tls', tls: options });
  const client = connectSocket(t, port, {});
  client.socket.write('hello');
  await eventually('the echo', () => client.text() === 'hello');
  t.match(streams[0].info, {
    remoteAddress: '127.0.0.1',
    tls: { authorized: false, commonName: null, protocol: 'TLSv1.3' },
  });
  client.socket.end(Buffer.alloc(500_000, 'y'));
  await eventually('the close', () => client.state.isClosed);
  t.equal(client.text().length, 500_005);
});

t.test('tls: a client certificate is asked for, and one that does not verify refused', async (t) => {
  const files = {
    certFile: pem('server.crt'),
    keyFile: pem('server.key'),
    caFile: pem('client.crt'),
    requestCert: true,
  };
  const { port, streams, counts } = await startListener(t, { type: 'tls', tls: files });
  const withCert = (name: string) => ({
    cert: readFileSync(pem(`${name}.crt`)),
    key: readFileSync(pem(`${name}.key`)),
  });
  const known = connectSocket(t, port, withCert('client'));
  known.socket.write('x');
  await eventually('the echo', () => known.text() === 'x');
  t.match(streams[0].info.tls, { authorized: true, commonName: 'device-7', subjectAltName: 'DNS:device-7' });
  t.match(streams[0].info.tls?.fingerprint, /^[0-9A-F:]{95}$/);
  for (const stranger of [connectSocket(t, port, {}), connectSocket(t, port, withCert('other'))]) {
    stranger.socket.write('x');
    await eventually('the refusal', () => stranger.state.isClosed);
  }
  t.equal(streams.length, 1);
  await eventually('their places to be free', () => counts.open === 1);
});

t.test('tls: new certificate files are read without closing anything; bad ones change nothing', async (t) => {
  for (const end of ['crt', 'key']) copyFileSync(pem(`server.${end}`), pem(`live.${end}`));
  const files = {
    certFile: pem('live.crt'),
    keyFile: pem('live.key'),
    caFile: undefined,
    requestCert: false,
  };
  const { listeners, port } = await startListener(t, { type: 'tls', tls: files });
  const nameSeen = async (secure: tls.TLSSocket) =>
    eventually('the handshake', () => secure.getPeerCertificate().subject?.CN);
  const before = connectSocket(t, port, {});
  t.equal(await nameSeen(before.socket as tls.TLSSocket), 'localhost');
  for (const end of ['crt', 'key']) copyFileSync(pem(`other.${end}`), pem(`live.${end}`));
  const faults: unknown[] = [];
  const reload = () => listeners.reloadTls((listener, error) => faults.push(listener, error));
  reload();
  t.same(faults, []);
  t.equal(await nameSeen(connectSocket(t, port, {}).socket as tls.TLSSocket), 'other.example');
  copyFileSync(pem('server.key'), pem('live.key'));
  reload();
  t.match(faults, ['one', { code: 'SWARMQ_ERR_LISTEN' }]);
  t.equal(await nameSeen(connectSocket(t, port, {}).socket as tls.TLSSocket), 'other.example');
  before.socket.write('still');
  await eventually('the echo', () => before.text() === 'still');
});

t.test('tls: time counts while the handshake is not finished', async (t) => {
  const files = {
    certFile: pem('server.crt'),
    keyFile: pem('server.key'),
    caFile: undefined,
    requestCert: false,
  };
  const { port, refused, streams, counts } = await startListener(t, {
    type: 'tls',
    tls: files,
    connectTimeoutMs: 150,
  });
  const silent = connectSocket(t, port);
  silent.socket.write(Buffer.of(22, 3, 1));
  await eventually('the close', () => silent.state.isClosed && counts.open === 0);
  t.same(refused, ['connect_timeout']);
  t.equal(streams.length, 0);
});

t.test('wss behind PROXY v2: the three layers in their order', async (t) => {
  const files = {
    certFile: pem('server.crt'),
    keyFile: pem('server.key'),
    caFile: undefined,
    requestCert: false,
  };
  const running = await startListener(t, {
    type: 'wss',
    tls: files,
    proxyProtocol: 'v2',
    trustedProxies: ['127.0.0.0/8'],
  });
  const raw = net.connect({ port: running.port, host: '127.0.0.1' });
  t.teardown(() => raw.destroy());
  raw.write(proxyV2({ source: '2001:db8::7', destination: '::1', sourcePort: 40_000, destinationPort: 443 }));
  const secure = tls.connect({ socket: raw, rejectUnauthorized: false });
  const socket = new WebSocket(`ws://127.0.0.1/mqtt`, ['mqtt'], { createConnection: () => secure });
  t.teardown(() => socket.terminate());
  let text = '';
  socket.on('message', (message) => {
    text += message.toString();
  });
  socket.on('open', () => socket.send(Buffer.from('hello')));
  await eventually('the echo', () => text === 'hello');
  t.match(running.streams[0].info, {
    remoteAddress: '2001:db8::7',
    remotePort: 40_000,
    proxied: true,
    tls: { protocol: 'TLSv1.3', authorized: false },
  });
});

const PROXY_HEADER = proxyV2({
  source: '192.0.2.7',
  destination: '10.0.0.1',
  sourcePort: 40_000,
  destinationPort: 8883,
  tlvs: [tlv(0x20, Buffer.concat([Buffer.of(7, 0, 0, 0, 0), tlv(0x22, Buffer.from('device-9'))]))],
});
const PROXIED = { proxyProtocol: 'any', trustedProxies: ['127.0.0.1'] } as const;

t.test('PROXY in front of tcp, header and data in one segment or byte by byte', async (t) => {
  const { port, streams } = await startListener(t, PROXIED);
  const one = connectSocket(t, port);
  one.socket.write(Buffer.concat([PROXY_HEADER, Buffer.from('data')]));
  await eventually('the echo', () => one.text() === 'data');
  t.match(streams[0].info, {
    remoteAddress: '192.0.2.7',
    remotePort: 40_000,
    proxied: true,
    tls: { authorized: true, commonName: 'device-9' },
  });
  const slow = connectSocket(t, port);
  slow.socket.setNoDelay(true);
  for (const byte of Buffer.from('PROXY TCP4 192.0.2.8 10.0.0.1 1 2\r\nslow')) {
    slow.socket.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually('the echo', () => slow.text() === 'slow');
  t.match(streams[1].info, { remoteAddress: '192.0.2.8', tls: null, proxied: true });
  const local = connectSocket(t, port);
  local.socket.write(Buffer.concat([proxyV2({ command: 0 }), Buffer.from('health')]));
  await eventually('the echo', () => local.text() === 'health');
  t.match(streams[2].info, { remoteAddress: '127.0.0.1', proxied: false });
});

t.test('PROXY in front of ws', async (t) => {
  const ws = await startListener(t, { ...PROXIED, type: 'ws' });
  const upgrade = connectSocket(t, ws.port);
  upgrade.socket.write(
    Buffer.concat([
      PROXY_HEADER,
      Buffer.from(
        'GET /mqtt HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
          'Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n',
      ),
      Buffer.of(0x82, 0x82, 0, 0, 0, 0, 0x68, 0x69),
    ]),
  );
  await eventually('the echo in a frame', () => upgrade.text().endsWith('\x02hi'));
  t.match(ws.streams[0].info, { remoteAddress: '192.0.2.7', proxied: true });
});

t.test('PROXY in front of tls, header and ClientHello in one segment', async (t) => {
  const files = {
    certFile: pem('server.crt'),
    keyFile: pem('server.key'),
    caFile: undefined,
    requestCert: false,
  };
  const secureListener = await startListener(t, { ...PROXIED, type: 'tls', tls: files });
  // A relay puts header and ClientHello into one write, so that TLS finds bytes that were put back.
  const relay = net.createServer((inside) => {
    const outside = net.connect(secureListener.port, '127.0.0.1');
    inside.once('data', (hello) => {
      outside.write(Buffer.concat([PROXY_HEADER, hello]));
      inside.pipe(outside).pipe(inside);
    });
    inside.on('error', () => outside.destroy());
    outside.on('error', () => inside.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  t.teardown(() => relay.close());
  const secure = connectSocket(t, (relay.address() as AddressInfo).port, {});
  secure.socket.write('tls');
  await eventually('the echo', () => secure.text() === 'tls');
  t.match(secureListener.streams[0].info, { remoteAddress: '192.0.2.7', tls: { protocol: 'TLSv1.3' } });
  secure.socket.destroy();
});
