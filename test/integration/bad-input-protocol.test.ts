// A protocol error on a running node closes that connection only, in MQTT 5 with the right reason code; before it, and where
// no CONNECT was read, without a word.

import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient } from '../helpers/mqtt-client.ts';
import { type SwarmqNode, startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(120_000);

let node: SwarmqNode;
let bystander: MqttClient;

t.before(async () => {
  node = await startNode(t, {});
  bystander = new MqttClient(t, { clientId: 'bystander', version: 5, clean: false });
  await bystander.connect(node.port);
  await bystander.subscribe('by/#', 1);
});

t.afterEach(async () => {
  const before = bystander.received.length;
  await bystander.publish('by/stander', 'x', { qos: 1 });
  await eventually('the bystander is served', () => bystander.received.length === before + 1);
});

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** What is sent behind an accepted CONNECT, and the reason code that MQTT 5 knows for it. */
const WRONG: [what: string, bytes5: string, bytes4: string, code: number][] = [
  ['a packet of type 0', '00 00', '00 00', 0x81],
  ['a length of five bytes', '30 ff ff ff ff 01', '30 ff ff ff ff 01', 0x81],
  ['flags of SUBSCRIBE that are reserved', '80 00', '80 00', 0x81],
  ['QoS 3', '36 06 0001 61 0001 00', '36 05 0001 61 0001', 0x81],
  ['a topic with a wildcard', '30 04 0001 23 00', '30 03 0001 23', 0x90],
  ['a topic that is no UTF-8', '30 04 0001 ff 00', '30 03 0001 ff', 0x81],
  ['a topic longer than its packet', '30 04 0009 61 00', '30 03 0009 61', 0x81],
  ['packet identifier 0', '32 06 0001 61 0000 00', '32 05 0001 61 0000', 0x82],
  [
    'a second CONNECT',
    '10 10 0004 4d515454 05 02 0000 00 0003 616263',
    '10 0f 0004 4d515454 04 02 0000 0003 616263',
    0x82,
  ],
  ['SUBSCRIBE without a filter', '82 03 0001 00', '82 02 0001', 0x82],
  ['a packet that only a server sends', '20 03 00 00 00', '20 02 00 00', 0x82],
  ['PINGREQ with a body', 'c0 01 00', 'c0 01 00', 0x81],
];

for (const [what, bytes5, bytes4, code] of WRONG) {
  t.test(what, async (t) => {
    for (const version of [5, 4] as const) {
      const client = new MqttClient(t, { clientId: `wrong-${version}`, version });
      await client.connect(node.port);
      client.sendBytes(hex(version === 5 ? bytes5 : bytes4));
      await eventually('it is closed', () => !client.isConnected, 5000);
      const told = client.connections[0]!.disconnectCode;
      if (version === 4) t.equal(told, undefined, 'MQTT 3.1.1 has no DISCONNECT of the server');
      // What cannot be read may be called malformed or against the protocol.
      else if (code === 0x82) t.ok(told === 0x82 || told === 0x81, `0x${told?.toString(16)}`);
      else t.equal(told, code);
    }
  });
}

/** Everything that the node answers to bytes in place of a CONNECT, until it closes. */
function answerTo(t: Test, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = connect({ port: node.port, host: '127.0.0.1' });
    t.teardown(() => socket.destroy());
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => {});
    socket.on('close', () => resolve(Buffer.concat(chunks)));
    socket.write(bytes);
  });
}

t.test('in place of CONNECT', async (t) => {
  for (const text of [
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00',
    '\x30\x03\x00\x01a',
    '\xc0\x00',
  ]) {
    t.equal((await answerTo(t, Buffer.from(text, 'latin1'))).length, 0, 'closed without a word');
  }
  const cases: [string, string, RegExp][] = [
    ['a level that nobody knows, as MQTT 6', '10 0d 0004 4d515454 06 02 0000 0001 61', /^20..0084/],
    ['a level of 3.1.1 and a half, as 3.1.1', '10 0d 0004 4d515454 02 02 0000 0001 61', /^20020001$/],
    ['another protocol', '10 0d 0004 4d515458 04 02 0000 0001 61', /^$/],
    ['the reserved flag of CONNECT', '10 0e 0004 4d515454 05 03 0000 00 0001 61', /^20..0081/],
    ['no client id and a session to keep, 3.1.1', '10 0c 0004 4d515454 04 00 0000 0000', /^20020002$/],
    ['AUTH by a method', '10 18 0004 4d515454 05 02 0000 0a 15 0007 756e6b6e6f776e 0001 61', /^20..008c/],
  ];
  for (const [what, bytes, wanted] of cases)
    t.match((await answerTo(t, hex(bytes))).toString('hex'), wanted, what);
});

t.test('noise: no bytes end the node', async (t) => {
  let seed = 12_345;
  t.comment(`seed ${seed}`);
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed;
  };
  const rounds = Array.from({ length: 100 }, async () => {
    const client = new MqttClient(t, { clientId: `noise-${random()}`, version: random() % 2 === 0 ? 4 : 5 });
    await client.connect(node.port);
    const bytes = Buffer.from(Array.from({ length: 200 }, () => random() % 256));
    // A first byte that may begin a packet, so that more than the first check is met.
    bytes[0] = [0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x82, 0xa2, 0xe0, 0xf0][random() % 10]!;
    bytes[1] = random() % 60;
    client.sendBytes(bytes);
    client.sendBytes(hex('00 00'));
    await eventually('it is closed', () => !client.isConnected);
  });
  await Promise.all(rounds);
  t.ok(node.isRunning);
  t.notMatch(node.log, /"level":"(error|fatal)"/, 'and none is an error of ours');
});
