// Clients of others against listener and connection: MQTT.js over TCP and WebSocket, mosquitto_pub and mosquitto_sub, for
// 3.1, 3.1.1 and 5; and a client that never reads.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as openSocket } from 'node:net';
import mqtt from 'mqtt';
import t, { type Test } from 'tap';
import { generatePacket } from '../../src/mqtt/codec.ts';
import { eventually } from '../helpers/eventually.ts';
import { type MiniBroker, startMiniBroker } from '../helpers/mini-broker.ts';

async function broker(test: Test, ...options: Parameters<typeof startMiniBroker>): Promise<MiniBroker> {
  const made = await startMiniBroker(...options);
  test.teardown(() => made.close());
  return made;
}

for (const transport of ['tcp', 'ws'] as const) {
  for (const protocolVersion of [3, 4, 5] as const) {
    t.test(`MQTT.js over ${transport}, level ${protocolVersion}`, async (test) => {
      const made = await broker(test, transport);
      const url = transport === 'tcp' ? `mqtt://127.0.0.1:${made.port}` : `ws://127.0.0.1:${made.port}/mqtt`;
      const protocolId = protocolVersion === 3 ? 'MQIsdp' : 'MQTT';
      const options = { protocolVersion, protocolId, reconnectPeriod: 0, keepalive: 1 } as const;
      const client = await mqtt.connectAsync(url, { ...options, clientId: 'js' });
      const got: string[] = [];
      client.on('message', (topic, payload, packet) => void got.push(`${topic} ${payload} ${packet.qos}`));
      const grants = await client.subscribeAsync(['a/+', 'b/#'], { qos: 2 });
      test.same(
        grants.map((grant) => grant.qos),
        [2, 2],
      );
      for (const qos of [0, 1, 2] as const) await client.publishAsync(`a/${qos}`, `m${qos}`, { qos });
      await client.publishAsync('b/large', 'x'.repeat(200_000), { qos: 1 });
      await eventually('all messages', () => got.length === 4);
      test.same(got.slice(0, 3), ['a/0 m0 0', 'a/1 m1 1', 'a/2 m2 2']);
      await client.unsubscribeAsync('a/+');
      await client.publishAsync('a/1', 'not wanted', { qos: 1 });
      await eventually('pings keep it alive', () => made.stats.packetsReceived[12] >= 2);
      test.equal(got.length, 4);
      let isClosed = false;
      client.on('close', () => {
        isClosed = true;
      });
      const second = await mqtt.connectAsync(url, { ...options, clientId: 'js', clean: false });
      await eventually('the first is closed', () => isClosed && made.connections.size === 1);
      await second.endAsync();
      await eventually('released', () => made.sessions.get('js')?.released?.dropWill === true);
      await eventually('closed', () => made.connections.size === 0);
    });
  }
}

/** Runs a program; resolves with its output once it ends. */
function run(test: Test, command: string, args: string[]) {
  const child: ChildProcess = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout!.on('data', (chunk) => {
    output += chunk;
  });
  child.stderr!.on('data', (chunk) => {
    output += chunk;
  });
  test.teardown(() => child.kill('SIGKILL'));
  return { done: once(child, 'close').then(([code]) => ({ code, output })), child };
}

for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
  t.test(`mosquitto_pub and mosquitto_sub, ${version}`, async (test) => {
    const made = await broker(test);
    const common = ['-h', '127.0.0.1', '-p', String(made.port), '-V', version];
    const subscriber = run(test, 'mosquitto_sub', [
      ...common,
      '-t',
      'm/#',
      '-q',
      '2',
      '-C',
      '3',
      '-v',
      '-i',
      'sub',
    ]);
    await eventually('subscribed', () => made.sessions.get('sub')?.subscriptionCount() === 1);
    for (const qos of ['0', '1', '2']) {
      const published = await run(test, 'mosquitto_pub', [
        ...common,
        '-t',
        `m/${qos}`,
        '-m',
        `q${qos}`,
        '-q',
        qos,
      ]).done;
      test.same(published, { code: 0, output: '' }, `QoS ${qos}`);
    }
    const { code, output } = await subscriber.done;
    test.equal(code, 0);
    test.equal(output, 'm/0 q0\nm/1 q1\nm/2 q2\n');
    await eventually('left cleanly', () => made.sessions.get('sub')?.released?.dropWill === true);
  });
}

t.test('a client that asks and never reads is closed at twice its limit', async (test) => {
  const made = await broker(test, 'tcp', { maxConnectionBytes: 65_536 });
  const socket = openSocket(made.port, '127.0.0.1');
  test.teardown(() => socket.destroy());
  socket.on('error', () => {});
  socket.pause();
  await once(socket, 'connect');
  socket.write(generatePacket({ cmd: 'connect', protocolVersion: 4, clientId: 'deaf', clean: true }, 4));
  await eventually('connected', () => made.stats.sessionsConnected === 1);
  const pings = Buffer.alloc(60_000);
  for (let at = 0; at < pings.length; at += 2) pings[at] = 0xc0;
  let mostBytes = 0;
  // The kernel's buffers take a few megabytes before anything waits here.
  await eventually('closed', () => {
    if (!socket.destroyed && socket.writableLength < 1_000_000) socket.write(pings);
    mostBytes = Math.max(mostBytes, made.stats.outboxBytes);
    return made.stats.sessionsConnected === 0;
  });
  test.ok(mostBytes > 65_536 && mostBytes < 400_000, `bounded: ${mostBytes} bytes`);
  test.equal(made.stats.outboxBytes, 0);
  await eventually('gone', () => made.connections.size === 0);
});
