// What we touch of Aedes' inside, and what we rely on it not to do. A new version of Aedes must pass this before it is
// used: whatever fails here is named in src/connection/aedes-shell.ts.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Aedes } from 'aedes';
import t from 'tap';
import { AEDES_INTERNALS, AedesShell } from '../../src/connection/aedes-shell.ts';
import type { ControlEvents, ControlStream } from '../../src/connection/control-stream.ts';
import { type ControlPacket, generatePacket } from '../../src/mqtt/codec.ts';
import { eventually } from '../helpers/eventually.ts';

const require = createRequire(import.meta.url);

/** Notes what Aedes tells; lets everybody in. */
class Recorder implements ControlEvents {
  readonly told: string[] = [];
  stream: ControlStream | null = null;
  onAuthenticate(): void {
    this.told.push('authenticate');
    this.stream?.admit();
  }
  onAdmitted(): void {
    this.told.push('admitted');
  }
  onAuthorizeSubscribe(place: number): void {
    this.told.push(`authorize ${place}`);
  }
  onAnswer(packetType: number, code: number): void {
    this.told.push(`answer ${packetType} ${code}`);
  }
  onControlEnded(): void {
    this.told.push('ended');
  }
}

const connectOf = (clientId: string, version: 3 | 4 | 5) =>
  generatePacket(
    {
      cmd: 'connect',
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: version,
      clientId,
      clean: true,
      keepalive: 0,
      properties: version === 5 ? { sessionExpiryInterval: 0xffffffff } : undefined,
    },
    version,
  );

function open(shell: AedesShell): Recorder {
  const recorder = new Recorder();
  recorder.stream = shell.open(recorder);
  return recorder;
}

// biome-ignore lint/suspicious/noExplicitAny: the point of this file is Aedes' undeclared inside
const insideOf = (recorder: Recorder): any => (recorder.stream as any).client;

t.test('the installed version is the one that was read', async (test) => {
  const path = require.resolve('aedes').replace(/aedes\.js$/, 'package.json');
  test.equal(JSON.parse(readFileSync(path, 'utf8')).version, AEDES_INTERNALS.version);
});

t.test('everything that is replaced exists', async (test) => {
  const broker = new Aedes() as unknown as Record<string, unknown>;
  for (const name of AEDES_INTERNALS.brokerMethods) test.type(broker[name], 'function', name);
  for (const name of AEDES_INTERNALS.brokerMaps) test.same(broker[name], {}, name);
  const shell = await AedesShell.create();
  test.teardown(() => shell.close());
  const recorder = open(shell);
  const client = insideOf(recorder);
  for (const name of AEDES_INTERNALS.clientMaps) {
    test.equal(Object.getPrototypeOf(client[name]), null, name);
  }
  for (const name of AEDES_INTERNALS.clientFields) test.equal(client[name], false, name);
  for (const name of AEDES_INTERNALS.clientMethods) test.type(client[name], 'function', name);
  for (const name of AEDES_INTERNALS.brokerMaps) {
    test.equal(Object.getPrototypeOf(client.broker[name]), null, name);
  }
  recorder.stream!.destroy();
});

for (const version of [3, 4, 5] as const) {
  t.test(`a life through Aedes leaves nothing behind, MQTT ${version}`, async (test) => {
    const shell = await AedesShell.create();
    test.teardown(() => shell.close());
    const recorder = open(shell);
    const client = insideOf(recorder);
    const { told } = recorder;
    recorder.stream!.feed(connectOf('__proto__', version));
    await eventually('admitted', () => told.length === 2);
    recorder.stream!.feed(
      generatePacket(
        {
          cmd: 'subscribe',
          messageId: 1,
          subscriptions: Array.from({ length: 200 }, (_none, place) => ({ topic: String(place), qos: 0 })),
        } as ControlPacket,
        version,
      ),
    );
    await eventually('SUBACK', () => told.length === 203);
    recorder.stream!.feed(
      generatePacket({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['0'] }, version),
    );
    await eventually('UNSUBACK', () => told.length === 204);
    test.match(told.slice(0, 4), ['authenticate', 'admitted', 'authorize 0', 'authorize 1']);
    test.match(told.slice(-2), [/^answer 9 /, /^answer 11 /]);
    const { broker } = client;
    test.equal(client._keepaliveTimer, null);
    test.equal(client._connectTimer, null);
    test.equal(client.will, null);
    test.same(Object.keys(client.subscriptions), []);
    recorder.stream!.feed(Buffer.of(0xe0, 0));
    await eventually('end', () => told.at(-1) === 'ended');
    await eventually('Aedes has noticed', () => client.closed);
    test.same(Object.keys(broker.clients), []);
    test.equal(broker.connectedClients, 0);
    test.equal(broker.expiringSessions.size, 0);
    test.equal(broker.delayedWills.size, 0);
    test.equal(broker._takingOver.size, 0);
  });
}

t.test('two clients of one id live side by side: who gives way is not decided here', async (test) => {
  const shell = await AedesShell.create();
  test.teardown(() => shell.close());
  const [first, second] = [open(shell), open(shell)];
  for (const one of [first, second]) one.stream!.feed(connectOf('same', 5));
  await eventually('both', () => first.told.length === 2 && second.told.length === 2);
  second.stream!.destroy();
  await eventually('one gone', () => second.told.includes('ended'));
  first.stream!.feed(
    generatePacket({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: '0', qos: 0 }] }, 5),
  );
  await eventually('the other serves', () => first.told.length === 4);
  first.stream!.destroy();
});

t.test('a client that is destroyed while it waits to be admitted', async (test) => {
  const shell = await AedesShell.create();
  test.teardown(() => shell.close());
  const recorder = new Recorder();
  const stream = shell.open(recorder);
  stream.feed(connectOf('late', 4));
  await eventually('asked', () => recorder.told.includes('authenticate'));
  stream.destroy();
  stream.admit();
  await new Promise((resolve) => setTimeout(resolve, 10));
  test.same(recorder.told, ['authenticate', 'ended']);
});
