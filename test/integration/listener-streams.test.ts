// Real sockets without TLS: bytes go both ways whole, ends are clean, backpressure is told, and WebSocket keeps to its
// rules.

import { createServer as createHttpServer, get as httpGet } from 'node:http';
import type { AddressInfo } from 'node:net';
import mqtt from 'mqtt';
import t from 'tap';
import { WebSocket } from 'ws';
import { eventually } from '../helpers/eventually.ts';
import { connectSocket, connectWebSocket, startListener } from '../helpers/listener.ts';

/** More than the kernel takes from a writer whose reader has stopped. */
const MUCH = Buffer.alloc(20_000_000);

t.test('tcp: both ways, info, and one close', async (t) => {
  const { port, streams, closed, counts } = await startListener(t, {});
  const client = connectSocket(t, port);
  client.socket.write('hello');
  await eventually('the echo', () => client.text() === 'hello');
  t.equal(counts.open, 1);
  t.match(streams[0].info, {
    listener: 'one',
    remoteAddress: '127.0.0.1',
    tls: null,
    proxied: false,
  });
  t.equal(streams[0].info.remotePort, client.socket.localPort);
  client.socket.end();
  await eventually('the close', () => closed.length === 1);
  t.same(closed, [false]);
  t.equal(counts.open, 0);
  t.equal(streams[0].write(Buffer.from('late')), true, 'writing to a closed stream is harmless');
});

t.test('tcp: an end sends all that waits, though the client still sends', async (t) => {
  const last = Buffer.alloc(3_000_000, 'z');
  const { port, closed } = await startListener(t, {}, (stream) => {
    stream.write(last);
    stream.end();
    stream.write(Buffer.from('after the end'));
  });
  const client = connectSocket(t, port);
  client.socket.write(Buffer.alloc(1_000_000, 'x'));
  await eventually('the close', () => client.state.isClosed && closed.length === 1);
  t.equal(client.text().length, last.length);
});

t.test('tcp: an end also reads what was paused, so that it is over as soon as the client is', async (t) => {
  const { port, closed } = await startListener(t, {}, (stream) => {
    stream.pauseReading();
    stream.write(Buffer.from('bye'));
    stream.end();
  });
  const client = connectSocket(t, port);
  const begin = performance.now();
  client.socket.write(Buffer.alloc(5_000_000, 'x'));
  await eventually('the close', () => client.state.isClosed && closed.length === 1);
  t.equal(client.text(), 'bye');
  t.same(closed, [false]);
  t.ok(performance.now() - begin < 1_500, 'it did not take the linger time');
});

t.test('tcp: a client that does not take the end is closed all the same', async (t) => {
  const { port, closed } = await startListener(t, {}, (stream) => {
    stream.write(MUCH);
    stream.end();
  });
  const client = connectSocket(t, port);
  client.socket.pause();
  client.socket.write('x');
  await eventually('the close', () => closed.length === 1);
});

t.test('tcp: backpressure and its end are told; reading pauses and goes on', async (t) => {
  const results: boolean[] = [];
  const { port, streams, received, counts } = await startListener(t, {}, (stream, chunk) => {
    if (chunk.toString() === 'fill') results.push(stream.write(Buffer.from('small')), stream.write(MUCH));
  });
  const client = connectSocket(t, port);
  client.socket.pause();
  client.socket.write('fill');
  await eventually('the answers', () => results.length === 2);
  t.same(results, [true, false]);
  t.ok(streams[0].bytesWaiting() > 65_536);
  client.socket.resume();
  await eventually('the drain', () => counts.drains === 1);
  t.equal(streams[0].bytesWaiting(), 0);

  streams[0].pauseReading();
  client.socket.write(Buffer.alloc(5_000_000));
  const heard = () => received.reduce((sum, chunk) => sum + chunk.length, 0);
  await eventually('the client to be stopped', () => client.socket.writableLength > 0);
  const before = heard();
  t.ok(before < 1_000_000, `${before} bytes came in while paused`);
  streams[0].resumeReading();
  await eventually('the rest', () => heard() === 5_000_004);
});

t.test('tcp: a reset is told as an error', async (t) => {
  const { port, closed, streams } = await startListener(t, {});
  const client = connectSocket(t, port);
  await eventually('the stream', () => streams.length === 1);
  client.socket.resetAndDestroy();
  await eventually('the close', () => closed.length === 1);
  t.same(closed, [true]);
});

t.test('ws: both ways, packets spread over frames as the client likes', async (t) => {
  const { port, received, streams, closed, counts } = await startListener(t, { type: 'ws' });
  const client = connectWebSocket(t, `ws://127.0.0.1:${port}/mqtt`);
  await eventually('the upgrade', () => client.socket.readyState === WebSocket.OPEN);
  t.equal(client.socket.protocol, 'mqtt');
  t.equal(client.socket.extensions, '', 'no compression');
  for (const part of ['a', 'bc', 'def']) client.socket.send(Buffer.from(part));
  client.socket.send(Buffer.from('frag'), { fin: false });
  client.socket.send(Buffer.from('ment'), { fin: true });
  await eventually('the echo', () => client.text() === 'abcdeffragment');
  t.equal(Buffer.concat(received).toString(), 'abcdeffragment');
  t.match(streams[0].info, { remoteAddress: '127.0.0.1', tls: null });
  streams[0].end();
  await eventually('the close', () => client.state.closeCode !== 0 && closed.length === 1);
  t.equal(client.state.closeCode, 1000);
  await eventually('the place to be free', () => counts.open === 0);
});

t.test('ws: backpressure is told', async (t) => {
  const results: boolean[] = [];
  const { port, streams, counts } = await startListener(t, { type: 'ws' }, (stream) => {
    results.push(stream.write(Buffer.from('small')), stream.write(MUCH));
  });
  const client = connectWebSocket(t, `ws://127.0.0.1:${port}/mqtt`);
  await eventually('the upgrade', () => client.socket.readyState === WebSocket.OPEN);
  client.socket.pause();
  client.socket.send(Buffer.from('fill'));
  await eventually('the answers', () => results.length === 2);
  t.same(results, [true, false]);
  t.ok(streams[0].bytesWaiting() > 65_536);
  client.socket.resume();
  await eventually('the drain', () => counts.drains === 1);
});

t.test('ws: pings are answered; text frames and messages beyond the limit close', async (t) => {
  const { port, received, closed } = await startListener(t, { type: 'ws' });
  const url = `ws://127.0.0.1:${port}/mqtt`;
  const pinging = connectWebSocket(t, url);
  let pong = '';
  pinging.socket.on('pong', (payload) => {
    pong = payload.toString();
  });
  await eventually('the upgrade', () => pinging.socket.readyState === WebSocket.OPEN);
  pinging.socket.ping('p');
  await eventually('the pong', () => pong === 'p');

  const texting = connectWebSocket(t, url);
  await eventually('the upgrade', () => texting.socket.readyState === WebSocket.OPEN);
  texting.socket.send('text');
  await eventually('the close', () => texting.state.closeCode !== 0);
  t.equal(texting.state.closeCode, 1003, '[MQTT-6.0.0-1]');
  const large = connectWebSocket(t, url);
  await eventually('the upgrade', () => large.socket.readyState === WebSocket.OPEN);
  large.socket.send(Buffer.alloc(1_000_001));
  await eventually('the close', () => large.state.closeCode !== 0);
  t.equal(large.state.closeCode, 1009);
  await eventually('both to be told', () => closed.length === 2);
  t.same(received, []);
});

t.test('ws: other paths, other protocols and plain HTTP are refused', async (t) => {
  const { port, streams, counts } = await startListener(t, { type: 'ws' });
  const refusals: [string, string[], RegExp][] = [
    ['/other', ['mqtt'], /404/],
    ['/mqtt/', ['mqtt'], /404/],
    ['/mqtt', ['chat'], /400/],
    ['/mqtt', [], /400/],
  ];
  for (const [path, protocols, status] of refusals) {
    const client = connectWebSocket(t, `ws://127.0.0.1:${port}${path}`, protocols);
    await eventually('the refusal', () => client.state.error !== '');
    t.match(client.state.error, status, `${path} ${protocols}`);
  }
  const statusCode = await new Promise((resolve, reject) =>
    httpGet({ port, path: '/mqtt' }, (response) => resolve(response.resume().statusCode)).on('error', reject),
  );
  t.equal(statusCode, 426);
  t.equal(streams.length, 0);
  await eventually('their places to be free', () => counts.open === 0);
  const old = connectWebSocket(t, `ws://127.0.0.1:${port}/mqtt?token=1`, ['chat', 'mqttv3.1']);
  await eventually('the upgrade', () => old.socket.readyState === WebSocket.OPEN);
  t.equal(old.socket.protocol, 'mqttv3.1');
});

t.test('a real MQTT client over ws gets as far as its CONNECT', async (t) => {
  const { port, received } = await startListener(t, { type: 'ws' }, () => {});
  const client = mqtt.connect(`ws://127.0.0.1:${port}/mqtt`, { clientId: 'c', reconnectPeriod: 0 });
  client.on('error', () => {});
  t.teardown(() => client.endAsync(true));
  await eventually('the CONNECT', () => Buffer.concat(received).includes('MQTT'));
});

t.test('a port in use opens nothing and says so', async (t) => {
  const other = createHttpServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(() => other.close());
  const { port } = other.address() as AddressInfo;
  await t.rejects(startListener(t, { port }), { code: 'SWARMQ_ERR_LISTEN' });
  await t.rejects(startListener(t, { type: 'tls' }), { code: 'SWARMQ_ERR_LISTEN' }, 'no certificate');
  const files = {
    certFile: '/none.crt',
    keyFile: '/none.key',
    caFile: undefined,
    requestCert: false,
  };
  await t.rejects(
    startListener(t, { type: 'tls', tls: files }),
    { code: 'SWARMQ_ERR_LISTEN' },
    'no such file',
  );
});

t.test('close frees the port and leaves open connections', async (t) => {
  const { listeners, port, streams, closed } = await startListener(t, {});
  const client = connectSocket(t, port);
  await eventually('the stream', () => streams.length === 1);
  listeners.close();
  const late = connectSocket(t, port);
  await eventually('the refusal', () => late.state.isClosed);
  client.socket.write('still');
  await eventually('the echo', () => client.text() === 'still');
  listeners.destroyConnections();
  await eventually('the close', () => client.state.isClosed && closed.length === 1);
});
