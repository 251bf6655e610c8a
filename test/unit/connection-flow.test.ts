// Order of control and data packets on one connection, and its end: with Aedes itself, a stream in memory, and a session
// and an ingress that write down what they are asked.

import t from 'tap';
import { type ControlPacket, generatePacket } from '../../src/mqtt/codec.ts';
import { PACKET_TYPE_NAMES } from '../../src/mqtt/packet-type.ts';
import type { ProtocolVersion } from '../../src/session/link.ts';
import {
  answers,
  bench,
  bytesOf,
  connect,
  established,
  subscribe,
  unsubscribe,
} from '../helpers/connection-client.ts';
import type { MemoryStream } from '../helpers/connection-fakes.ts';
import { eventually } from '../helpers/eventually.ts';

const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5];

function publish(topic: string, payload: string, qos: 0 | 1 | 2 = 0, messageId = 0): ControlPacket {
  return { cmd: 'publish', topic, payload, qos, dup: false, retain: false, messageId };
}

const DISCONNECT = { cmd: 'disconnect', reasonCode: 0 } as ControlPacket;
const PINGREQ: ControlPacket = { cmd: 'pingreq' };

const kinds = (version: ProtocolVersion, stream: MemoryStream) =>
  answers(version, stream).map((one) => one.cmd);

const WHOLE_LIFE_LOG = [
  'claim c1',
  'attach',
  'start',
  'publish t/0 before',
  'subscribe a/b:1 c:1',
  'retained',
  'publish t/1 between',
  'unsubscribe a/b',
  'publish t/2 after',
  'publisher closed',
  'release clean 0',
];

for (const version of VERSIONS) {
  t.test(
    `interleaving 11: a whole life in one segment, split at every byte, MQTT ${version}`,
    async (test) => {
      const made = await bench(test);
      const life = bytesOf(
        version,
        connect(version),
        publish('t/0', 'before'),
        subscribe(1, 'a/b', 'c'),
        publish('t/1', 'between', 1, 7),
        unsubscribe(2, 'a/b'),
        publish('t/2', 'after', 2, 8),
        DISCONNECT,
        publish('t/3', 'too late'),
      );
      for (let split = 0; split <= life.length; split++) {
        made.log.length = 0;
        const stream = made.connect();
        if (split > 0) stream.feed(life.subarray(0, split));
        // Half of the runs leave the first part time to take effect, half close at once behind the last byte.
        if (split % 2 === 0) await new Promise((resolve) => setImmediate(resolve));
        if (split < life.length) stream.feed(life.subarray(split));
        if (split % 4 < 2) stream.hangUp();
        await eventually(`the end (split at ${split})`, () => made.log.at(-1)?.startsWith('release'));
        test.same(made.log, WHOLE_LIFE_LOG, `order, split at ${split}`);
        if (split % 4 >= 2) await eventually('close', () => stream.isClosed);
        const expected = ['connack', 'suback', 'puback', 'unsuback', 'pubrec'];
        if (split % 4 >= 2) test.same(kinds(version, stream), expected, `answers, split at ${split}`);
      }
      await eventually('no connection left', () => made.connections.size === 0);
      test.equal(made.stats.sessionsConnected, 0);
    },
  );
}

t.test(
  'data behind a SUBSCRIBE that is not answered waits, and the socket is not read beyond a little',
  async (test) => {
    const made = await bench(test);
    const stream = await established(made, 4);
    let open = () => {};
    made.sessions.sessions[0].gate = new Promise((resolve) => {
      open = resolve;
    });
    stream.feed(bytesOf(4, subscribe(1, 'a'), publish('t', 'x'), PINGREQ));
    await eventually('the session is asked', () => made.log.includes('subscribe a:1'));
    test.notOk(stream.isPaused, 'the rest is small: the end of the client would be noticed');
    stream.feed(bytesOf(4, publish('t', 'y'.repeat(5000))));
    test.ok(stream.isPaused, 'more than a little waits');
    test.notMatch(made.log.join(), 'publish');
    open();
    await eventually('PINGRESP', () => kinds(4, stream).includes('pingresp'));
    test.same(kinds(4, stream), ['connack', 'suback', 'pingresp']);
    test.notOk(stream.isPaused);
    test.equal(made.log.filter((one) => one.startsWith('publish')).length, 2);
  },
);

t.test('a client that goes away while its SUBSCRIBE waits ends behind what it had sent', async (test) => {
  const made = await bench(test);
  const stream = await established(made, 4);
  let open = () => {};
  made.sessions.sessions[0].gate = new Promise((resolve) => {
    open = resolve;
  });
  stream.feed(bytesOf(4, subscribe(1, 'a'), publish('t', 'x')));
  await eventually('the session is asked', () => made.log.includes('subscribe a:1'));
  stream.hangUp();
  test.notMatch(made.log.join(), 'release');
  open();
  await eventually('released', () => made.log.at(-1)?.startsWith('release'));
  test.same(made.log.slice(-4), ['retained', 'publish t x', 'publisher closed', 'release will 0']);
  test.equal(made.connections.size, 0);
});

t.test('a held connection is neither cut nor read beyond a little', async (test) => {
  const made = await bench(test);
  made.ingress.onPublish = (link) => {
    link.hold('uncommitted');
    link.hold('node-full');
  };
  const stream = await established(made, 4);
  const link = made.sessions.sessions[0].link!;
  stream.feed(bytesOf(4, publish('t', '1'), publish('t', '2')));
  stream.feed(Buffer.concat([bytesOf(4, publish('t', 'x'.repeat(6000))), bytesOf(4, DISCONNECT)]));
  test.same(made.log.slice(3), ['publish t 1']);
  test.ok(stream.isPaused);
  test.equal(made.stats.connectionsHeld, 1);
  made.ingress.onPublish = () => {};
  link.unhold('uncommitted');
  test.equal(made.log.length, 4, 'both reasons must go');
  // The socket is gone meanwhile: what it brought still counts.
  stream.hangUp();
  link.unhold('node-full');
  test.equal(made.log.length, 4, 'whoever lets go is not called back from within');
  await eventually('released', () => made.log.at(-1)?.startsWith('release'));
  test.match(made.log.slice(4), ['publish t 2', /publish t xxx/, 'publisher closed', 'release clean 0']);
  test.equal(made.stats.connectionsHeld, 0);
});

t.test('a hang-up between the last hold and the going on loses nothing', async (test) => {
  const made = await bench(test);
  const stream = await established(made, 4);
  const link = made.sessions.sessions[0].link!;
  link.hold('uncommitted');
  stream.feed(bytesOf(4, publish('t', 'x'), DISCONNECT));
  link.unhold('uncommitted');
  stream.hangUp();
  await eventually('released', () => made.log.at(-1)?.startsWith('release'));
  test.same(made.log.slice(-3), ['publish t x', 'publisher closed', 'release clean 0']);
});

t.test('DISCONNECT waits until earlier messages are taken in', async (test) => {
  const made = await bench(test);
  let take = () => {};
  made.ingress.taken = (run) => {
    take = run;
  };
  const stream = await established(made, 5);
  stream.feed(bytesOf(5, publish('t', 'x', 1, 1), DISCONNECT));
  stream.hangUp();
  await new Promise((resolve) => setTimeout(resolve, 20));
  test.notMatch(made.log.join(), 'release');
  take();
  await eventually('released', () => made.log.includes('release clean 0'));
});

t.test('how a session is left', async (test) => {
  const made = await bench(test);
  const expiry = { properties: { sessionExpiryInterval: 60 } };
  const cases: [string, ProtocolVersion, object, ControlPacket | null, string][] = [
    ['hang-up', 4, {}, null, 'release will 0'],
    ['hang-up of a session to keep, clamped', 4, { clean: false }, null, 'release will 3600'],
    ['DISCONNECT of a session to keep', 3, { clean: false }, DISCONNECT, 'release clean 3600'],
    ['hang-up, MQTT 5', 5, expiry, null, 'release will 60'],
    ['DISCONNECT, MQTT 5', 5, expiry, DISCONNECT, 'release clean 60'],
    ['with will', 5, expiry, { cmd: 'disconnect', reasonCode: 4 } as ControlPacket, 'release will 60'],
    [
      'another expiry',
      5,
      expiry,
      { cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 7200 } } as ControlPacket,
      'release clean 3600',
    ],
    [
      'an expiry raised from 0',
      5,
      {},
      { cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 1 } } as ControlPacket,
      'release will 0',
    ],
  ];
  for (const [name, version, more, leave, expected] of cases) {
    made.log.length = 0;
    const stream = await established(made, version, more);
    if (leave === null) stream.hangUp();
    else stream.feed(bytesOf(version, leave));
    await eventually(name, () => made.log.at(-1)?.startsWith('release'));
    test.equal(made.log.at(-1), expected, name);
  }
});

t.test('the client goes away while its claim waits', async (test) => {
  const made = await bench(test);
  let open = () => {};
  made.sessions.gate = new Promise((resolve) => {
    open = resolve;
  });
  const gone = made.connect();
  gone.feed(bytesOf(4, connect(4)));
  await eventually('claim', () => made.log.includes('claim c1'));
  test.ok(gone.isEstablished, 'the time limit of the listener has ended');
  gone.hangUp();
  test.equal(made.connections.size, 0, 'its end is noticed at once');
  const patient = made.connect();
  patient.feed(bytesOf(4, connect(4, { clientId: 'c2' }), publish('t', 'early')));
  await eventually('second claim', () => made.log.includes('claim c2'));
  test.equal(patient.writes.length, 0, 'no CONNACK before the claim');
  open();
  await eventually('CONNACK', () => patient.writes.length > 0);
  test.same(made.log, ['claim c1', 'claim c2', 'release will 0', 'attach', 'start', 'publish t early']);
});

t.test(
  'A to B to A: late events of Aedes for one connection do not touch the next of the same client',
  async (test) => {
    const made = await bench(test);
    const first = await established(made, 5);
    const second = made.connect();
    second.feed(bytesOf(5, connect(5)));
    first.feed(bytesOf(5, subscribe(1, 'a'), DISCONNECT));
    await eventually(
      'both ran',
      () => second.writes.length > 0 && made.log.some((one) => one.startsWith('release')),
    );
    const third = await established(made, 5);
    second.hangUp();
    await eventually(
      'second released',
      () => made.log.filter((one) => one.startsWith('release')).length === 2,
    );
    third.feed(bytesOf(5, subscribe(9, 'a', 'b'), PINGREQ));
    await eventually('the third lives', () => kinds(5, third).includes('pingresp'));
    test.same(kinds(5, third), ['connack', 'suback', 'pingresp']);
    test.equal(made.stats.sessionsConnected, 1);
  },
);

t.test('a takeover says so and does not wait for the client to close', async (test) => {
  const made = await bench(test);
  for (const version of [4, 5] as const) {
    const stream = await established(made, version);
    stream.closesBack = false;
    const session = made.sessions.sessions.at(-1)!;
    session.link!.close(0x8e);
    session.link!.close(0x8e);
    test.equal(made.log.filter((one) => one.startsWith('release')).length, version - 3, 'released once');
    const goodbye = answers(version, stream).at(-1) as { cmd: string; reasonCode?: number };
    if (version === 5) test.match(goodbye, { cmd: 'disconnect', reasonCode: 0x8e });
    else test.equal(goodbye.cmd, 'connack');
    test.ok(stream.isEnded);
    made.clock.advance(400);
    test.notOk(stream.isDestroyed);
    made.clock.advance(600);
    test.ok(stream.isDestroyed, 'within a second');
    stream.feed(bytesOf(version, publish('t', 'late')));
    test.notMatch(made.log.join(), 'late');
  }
});

t.test('faults of the protocol end that connection only, in MQTT 5 with the reason', async (test) => {
  const made = await bench(test);
  const other = await established(made, 5, { clientId: 'bystander' });
  const badSubscribe = generatePacket(subscribe(1, 'a'), 5);
  badSubscribe[badSubscribe.length - 1] = 0x30;
  const cases: [string, Buffer, number][] = [
    ['second CONNECT', bytesOf(5, connect(5)), 0x82],
    ['AUTH', Buffer.from('f00118', 'hex'), 0x82],
    ['CONNACK', Buffer.from('2003000000', 'hex'), 0x82],
    ['PUBLISH with QoS 3', Buffer.from('3606000161000100', 'hex'), 0x81],
    ['reserved flags', Buffer.from('8000', 'hex'), 0x81],
    ['packet id 0', Buffer.from('40020000', 'hex'), 0x82],
    ['too large', Buffer.from('30ffffff7f', 'hex'), 0x95],
    ['retain handling 3', badSubscribe, 0x82],
    ['no filter', Buffer.from('8203000100', 'hex'), 0x82],
    ['PINGREQ with a body', Buffer.from('c00100', 'hex'), 0x81],
  ];
  for (const [name, bytes, reasonCode] of cases) {
    const stream = await established(made, 5);
    stream.feed(bytes);
    await eventually(name, () => stream.isClosed);
    test.match(answers(5, stream), [{ cmd: 'connack' }, { cmd: 'disconnect', reasonCode }], name);
    test.equal(made.log.at(-1), 'release will 0', name);
    const older = await established(made, 4);
    older.feed(bytes);
    await eventually(name, () => older.isClosed);
    test.same(kinds(4, older), ['connack'], `${name}, MQTT 3.1.1`);
  }
  other.feed(bytesOf(5, PINGREQ));
  await eventually('the bystander lives', () => kinds(5, other).includes('pingresp'));
});

t.test('what must come first', async (test) => {
  const made = await bench(test);
  for (const bytes of [
    bytesOf(4, PINGREQ),
    bytesOf(4, publish('t', 'x')),
    Buffer.from('GET / HTTP/1.1\r\n'),
  ]) {
    const stream = made.connect();
    stream.feed(bytes);
    await eventually('closed', () => stream.isClosed);
    test.equal(stream.output.length, 0);
  }
  test.equal(made.log.length, 0);
});

t.test('acks go to the session and to the publisher', async (test) => {
  const made = await bench(test);
  const stream = await established(made, 5);
  stream.feed(Buffer.from('40020007' + '5003000880' + '62020009' + '7002000a', 'hex'));
  test.same(made.log.slice(3), ['puback 7 0', 'pubrec 8 128', 'pubrel 9', 'pubcomp 10 0']);
  const counts = [...made.stats.packetsReceived];
  test.same(counts.map((count, type) => (count > 0 ? PACKET_TYPE_NAMES[type] : '')).filter(Boolean), [
    'connect',
    'puback',
    'pubrec',
    'pubrel',
    'pubcomp',
  ]);
});

t.test('keep-alive ends a silent connection, not one that we do not read', async (test) => {
  const made = await bench(test);
  const [silent, held, lively] = [
    await established(made, 5, { keepalive: 2, clientId: 'silent' }),
    await established(made, 5, { keepalive: 2, clientId: 'held' }),
    await established(made, 5, { keepalive: 2, clientId: 'lively' }),
  ];
  made.sessions.sessions[1].link!.hold('uncommitted');
  made.clock.advance(2750);
  lively.feed(bytesOf(5, PINGREQ));
  test.equal(made.stats.sessionsConnected, 3);
  made.clock.advance(1000);
  test.match(answers(5, silent).at(-1)!, { cmd: 'disconnect', reasonCode: 0x8d });
  test.notOk(held.isEnded);
  test.notOk(lively.isEnded);
  made.clock.advance(60_000);
  test.ok(lively.isEnded);
  test.notOk(held.isEnded);
  made.sessions.sessions[1].link!.unhold('uncommitted');
  await new Promise((resolve) => setImmediate(resolve));
  made.clock.advance(2750);
  test.notOk(held.isEnded, 'its time begins anew');
  made.clock.advance(1000);
  test.ok(held.isEnded);
});

t.test('a node with all its connections taken closes the next', async (test) => {
  const made = await bench(test, { maxConnections: 1 });
  await established(made, 4);
  const next = made.connect();
  test.ok(next.isDestroyed);
  test.equal(made.connections.size, 1);
  await made.connections.closeAll(0x8b);
  test.equal(made.connections.size, 0);
});
