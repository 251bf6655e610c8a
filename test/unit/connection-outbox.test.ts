// One write a tick, bounded waiting, and the two bounds of a client that does not read.

import fc from 'fast-check';
import t from 'tap';
import { Outbox } from '../../src/connection/outbox.ts';
import { TickEnd } from '../../src/connection/tick-end.ts';
import { encodeAck } from '../../src/mqtt/ack.ts';
import { type ControlPacket, generatePacket } from '../../src/mqtt/codec.ts';
import { buildBody, encodePublish, type Outbound } from '../../src/mqtt/message.ts';
import { PacketType } from '../../src/mqtt/packet-type.ts';
import { NO_EXPIRY } from '../../src/mqtt/publish.ts';
import { NodeStats } from '../../src/observability/node-stats.ts';
import { ManualClock, MemoryStream } from '../helpers/connection-fakes.ts';

const LIMIT = 200_000;

function open(limit = LIMIT, version: 3 | 4 | 5 = 4) {
  const stream = new MemoryStream();
  const stats = new NodeStats();
  const told: string[] = [];
  const owner = {
    version,
    onRoom: () => void told.push('room'),
    onOverflow: () => void told.push('overflow'),
  };
  const outbox = new Outbox(stream, owner, new TickEnd(new ManualClock()), stats, limit);
  return { stream, stats, told, outbox };
}
const tick = () => new Promise((resolve) => setImmediate(resolve));
const packet = (bytes: number, first = 0x30) => Buffer.alloc(bytes, first);
const outboundOf = (qos: 0 | 1 | 2, packetId: number): Outbound => ({
  ...{ qos, retain: false, dup: false, packetId, subscriptionIds: null, expirySec: NO_EXPIRY },
});

t.test('the packets of a tick leave in one write', async (test) => {
  const { stream, stats, outbox } = open();
  outbox.send(Buffer.of(0xd0, 0));
  await tick();
  test.equal(stream.writes.length, 1);
  for (let index = 0; index < 100; index++) outbox.send(Buffer.of(0x40, 2, 0, index));
  test.equal(stream.writes.length, 1, 'nothing leaves before the tick ends');
  await tick();
  test.equal(stream.writes.length, 2);
  test.equal(stream.writes[1].length, 400);
  test.equal(stream.writes[1][399], 99);
  test.equal(stats.packetsSent[4], 100);
  test.equal(stats.packetsSent[13], 1);
  test.equal(stats.bytesSent, 402);
  await tick();
  test.equal(stream.writes.length, 2, 'and nothing twice');
});

t.test('the payloads of PUBLISHes are counted apart', async (test) => {
  for (const version of [3, 4, 5] as const) {
    const { stats, outbox } = open(LIMIT, version);
    for (const qos of [0, 1, 2] as const) {
      for (const bytes of [0, 10, 300]) {
        const publish = { cmd: 'publish', topic: 'a/b', payload: Buffer.alloc(bytes), qos, messageId: 7 };
        const properties = bytes === 10 ? { userProperties: { a: 'x'.repeat(200) } } : {};
        outbox.send(generatePacket({ ...publish, properties } as unknown as ControlPacket, version));
      }
    }
    outbox.send(Buffer.of(0x40, 2, 0, 7));
    test.equal(stats.publishBytesSent, 3 * 310, `version ${version}`);
  }
});

t.test(
  'what is written in its place leaves as it would as packets, in order, whoever else writes',
  async () => {
    fc.assert(
      fc.property(
        fc.constantFrom(3 as const, 4 as const, 5 as const),
        fc.array(fc.tuple(fc.nat(3), fc.nat(4), fc.oneof(fc.nat(300), fc.nat(20_000)), fc.nat(2)), {
          maxLength: 200,
        }),
        (version, steps) => {
          const all = [0, 1, 2].map(() => ({ ...open(10_000_000, version), expected: [] as Buffer[] }));
          let packetId = 0;
          let payloadBytes = 0;
          for (const [which, kind, bytes, qos] of steps) {
            const { outbox, expected } = all[which % 3]!;
            packetId++;
            if (kind === 0) {
              const body = buildBody('a/b', Buffer.alloc(bytes, packetId));
              const outbound = outboundOf(qos as 0 | 1 | 2, packetId);
              outbox.sendPublish(body, outbound);
              expected.push(encodePublish(version, body, outbound));
              payloadBytes += bytes;
            } else if (kind === 1) {
              outbox.sendAck(PacketType.PUBACK, packetId, qos === 0 ? 0 : 0x10);
              expected.push(encodeAck(PacketType.PUBACK, version, packetId, qos === 0 ? 0 : 0x10));
            } else if (kind === 2) {
              const one = packet(bytes + 4, 0xd0);
              outbox.send(one);
              expected.push(one);
            } else if (kind === 3) {
              outbox.flush();
            }
          }
          for (const { outbox, stream, expected, stats } of all) {
            outbox.flush();
            if (!stream.output.equals(Buffer.concat(expected))) throw new Error('other bytes');
            payloadBytes -= stats.publishBytesSent;
            if (outbox.waitingBytes !== 0) throw new Error('counted as waiting');
          }
          if (payloadBytes !== 0) throw new Error(`${payloadBytes} bytes of payloads`);
        },
      ),
      { numRuns: 200, verbose: 1 },
    );
  },
);

t.test('what waits behind a client that does not read keeps no more than its own bytes', async (test) => {
  const { stream, outbox } = open();
  const send = async (packetId: number) => {
    outbox.sendAck(PacketType.PUBACK, packetId, 0);
    outbox.sendPublish(buildBody('a', Buffer.alloc(100)), outboundOf(1, packetId));
    await tick();
    return stream.writes.at(-1)!;
  };
  const first = await send(1);
  stream.waiting = 1;
  await send(2);
  const behind = await send(3);
  test.equal(behind.length, first.length);
  test.equal(behind.buffer.byteLength, behind.length);
  stream.waiting = 0;
  outbox.drained();
  test.ok((await send(4)).buffer.byteLength > first.length, 'and shares a piece again when it reads');
});

t.test('a closed outbox takes nothing', async (test) => {
  const { stream, stats, outbox } = open();
  outbox.sendAck(PacketType.PUBACK, 1, 0);
  outbox.close();
  outbox.sendAck(PacketType.PUBACK, 2, 0);
  outbox.sendPublish(buildBody('a', Buffer.alloc(1)), outboundOf(1, 3));
  outbox.flush();
  await tick();
  test.equal(stream.writes.length, 0);
  test.same([stats.packetsSent[4], stats.packetsSent[3], outbox.waitingBytes], [1, 0, 0]);
});

t.test('large packets are not copied, and the order is kept', async (test) => {
  const { stream, outbox } = open();
  const large = packet(20_000, 0x31);
  const parts = [packet(10), packet(20), large, packet(30), packet(40), packet(17_000, 0x32), packet(50)];
  for (const part of parts) outbox.send(part);
  await tick();
  test.same(
    stream.writes.map((one) => one.length),
    [30, 20_000, 70, 17_000, 50],
  );
  test.equal(stream.writes[1], large);
  test.ok(stream.output.equals(Buffer.concat(parts)));
});

t.test('much in one tick begins to leave before the tick ends', async (test) => {
  const { stream, outbox } = open();
  for (let index = 0; index < 70; index++) outbox.send(packet(1000));
  test.equal(stream.output.length, 66_000);
  await tick();
  test.equal(stream.output.length, 70_000);
});

t.test('room is told of once, when there is some again', async (test) => {
  const { stream, stats, told, outbox } = open();
  stream.waiting = 100_000;
  outbox.send(packet(60_000));
  test.ok(outbox.hasRoom());
  await tick();
  test.equal(stats.outboxBytes, 100_000);
  stream.waiting = LIMIT + 1;
  outbox.send(packet(1));
  await tick();
  test.notOk(outbox.hasRoom());
  outbox.drained();
  test.same(told, [], 'still as much as before');
  stream.waiting = LIMIT;
  outbox.drained();
  test.same(told, ['room']);
  outbox.drained();
  test.same(told, ['room']);
  test.ok(outbox.hasRoom());
  outbox.close();
  test.equal(stats.outboxBytes, 0);
});

t.test('no room in a tick that filled up by itself is told of at its end', async (test) => {
  const { told, outbox } = open(1000);
  outbox.send(packet(1001));
  test.notOk(outbox.hasRoom());
  await tick();
  test.same(told, ['room']);
  test.ok(outbox.hasRoom());
});

t.test('twice the limit is the end, and nothing is taken any more', async (test) => {
  const { stream, told, outbox } = open();
  stream.waiting = 2 * LIMIT;
  outbox.send(packet(4, 0x40));
  await tick();
  test.same(told, []);
  stream.waiting++;
  outbox.send(packet(4, 0x40));
  await tick();
  test.same(told, ['overflow']);
  const writes = stream.writes.length;
  outbox.send(packet(4, 0x40));
  await tick();
  test.equal(stream.writes.length, writes);
  test.same(told, ['overflow']);
});
