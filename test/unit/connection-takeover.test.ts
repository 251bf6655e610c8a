// A connection that is taken over with packets waiting: what a DISCONNECT among them decides about the will. And when
// the connection of a client that says DISCONNECT ends: whoever awaits that may be elsewhere in the next moment.

import t from 'tap';
import { type ControlPacket, generatePacket } from '../../src/mqtt/codec.ts';
import type { ProtocolVersion } from '../../src/session/link.ts';
import { openBench } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';

const CONNECT = { cmd: 'connect', protocolId: 'MQTT', clientId: 'c1', clean: true, keepalive: 0 };
const DISCONNECT = { cmd: 'disconnect', reasonCode: 0 } as ControlPacket;
const PINGREQ: ControlPacket = { cmd: 'pingreq' };

const bytesOf = (version: ProtocolVersion, ...packets: ControlPacket[]): Buffer =>
  Buffer.concat(packets.map((packet) => generatePacket(packet, version)));

t.test(
  'a DISCONNECT that has come calls the will off, though a takeover comes before its turn',
  async (test) => {
    const made = await openBench();
    test.teardown(() => made.close());
    const large = {
      cmd: 'publish',
      topic: 't',
      payload: 'x'.repeat(200),
      qos: 1,
      messageId: 7,
    } as ControlPacket;
    const cases: [string, ProtocolVersion, Buffer, string][] = [
      ['DISCONNECT', 5, bytesOf(5, large, DISCONNECT), 'release clean 0'],
      ['DISCONNECT, MQTT 3.1.1', 4, bytesOf(4, PINGREQ, DISCONNECT), 'release clean 0'],
      [
        'one that asks for the will',
        5,
        bytesOf(5, { cmd: 'disconnect', reasonCode: 4 } as ControlPacket),
        'release will 0',
      ],
      ['one that is not whole', 5, Buffer.of(0xe0, 2, 0), 'release will 0'],
      [
        'one behind a broken packet',
        5,
        Buffer.concat([Buffer.of(0, 0), bytesOf(5, DISCONNECT)]),
        'release will 0',
      ],
      ['a broken one', 5, Buffer.of(0xe0, 1, 0xff), 'release will 0'],
      ['a length without end', 5, Buffer.of(0x30, 0xff, 0xff, 0xff, 0xff, 1), 'release will 0'],
      ['none', 5, bytesOf(5, PINGREQ), 'release will 0'],
    ];
    for (const [name, version, bytes, expected] of cases) {
      const stream = made.connect();
      stream.feed(bytesOf(version, { ...CONNECT, protocolVersion: version } as ControlPacket));
      await eventually('CONNACK', () => stream.writes.length > 0);
      const link = made.sessions.sessions.at(-1)!.link!;
      link.hold('earlier-wills');
      stream.feed(bytes);
      link.close(0x8e);
      test.equal(made.log.at(-1), expected, name);
      test.notMatch(made.log.join(), 'publish t');
    }
    test.equal(made.stats.connectionsHeld, 0);
  },
);

t.test('a connection that DISCONNECT ends is closed behind the release of its session', async (test) => {
  const made = await openBench();
  test.teardown(() => made.close());
  const establish = async () => {
    const stream = made.connect();
    stream.feed(bytesOf(5, { ...CONNECT, protocolVersion: 5 } as ControlPacket));
    await eventually('CONNACK', () => stream.writes.length > 0);
    let letGo = () => {};
    made.sessions.sessions.at(-1)!.gate = new Promise((resolve) => {
      letGo = resolve;
    });
    return { stream, letGo: () => letGo() };
  };
  const leaving = await establish();
  leaving.stream.feed(bytesOf(5, DISCONNECT));
  await eventually('the release', () => made.log.at(-1) === 'release clean 0');
  test.notOk(leaving.stream.isClosed, 'what it has said of its session is not done');
  leaving.letGo();
  await eventually('the end', () => leaving.stream.isClosed);

  const refused = await establish();
  made.sessions.sessions.at(-1)!.link!.close(0x8e);
  await eventually('the end: who is told to go has nothing to wait for', () => refused.stream.isClosed);
  refused.letGo();

  const unlucky = await establish();
  unlucky.stream.feed(bytesOf(5, DISCONNECT));
  await eventually('the release', () => made.log.at(-1) === 'release clean 0');
  made.clock.advance(6000);
  await eventually('the end, though the store is away', () => unlucky.stream.isClosed);
});
