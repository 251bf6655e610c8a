// Enhanced authentication packet by packet: the exchange before CONNACK, re-authentication, and everything that a client
// may do wrong in between [MQTT5-4.12].

import t, { type Test } from 'tap';
import { Authentication } from '../../src/auth/authentication.ts';
import type { AuthMechanism } from '../../src/auth/mechanism.ts';
import { makeKeys } from '../../src/auth/scram-keys.ts';
import { type ControlPacket, generatePacket, parsePacket } from '../../src/mqtt/codec.ts';
import { Limit } from '../../src/observability/node-stats.ts';
import { systemRandom } from '../../src/util/random.ts';
import { type Bench, type MemoryStream, openBench } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';
import { scramFinal, scramFirst } from '../helpers/scram-client.ts';

const METHOD = 'SCRAM-SHA-256';

/** Never comes to an end. */
const endless: AuthMechanism = {
  name: 'ENDLESS',
  begin: () => ({ next: async () => ({ kind: 'continue', data: null }) }),
};

async function bench(test: Test): Promise<Bench> {
  const keys = (password: string) => makeKeys(password, Buffer.from('0123456789abcdef'), 1000);
  const users = [
    { username: 'ann', keys: await keys('secret') },
    { username: 'bob', keys: await keys('hidden') },
  ];
  const authenticator = new Authentication({ users, allowAnonymous: false, random: systemRandom }, [endless]);
  const made = await openBench({}, authenticator);
  test.teardown(() => made.close());
  return made;
}

/** The packets that were written since the last call. */
class Wire {
  readonly stream: MemoryStream;
  #read = 0;

  constructor(stream: MemoryStream) {
    this.stream = stream;
  }

  send(packet: object): void {
    this.stream.feed(generatePacket(packet as ControlPacket, 5));
  }

  // biome-ignore lint/suspicious/noExplicitAny: packets of any type are compared by their fields
  async next(): Promise<any> {
    await eventually('a packet', () => this.stream.output.length > this.#read || this.stream.isClosed);
    const rest = this.stream.output.subarray(this.#read);
    if (rest.length === 0) return null;
    let at = 1;
    while ((rest[at]! & 128) !== 0) at++;
    const bytes =
      at + 1 + rest.subarray(1, at + 1).reduce((sum, byte, i) => sum + (byte & 127) * 128 ** i, 0);
    this.#read += bytes;
    return parsePacket(5, rest.subarray(0, bytes));
  }

  connect(method: string, data: Buffer | undefined, more: object = {}): void {
    this.send({
      cmd: 'connect',
      protocolVersion: 5,
      clientId: 'c1',
      clean: true,
      keepalive: 0,
      properties: { authenticationMethod: method, ...(data ? { authenticationData: data } : {}), ...more },
    });
  }

  auth(reasonCode: number, data: Buffer | undefined, method = METHOD): void {
    const properties = { authenticationMethod: method, ...(data ? { authenticationData: data } : {}) };
    this.send({ cmd: 'auth', reasonCode, properties });
  }
}

/** Connects as a user; answers the packets of the server. */
async function join(made: Bench, username: string, password: string) {
  const wire = new Wire(made.connect());
  const { message, bare } = scramFirst(username);
  wire.connect(METHOD, message);
  const challenge = await wire.next();
  const { message: last, expected } = scramFinal(
    bare,
    String(challenge.properties.authenticationData),
    password,
  );
  const wasEstablished = wire.stream.isEstablished;
  wire.auth(0x18, last);
  const answer = await wire.next();
  return { wire, challenge, answer, expected, wasEstablished };
}

t.test('an exchange ends with CONNACK, and the client is no stranger from then on', async (test) => {
  const made = await bench(test);
  const { wire, challenge, answer, expected, wasEstablished } = await join(made, 'ann', 'secret');
  test.match(challenge, { cmd: 'auth', reasonCode: 0x18, properties: { authenticationMethod: METHOD } });
  test.match(answer, { cmd: 'connack', reasonCode: 0, properties: { authenticationMethod: METHOD } });
  test.equal(
    String(answer.properties.authenticationData),
    expected,
    'the server proves that it knows the keys',
  );
  test.equal(wasEstablished, false, 'the limits for strangers hold in the exchange');
  test.equal(wire.stream.isEstablished, true);
  test.equal(made.sessions.claims.length, 1);
  test.equal(made.stats.authenticationsAccepted, 1);
  wire.send({ cmd: 'pingreq' });
  test.match(await wire.next(), { cmd: 'pingresp' });
});

t.test('what is refused', async (test) => {
  const made = await bench(test);
  for (const [username, password] of [
    ['ann', 'wrong'],
    ['nobody', 'secret'],
  ] as const) {
    const { wire, answer } = await join(made, username, password);
    test.match(answer, { cmd: 'connack', reasonCode: 0x87 });
    await eventually('closed', () => wire.stream.isClosed);
  }
  test.equal(made.stats.authenticationsRefused, 2);
  const first = scramFirst('ann').message;
  const cases: [string, number | null, (wire: Wire) => void][] = [
    ['another packet before CONNACK', 0x82, (wire) => wire.send({ cmd: 'pingreq' })],
    ['another method', 0x82, (wire) => wire.auth(0x18, first, 'OTHER')],
    ['0x19 before CONNACK', 0x82, (wire) => wire.auth(0x19, first)],
    ['no method', 0x82, (wire) => wire.stream.feed(Buffer.from('f0021800', 'hex'))],
    ['success of a client', 0x82, (wire) => wire.auth(0, first)],
    ['cut off', 0x81, (wire) => wire.stream.feed(Buffer.from('f0031805', 'hex').fill(1, 3))],
    ['DISCONNECT', null, (wire) => wire.send({ cmd: 'disconnect', reasonCode: 0 })],
  ];
  for (const [name, code, act] of cases) {
    const wire = new Wire(made.connect());
    wire.connect(METHOD, first);
    await wire.next();
    act(wire);
    if (name === 'cut off') wire.stream.feed(Buffer.of(0));
    const answer = await wire.next();
    if (code === null) test.equal(answer, null, name);
    else test.match(answer, { cmd: 'connack', reasonCode: code }, name);
    await eventually('closed', () => wire.stream.isClosed);
  }
  const unknown = new Wire(made.connect());
  unknown.connect('GS2-KRB5', undefined);
  test.match(await unknown.next(), { cmd: 'connack', reasonCode: 0x8c });
  const early = made.connect();
  early.feed(Buffer.from('f00118', 'hex'));
  await eventually('closed', () => early.isClosed);
  test.equal(early.output.length, 0, 'AUTH before CONNECT');
  test.same(made.log, [], 'no session was claimed');
});

t.test('re-authentication on the open connection', async (test) => {
  const made = await bench(test);
  const { wire } = await join(made, 'ann', 'secret');
  for (let round = 0; round < 3; round++) {
    const { message, bare } = scramFirst('ann', `again-${round}`);
    wire.auth(0x19, message);
    const challenge = await wire.next();
    test.match(challenge, { cmd: 'auth', reasonCode: 0x18 });
    wire.send({ cmd: 'pingreq' });
    test.match(await wire.next(), { cmd: 'pingresp' }, 'the connection goes on meanwhile');
    const { message: last, expected } = scramFinal(
      bare,
      String(challenge.properties.authenticationData),
      'secret',
    );
    wire.auth(0x18, last);
    const answer = await wire.next();
    test.match(answer, { cmd: 'auth', reasonCode: 0 });
    test.equal(String(answer.properties.authenticationData), expected);
  }
  made.clock.advance(60_000);
  test.equal(wire.stream.isEnded, false, 'nothing is overdue');
});

t.test('re-authentication that fails ends the connection', async (test) => {
  const made = await bench(test);
  const cases: [string, number, (wire: Wire) => Promise<void>][] = [
    ['0x18 without an exchange', 0x82, async (wire) => wire.auth(0x18, undefined)],
    ['another method', 0x82, async (wire) => wire.auth(0x19, undefined, 'ENDLESS')],
    [
      '0x19 in an exchange',
      0x82,
      async (wire) => {
        wire.auth(0x19, scramFirst('ann').message);
        await wire.next();
        wire.auth(0x19, scramFirst('ann').message);
      },
    ],
    [
      'a wrong password',
      0x87,
      async (wire) => {
        const { message, bare } = scramFirst('ann');
        wire.auth(0x19, message);
        const challenge = await wire.next();
        const data = String(challenge.properties.authenticationData);
        wire.auth(0x18, scramFinal(bare, data, 'wrong').message);
      },
    ],
    [
      'another user',
      0x87,
      async (wire) => {
        const { message, bare } = scramFirst('bob');
        wire.auth(0x19, message);
        const challenge = await wire.next();
        const data = String(challenge.properties.authenticationData);
        wire.auth(0x18, scramFinal(bare, data, 'hidden').message);
      },
    ],
    [
      'an exchange that is not gone on with',
      0x87,
      async (wire) => {
        wire.auth(0x19, scramFirst('ann').message);
        await wire.next();
        made.clock.advance(11_000);
      },
    ],
  ];
  for (const [name, code, act] of cases) {
    const { wire } = await join(made, 'ann', 'secret');
    await act(wire);
    test.match(await wire.next(), { cmd: 'disconnect', reasonCode: code }, name);
    await eventually('closed', () => wire.stream.isClosed);
  }
  test.equal(made.stats.limitRejections[Limit.AUTHENTICATION], 1, 'the one that took too long');
});

t.test('AUTH on a connection whose CONNECT named no method', async (test) => {
  const made = await openBench();
  test.teardown(() => made.close());
  const wire = new Wire(made.connect());
  wire.send({ cmd: 'connect', protocolVersion: 5, clientId: 'c1', clean: true, keepalive: 0 });
  test.match(await wire.next(), { cmd: 'connack', reasonCode: 0 });
  wire.auth(0x19, undefined);
  test.match(await wire.next(), { cmd: 'disconnect', reasonCode: 0x82 });
});

t.test('an exchange has so many rounds', async (test) => {
  const made = await bench(test);
  const wire = new Wire(made.connect());
  wire.connect('ENDLESS', undefined);
  for (let round = 0; round < 8; round++) {
    test.match(await wire.next(), { cmd: 'auth', reasonCode: 0x18 });
    wire.auth(0x18, undefined, 'ENDLESS');
  }
  test.match(await wire.next(), { cmd: 'connack', reasonCode: 0x87 });
  test.equal(made.stats.limitRejections[Limit.AUTHENTICATION], 1);
});

t.test('clients with name and password, and without', async (test) => {
  const made = await bench(test);
  const cases: [object, number, number][] = [
    [{ username: 'ann', password: Buffer.from('secret') }, 0, 0],
    [{ username: 'ann', password: Buffer.from('wrong') }, 0x86, 4],
    [{ username: 'ann' }, 0x86, 4],
    [{}, 0x87, 5],
  ];
  for (const [credentials, code, returnCode] of cases) {
    for (const version of [5, 4] as const) {
      const stream = made.connect();
      const connect = { cmd: 'connect', protocolVersion: version, clientId: 'c1', clean: true, keepalive: 0 };
      stream.feed(generatePacket({ ...connect, ...credentials } as ControlPacket, version));
      await eventually('an answer', () => stream.output.length > 3);
      test.equal(stream.output[3], version === 5 ? code : returnCode, JSON.stringify(credentials));
    }
  }
});
