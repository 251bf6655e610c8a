// SUBSCRIBE and UNSUBSCRIBE on one connection, filter by filter: what is granted, what is refused with which code, and
// that a packet with very many filters is answered like any other.

import t from 'tap';
import { ControlStream } from '../../src/connection/control-stream.ts';
import type { ControlPacket } from '../../src/mqtt/codec.ts';
import { Limit } from '../../src/observability/node-stats.ts';
import { SwarmqError } from '../../src/util/errors.ts';
import {
  answers,
  bench,
  bytesOf,
  established,
  subscribe,
  unsubscribe,
} from '../helpers/connection-client.ts';
import { eventually } from '../helpers/eventually.ts';

t.test('SUBACK and UNSUBACK tell filter by filter', async (test) => {
  const made = await bench(test);
  const filters = ['ok/+', '$share/g', 'bad/#/x', 'ok/+', `deep${'/x'.repeat(30)}`];
  for (const [version, granted] of [
    [5, [1, 0x8f, 0x8f, 1, 0x8f]],
    [4, [1, 0x80, 0x80, 1, 0x80]],
  ] as const) {
    const stream = await established(made, version);
    stream.feed(bytesOf(version, subscribe(5, ...filters)));
    await eventually('SUBACK', () => answers(version, stream).length === 2);
    test.match(answers(version, stream)[1], { cmd: 'suback', messageId: 5, granted });
    test.equal(made.log.at(-2), 'subscribe ok/+:1');
    stream.feed(bytesOf(version, subscribe(6, 'a', 'b', 'c', '__proto__', 'constructor')));
    await eventually('SUBACK', () => answers(version, stream).length === 3);
    const full = version === 5 ? 0x97 : 0x80;
    test.match(answers(version, stream)[2], { granted: [1, 1, 1, 1, full] }, 'five subscriptions at most');
    stream.feed(bytesOf(version, unsubscribe(7, 'ok/+', 'nope', 'bad/#/x', 'ok/+', '__proto__')));
    await eventually('UNSUBACK', () => answers(version, stream).length === 4);
    const last = answers(version, stream)[3];
    test.match(last, { cmd: 'unsuback', messageId: 7 });
    if (version === 5) test.same((last as { granted: number[] }).granted, [0, 0x11, 0x8f, 0x11, 0]);
    stream.hangUp();
  }
  test.equal(made.stats.subscribesDenied, 8);
});

t.test('more filters in one packet than a session may have', async (test) => {
  const made = await bench(test);
  for (const [version, full] of [
    [5, 0x97],
    [4, 0x80],
  ] as const) {
    const stream = await established(made, version);
    const codesOf = async (packet: ControlPacket, count: number) => {
      stream.feed(bytesOf(version, packet));
      await eventually('an answer', () => answers(version, stream).length === count);
      return (answers(version, stream)[count - 1] as { granted: number[] }).granted;
    };
    const first = await codesOf(subscribe(1, 'a', 'b', 'c', 'b', 'd', 'e', 'f', 'g', 'a'), 2);
    test.same(first, [1, 1, 1, 1, 1, 1, full, full, 1], 'those beyond the limit are refused, twice is once');
    const again = await codesOf(subscribe(2, 'x', 'a', 'y', 'b', 'c', 'd', 'e'), 3);
    test.same(again, [full, 1, full, 1, 1, 1, 1], 'what the session has does not count again');
    const none = await codesOf(subscribe(3, 'x', 'y', 'z', '#/', 'u', 'v'), 4);
    test.same(none, [full, full, full, version === 5 ? 0x8f : 0x80, full, full], 'nothing to grant');
    const gone = await codesOf(unsubscribe(4, 'x', 'a', 'b', 'y', 'c', 'd', 'e', 'z', 'a'), 5);
    if (version === 5) test.same(gone, [0x11, 0, 0, 0x11, 0, 0, 0, 0x11, 0x11]);
    test.same(await codesOf(subscribe(5, 'x'), 6), [1], 'there is room again');
    test.notOk(stream.isEnded, 'the connection stays');
    stream.hangUp();
  }
  test.equal(made.stats.limitRejections[Limit.SUBSCRIPTIONS_PER_SESSION], 18);
});

t.test('very many filters in one packet cost little', async (test) => {
  const made = await bench(test, { maxPacketSizeBytes: 2_000_000 });
  const stream = await established(made, 5);
  const COUNT = 50_000;
  const filters = Array.from({ length: COUNT }, (_one, index) => index.toString(36));
  let asked = 0;
  const { feed } = ControlStream.prototype;
  ControlStream.prototype.feed = function (packet) {
    asked = Math.max(asked, packet.length);
    feed.call(this, packet);
  };
  test.teardown(() => {
    ControlStream.prototype.feed = feed;
  });
  for (const filter of [filters, Array.from({ length: COUNT }, () => 'same')]) {
    const before = answers(5, stream).length;
    stream.feed(bytesOf(5, subscribe(1, ...filter)));
    stream.feed(bytesOf(5, unsubscribe(2, ...filter)));
    await eventually('both answers', () => answers(5, stream).length === before + 2);
    for (const answer of answers(5, stream).slice(before)) {
      test.equal((answer as { granted: number[] }).granted.length, COUNT);
    }
  }
  test.ok(asked < 100, `Aedes is asked for those only that may be granted: a packet of ${asked} bytes`);
});

t.test('shared subscriptions', async (test) => {
  const made = await bench(test);
  for (const version of [4, 5] as const) {
    const stream = await established(made, version);
    stream.feed(bytesOf(version, subscribe(5, '$share/g/a/+', '$share/g+/a', '$share//a', '$share/g/')));
    await eventually('SUBACK', () => answers(version, stream).length === 2);
    const invalid = version === 5 ? 0x8f : 0x80;
    test.match(answers(version, stream)[1], { granted: [1, invalid, invalid, invalid] });
    test.equal(made.log.at(-2), 'subscribe $share/g/a/+:1');
    made.sessions.sessions.at(-1)!.members = 3;
    stream.feed(bytesOf(version, subscribe(6, '$share/g/b')));
    await eventually('SUBACK', () => answers(version, stream).length === 3);
    test.match(answers(version, stream)[2], { granted: [version === 5 ? 0x97 : 0x80] }, 'a group is full');
    stream.hangUp();
  }
  test.equal(made.stats.limitRejections[Limit.GROUP_MEMBERS], 2);
});

t.test('a session that cannot subscribe', async (test) => {
  const made = await bench(test);
  const stream = await established(made, 5);
  const session = made.sessions.sessions[0];
  session.fault = new SwarmqError('SWARMQ_ERR_PACKET_PROTOCOL', 'full', { reasonCode: 0x97 });
  stream.feed(bytesOf(5, subscribe(1, 'a', '#/x')));
  await eventually('SUBACK', () => answers(5, stream).length === 2);
  test.match(answers(5, stream)[1], { granted: [0x97, 0x8f] });
  test.notMatch(made.log.join(), 'retained');
  session.fault = new SwarmqError('SWARMQ_ERR_SESSION_FENCED', 'c1');
  stream.feed(bytesOf(5, subscribe(2, 'a')));
  await eventually('DISCONNECT', () => stream.isClosed);
  test.match(answers(5, stream)[2], { cmd: 'disconnect', reasonCode: 0x8e });
});

t.test(
  'a subscription that the store refused is not answered: the next connection reads what stands',
  async (test) => {
    const made = await bench(test);
    const stream = await established(made, 5);
    made.sessions.sessions[0]!.fault = new SwarmqError('SWARMQ_ERR_STORE_REPLY', 'ERR');
    stream.feed(bytesOf(5, subscribe(1, 'a')));
    await eventually('DISCONNECT', () => stream.isClosed);
    test.match(
      answers(5, stream).map(({ cmd }) => cmd),
      ['connack', 'disconnect'],
    );
  },
);

t.test('an UNSUBACK that is too large with its reason says the same without', async (test) => {
  const made = await bench(test);
  const stream = await established(made, 5, { properties: { maximumPacketSize: 50 } });
  stream.feed(bytesOf(5, subscribe(1, 'a')));
  await eventually('SUBACK', () => answers(5, stream).length === 2);
  stream.feed(bytesOf(5, unsubscribe(2, 'a', '#/x')));
  await eventually('UNSUBACK', () => answers(5, stream).length === 3);
  const unsuback = answers(5, stream)[2] as { granted: number[]; properties?: object };
  test.same(unsuback.granted, [0, 0x8f]);
  test.notOk(unsuback.properties);
});
