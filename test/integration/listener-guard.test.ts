// What strangers may use: connections per listener and per source, time and bytes before CONNECT, PROXY headers from
// trusted sources only. Each refusal closes that connection only, is counted by its limit, and gives its place back.

import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import type { ByteStream } from '../../src/listener/byte-stream.ts';
import { Guard, plainAddress, sourceOf } from '../../src/listener/guard.ts';
import type { ListenerOptions, ListenerType } from '../../src/listener/listener.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { eventually } from '../helpers/eventually.ts';
import { HandClock } from '../helpers/hand-clock.ts';
import { connectSocket, connectWebSocket, startListener } from '../helpers/listener.ts';
import { proxyV2 } from '../helpers/proxy-header.ts';

/** A listener that answers nothing; 'est' in what it gets counts as a CONNECT that was accepted. */
function start(t: Test, options: Partial<ListenerOptions>) {
  const answer = (stream: ByteStream, chunk: Buffer) => {
    if (chunk.includes('est')) stream.established();
  };
  return startListener(t, { preConnectMaxBytes: 10_000, ...options }, answer);
}

function connect(t: Test, port: number, ...writes: (string | Buffer)[]) {
  const client = connectSocket(t, port);
  for (const write of writes) client.socket.write(write);
  return client;
}

async function openWebSocket(t: Test, port: number): Promise<WebSocket> {
  const { socket } = connectWebSocket(t, `ws://127.0.0.1:${port}/mqtt`);
  await eventually('the upgrade', () => socket.readyState === WebSocket.OPEN);
  return socket;
}

t.test('connections of a listener: one more is closed, and a place that is free can be taken', async (t) => {
  const { port, refused, streams, counts } = await start(t, { maxConnections: 2 });
  const first = connect(t, port);
  connect(t, port);
  await eventually('both', () => streams.length === 2);
  const third = connect(t, port);
  await eventually('the refusal', () => third.state.isClosed);
  t.same(refused, ['listener_connections']);
  first.socket.destroy();
  await eventually('the place', () => counts.open === 1);
  const fourth = connect(t, port);
  await eventually('the stream', () => streams.length === 3);
  t.notOk(fourth.state.isClosed);
});

t.test('connections of one source, by the address that the proxy told', async (t) => {
  const { port, refused, streams, counts } = await start(t, {
    maxConnectionsPerSource: 2,
    proxyProtocol: 'any',
    trustedProxies: ['127.0.0.1/32'],
  });
  const from = (address: string) => connect(t, port, `PROXY TCP4 ${address} 10.0.0.1 1 1883\r\n`);
  const first = from('192.0.2.1');
  from('192.0.2.1');
  from('192.0.2.2');
  await eventually('three', () => streams.length === 3);
  const fourth = from('192.0.2.1');
  await eventually('the refusal', () => fourth.state.isClosed);
  t.same(refused, ['connections_per_source']);
  first.socket.destroy();
  await eventually('the place', () => counts.open === 2);
  from('192.0.2.1');
  await eventually('the stream', () => streams.length === 4);
});

t.test('time until established, for each type, also while nothing is sent', async (t) => {
  for (const type of ['tcp', 'ws'] as ListenerType[]) {
    const { port, refused, streams, closed, counts } = await start(t, { type, connectTimeoutMs: 150 });
    const silent = connect(t, port);
    await eventually('the silent one to be closed', () => silent.state.isClosed);
    t.same(refused, ['connect_timeout'], type);
    const slow = type === 'tcp' ? connect(t, port, 'x').socket : await openWebSocket(t, port);
    await eventually('the slow one to be closed', () => refused.length === 2 && counts.open === 0);
    t.ok(slow);
    const begin = performance.now();
    const good = type === 'tcp' ? connect(t, port, 'est').socket : await openWebSocket(t, port);
    if (good instanceof WebSocket) good.send(Buffer.from('est'));
    await eventually('150 ms more', () => performance.now() - begin > 300);
    t.equal(counts.open, 1, `${type}: an established one stays`);
    t.same(refused, ['connect_timeout', 'connect_timeout']);
    t.equal(streams.length, closed.length + 1);
  }
});

t.test('time counts while a PROXY header is not finished', async (t) => {
  const { port, refused, streams, counts } = await start(t, {
    proxyProtocol: 'any',
    trustedProxies: ['127.0.0.1'],
    connectTimeoutMs: 150,
  });
  const half = connect(t, port, 'PROXY TCP4 192');
  await eventually('the close', () => half.state.isClosed);
  t.same(refused, ['connect_timeout']);
  t.equal(streams.length, 0);
  await eventually('the place', () => counts.open === 0);
});

t.test('bytes until established, and none counted after', async (t) => {
  for (const type of ['tcp', 'ws'] as ListenerType[]) {
    const { port, refused, counts } = await start(t, { type });
    const send = async (bytes: Buffer | string) => {
      if (type === 'tcp') return connect(t, port, bytes).socket;
      const socket = await openWebSocket(t, port);
      socket.send(Buffer.from(bytes as string));
      return socket;
    };
    await send(Buffer.alloc(10_001));
    await eventually('the close', () => refused.length === 1 && counts.open === 0);
    t.same(refused, ['pre_connect_bytes'], type);
    const before = counts.bytes;
    const good = await send('est');
    await eventually('established', () => counts.bytes === before + 3);
    if (good instanceof WebSocket) good.send(Buffer.alloc(500_000));
    else good.write(Buffer.alloc(500_000));
    await eventually('all bytes', () => counts.bytes === before + 500_003);
    t.same(refused, ['pre_connect_bytes'], type);
  }
});

t.test('ws: bytes of one unfinished frame count, though the frame is not seen', async (t) => {
  const { port, refused, counts } = await start(t, { type: 'ws' });
  const socket = await openWebSocket(t, port);
  for (let part = 0; part < 20; part++) socket.send(Buffer.alloc(1000), { fin: false });
  await eventually('the close', () => refused.length === 1 && counts.open === 0);
  t.same(refused, ['pre_connect_bytes']);
  t.equal(counts.bytes, 0);
});

t.test('PROXY headers: only from trusted sources, and no connection without one', async (t) => {
  const stranger = await start(t, { proxyProtocol: 'any', trustedProxies: ['10.0.0.0/8', '2001:db8::/32'] });
  const spoofing = connect(t, stranger.port, 'PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n');
  await eventually('the refusal', () => spoofing.state.isClosed);
  t.same(stranger.refused, ['proxy_header']);
  t.equal(stranger.streams.length, 0);

  const trusted = await start(t, { proxyProtocol: 'v1', trustedProxies: ['127.0.0.0/8'] });
  const wrong: (string | Buffer)[] = ['\x10\x0c\0\x04MQTT', proxyV2({}), 'PROXY TCP4 x\r\n'];
  for (const [index, bytes] of wrong.entries()) {
    const client = connect(t, trusted.port, bytes);
    await eventually('the refusal', () => client.state.isClosed && trusted.refused.length === index + 1);
  }
  t.same(trusted.refused, ['proxy_header', 'proxy_header', 'proxy_header']);

  const off = await start(t, {});
  connect(t, off.port, 'PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n');
  await eventually('it to be taken for data', () => off.counts.bytes === 35);
  t.equal(off.streams[0].info.remoteAddress, '127.0.0.1');
});

t.test('a thousand connections that come and go leave nothing behind', async (t) => {
  const never: Clock = { ...systemClock, after: () => ({ cancel() {} }) };
  const limits = {
    maxConnections: 500,
    maxConnectionsPerSource: 3,
    connectTimeoutMs: 1,
    preConnectMaxBytes: 1,
  };
  let refusals = 0;
  const guard = new Guard(limits, never, () => refusals++);
  const inside = [];
  for (let index = 0; index < 1000; index++) {
    const admission = guard.admit(() => {});
    if (admission === null) continue;
    if (admission.claimSource(`192.0.2.${index % 100}`)) inside.push(admission);
    else admission.leave();
  }
  t.equal(inside.length, 300);
  t.equal(guard.connections, 300);
  t.equal(guard.sources, 100);
  t.equal(refusals, 700);
  for (const admission of inside) {
    admission.leave();
    admission.leave();
  }
  t.equal(guard.connections, 0);
  t.equal(guard.sources, 0);
});

t.test('each that waits for its CONNECT is closed in time, whoever came before', async (t) => {
  const clock = new HandClock();
  const limits = {
    ...{ maxConnections: 10, maxConnectionsPerSource: 10, connectTimeoutMs: 150, preConnectMaxBytes: 10 },
  };
  const refused: string[] = [];
  const guard = new Guard(limits, clock, (limit) => refused.push(limit));
  const closed: string[] = [];
  const first = guard.admit(() => closed.push('first'));
  clock.pass(100);
  guard.admit(() => closed.push('second'));
  clock.pass(20);
  guard.admit(() => closed.push('third'));
  first?.established();
  clock.pass(129);
  t.same(closed, []);
  clock.pass(1);
  t.same(closed, ['second']);
  clock.pass(750);
  t.same(closed, ['second', 'third']);
  t.same(refused, ['connect_timeout', 'connect_timeout']);
});

t.test('what is one source', async (t) => {
  t.equal(sourceOf('192.0.2.1'), '192.0.2.1');
  t.equal(sourceOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  t.equal(sourceOf('2001:0DB8:1:2::1'), '2001:db8:1:2::/64');
  t.equal(sourceOf('::1'), '0:0:0:0::/64');
  t.equal(sourceOf('fe80::1%eth0'), 'fe80:0:0:0::/64');
  t.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1');
  t.equal(plainAddress('::ffff:1'), '::ffff:1');
});
