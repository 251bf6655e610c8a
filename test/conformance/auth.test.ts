// Enhanced authentication by SCRAM-SHA-256, byte by byte, the client's half of it made here from RFC 5802: the exchange,
// its refusals, and authentication anew.

import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { type Bed, startBeds } from './bed.ts';
import * as mqtt from './packets.ts';
import type { Wire } from './wire.ts';

const METHOD = 'SCRAM-SHA-256';
const SALT = Buffer.from('salt of the tests');
const ROUNDS = 4096;
const PASSWORD = 'right';

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest();
const base64 = (bytes: Buffer): string => bytes.toString('base64');

const salted = (password: string): Buffer => pbkdf2Sync(password, SALT, ROUNDS, 32, 'sha256');
const stored = base64(sha256(hmac(salted(PASSWORD), 'Client Key')));
const server = base64(hmac(salted(PASSWORD), 'Server Key'));

const statement = await startBeds(
  `auth:\n  users:\n    alice:\n      keys: "${METHOD}$${ROUNDS}:${base64(SALT)}$${stored}:${server}"\n`,
);

/** The client's half of one exchange. */
class Scram {
  readonly first: string;
  readonly #password: string;
  #authMessage = '';

  constructor(password = PASSWORD, user = 'alice') {
    this.first = `n=${user},r=rOprNGfwEbeRWgbNEkqO`;
    this.#password = password;
  }

  get firstData(): Buffer {
    return Buffer.from(`n,,${this.first}`);
  }

  /** The answer to what the server said first. */
  final(serverFirst: string): Buffer {
    const nonce = /r=([^,]+)/.exec(serverFirst)?.[1];
    const withoutProof = `c=biws,r=${nonce}`;
    this.#authMessage = `${this.first},${serverFirst},${withoutProof}`;
    const clientKey = hmac(salted(this.#password), 'Client Key');
    const signature = hmac(sha256(clientKey), this.#authMessage);
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature[index]!));
    return Buffer.from(`${withoutProof},p=${base64(proof)}`);
  }

  /** What only a server that knows the keys can say. */
  get verifier(): string {
    return `v=${base64(hmac(hmac(salted(PASSWORD), 'Server Key'), this.#authMessage))}`;
  }
}

const properties = (data?: Buffer, method = METHOD): mqtt.Properties => [
  ['authMethod', method],
  ...(data ? [['authData', data] as const] : []),
];
const textOf = (answer: mqtt.Answer): string => String(mqtt.valuesOf(answer, 'authData')[0] ?? '');

/** CONNECT and the exchange up to the client's last word; what the server says to that is still to come. */
async function begin(bed: Bed, word: string, scram: Scram): Promise<Wire> {
  const wire = bed.open();
  const list: mqtt.Properties = [...properties(scram.firstData), ['sessionExpiry', 60]];
  wire.send(mqtt.connect(5, bed.name(word), { properties: list }));
  const challenge = await wire.next(mqtt.AUTH);
  bed.test.equal(challenge.code, 0x18);
  bed.test.same(mqtt.valuesOf(challenge, 'authMethod'), [METHOD]);
  wire.send(mqtt.auth(0x18, properties(scram.final(textOf(challenge)))));
  return wire;
}

statement(
  ['MQTT5-4.12.0-2', 'MQTT5-4.12.0-3', 'MQTT5-4.12.0-5', 'MQTT5-3.15.2-1', 'MQTT5-3.2.0-1'],
  'AUTH goes to and fro with 0x18 and the method of CONNECT, then CONNACK names it too',
  async (t, bed) => {
    const scram = new Scram();
    const wire = await begin(bed, 'client', scram);
    const connack = await wire.next(mqtt.CONNACK);
    t.equal(connack.code, 0);
    t.same(mqtt.valuesOf(connack, 'authMethod'), [METHOD]);
    t.equal(textOf(connack), scram.verifier);
    await wire.settled();
  },
);

statement(
  ['MQTT5-4.12.0-4', 'MQTT5-3.2.2-7'],
  'a wrong proof, a user that nobody knows and data that make no sense are refused, then closed',
  async (t, bed) => {
    for (const scram of [new Scram('wrong'), new Scram(PASSWORD, 'mallory')]) {
      const wire = await begin(bed, 'client', scram);
      const answers = await wire.closed();
      t.equal(answers.length, 1);
      t.match(answers[0], { type: mqtt.CONNACK, code: 0x87, flags: 0 });
    }
    const nonsense = bed.open();
    nonsense.send(mqtt.connect(5, bed.name('client'), { properties: properties(Buffer.of(0, 255)) }));
    t.ok((await nonsense.closed()).every(({ type, code }) => type === mqtt.CONNACK && code >= 0x80));
  },
);

statement(
  ['MQTT5-4.12.0-3', 'MQTT5-3.15.2-1', 'MQTT5-4.12.0-5'],
  'another reason than 0x18 or another method within the exchange ends it',
  async (t, bed) => {
    const scram = new Scram();
    for (const answer of [
      (data: Buffer) => mqtt.auth(0x19, properties(data)),
      (data: Buffer) => mqtt.auth(0x00, properties(data)),
      (data: Buffer) => mqtt.auth(0x18, properties(data, 'OTHER')),
      () => mqtt.publish(5, bed.name('x'), 'x'),
    ]) {
      const wire = bed.open();
      wire.send(mqtt.connect(5, bed.name('client'), { properties: properties(scram.firstData) }));
      const challenge = await wire.next(mqtt.AUTH);
      wire.send(answer(scram.final(textOf(challenge))));
      const answers = await wire.closed();
      t.ok(answers.every(({ type, code }) => type === mqtt.CONNACK && code >= 0x80));
    }
  },
);

statement(
  ['MQTT5-4.12.1-1', 'MQTT5-4.12.0-5', 'MQTT5-3.15.2-1'],
  'authentication anew: by the method of CONNECT, while messages go on; another method ends the connection',
  async (t, bed) => {
    const wire = await begin(bed, 'client', new Scram());
    await wire.next(mqtt.CONNACK);
    const topic = bed.name('goes-on');
    await wire.subscribe(topic, 0);
    const again = new Scram();
    wire.send(mqtt.auth(0x19, properties(again.firstData)));
    const challenge = await wire.next(mqtt.AUTH);
    t.equal(challenge.code, 0x18);
    wire.send(mqtt.publish(5, topic, 'meanwhile'));
    t.match(await wire.receive(), { payload: 'meanwhile' });
    wire.send(mqtt.auth(0x18, properties(again.final(textOf(challenge)))));
    const done = await wire.next(mqtt.AUTH);
    t.equal(done.code, 0);
    t.same(mqtt.valuesOf(done, 'authMethod'), [METHOD]);
    t.equal(textOf(done), again.verifier);
    wire.send(mqtt.auth(0x19, properties(again.firstData, 'OTHER')));
    await wire.refusedWith(0x82, 0x8c);
  },
);

statement(
  ['MQTT5-4.12.1-2'],
  'authentication anew that fails is told by DISCONNECT, then closed',
  async (_t, bed) => {
    const wire = await begin(bed, 'client', new Scram());
    await wire.next(mqtt.CONNACK);
    const wrong = new Scram('wrong');
    wire.send(mqtt.auth(0x19, properties(wrong.firstData)));
    const challenge = await wire.next(mqtt.AUTH);
    wire.send(mqtt.auth(0x18, properties(wrong.final(textOf(challenge)))));
    await wire.refusedWith(0x87, 0x86);
  },
);
