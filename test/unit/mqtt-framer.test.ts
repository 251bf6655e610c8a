// The framer: the same packets come out however the stream is split, memory follows what arrived, and broken fixed
// headers end it with the right reason code.

import fc from 'fast-check';
import t from 'tap';
import { Framer } from '../../src/mqtt/framer.ts';
import { SwarmqError } from '../../src/util/errors.ts';

const MAX_BYTES = 1_000_000;

/** A packet of `first` byte with a body of `size` bytes that tell their place. */
function packetOf(first: number, size: number, lengthBytes = 0): Buffer {
  const length: number[] = [];
  let rest = size;
  do {
    length.push((rest & 127) | (rest > 127 || length.length + 1 < lengthBytes ? 128 : 0));
    rest >>>= 7;
  } while (rest > 0 || length.length < lengthBytes);
  const body = Buffer.alloc(size);
  for (let at = 0; at < size; at++) body[at] = (at * 7 + first) & 255;
  return Buffer.concat([Buffer.of(first, ...length), body]);
}

function collector(maxPacketBytes = MAX_BYTES) {
  const packets: Buffer[] = [];
  const bodies: number[] = [];
  const framer: Framer = new Framer(
    {
      onPacket(buf, start, bodyStart, end) {
        packets.push(Buffer.from(buf.subarray(start, end)));
        bodies.push(end - bodyStart);
      },
    },
    maxPacketBytes,
  );
  return { framer, packets, bodies };
}

function faultOf(run: () => void): { code: string; reasonCode: number | undefined } | null {
  try {
    run();
  } catch (error) {
    if (error instanceof SwarmqError) return { code: error.code, reasonCode: error.reasonCode };
    throw error;
  }
  return null;
}

t.test('packets come out the same at every split of the stream in two', async (t) => {
  const packets = [
    packetOf(0x30, 5),
    packetOf(0xc0, 0),
    packetOf(0x32, 130),
    packetOf(0x62, 2),
    packetOf(0x10, 20),
    packetOf(0x30, 20_000),
  ];
  const stream = Buffer.concat(packets);
  const splits = [...Array(200).keys(), 10_000, stream.length - 2, stream.length - 1, stream.length];
  for (const split of splits) {
    const { framer, packets: seen } = collector();
    framer.push(stream.subarray(0, split));
    framer.push(stream.subarray(split));
    if (!Buffer.concat(seen).equals(stream) || seen.length !== packets.length) {
      t.fail(`split at ${split}: ${seen.length} packets`);
    }
    if (framer.waitingBytes !== 0) t.fail(`split at ${split}: bytes left`);
  }
  t.pass('all splits');
});

t.test('any packets, any splits, any stops: order and bytes are kept', async (t) => {
  const packet = fc
    .tuple(fc.constantFrom(0x30, 0x32, 0x3d, 0x40, 0x62, 0x82, 0xc0), fc.nat(400), fc.constantFrom(0, 4))
    .map(([first, size, lengthBytes]) => packetOf(first, size, lengthBytes));
  fc.assert(
    fc.property(
      fc.array(packet, { minLength: 1, maxLength: 12 }),
      fc.array(fc.nat(1000)),
      fc.array(fc.boolean()),
      (packets, cuts, stops) => {
        const stream = Buffer.concat(packets);
        const seen: Buffer[] = [];
        const framer: Framer = new Framer(
          {
            onPacket(buf, start, _bodyStart, end) {
              seen.push(Buffer.from(buf.subarray(start, end)));
              if (stops[seen.length]) framer.stop();
            },
          },
          MAX_BYTES,
        );
        const bounds = [
          0,
          ...cuts.map((cut) => cut % (stream.length + 1)).sort((a, b) => a - b),
          stream.length,
        ];
        for (let at = 1; at < bounds.length; at++) framer.push(stream.subarray(bounds[at - 1], bounds[at]));
        while (framer.isStopped) framer.resume();
        return (
          framer.waitingBytes === 0 &&
          seen.length === packets.length &&
          seen.every((one, index) => one.equals(packets[index]))
        );
      },
    ),
    { numRuns: 500 },
  );
  t.pass('500 runs');
});

t.test('a packet that lies whole in a chunk is not copied', async (t) => {
  const chunk = Buffer.concat([packetOf(0x30, 5), packetOf(0x30, 6)]);
  const seen: boolean[] = [];
  new Framer({ onPacket: (buf) => seen.push(buf === chunk) }, MAX_BYTES).push(chunk);
  t.same(seen, [true, true]);
});

t.test('a large packet in many chunks is put together, and memory follows what arrived', async (t) => {
  const packet = packetOf(0x30, 900_000);
  const { framer, packets } = collector();
  for (let at = 0; at < packet.length; at += 1000) framer.push(packet.subarray(at, at + 1000));
  t.equal(packets.length, 1);
  t.ok(packets[0].equals(packet));
  const before = process.memoryUsage().arrayBuffers;
  const announced = Array.from({ length: 200 }, () => {
    const { framer } = collector();
    framer.push(packet.subarray(0, 10));
    return framer;
  });
  const grown = process.memoryUsage().arrayBuffers - before;
  t.ok(grown < announced.length * 100_000, `200 announced packets of 900 kB took ${grown} bytes`);
});

t.test('broken fixed headers', async (t) => {
  const malformed = { code: 'SWARMQ_ERR_PACKET_MALFORMED', reasonCode: 0x81 };
  const cases: [string, Buffer][] = [
    ['type 0', Buffer.of(0x00, 0)],
    ['CONNECT with flags', Buffer.of(0x11, 0)],
    ['SUBSCRIBE without its flag', Buffer.of(0x80, 0)],
    ['UNSUBSCRIBE without its flag', Buffer.of(0xa0, 0)],
    ['PUBREL without its flag', Buffer.of(0x60, 2, 0, 1)],
    ['PUBACK with flags', Buffer.of(0x42, 2, 0, 1)],
    ['PINGREQ with flags', Buffer.of(0xc1, 0)],
    ['AUTH with flags', Buffer.of(0xf1, 0)],
    ['five bytes of length', Buffer.of(0x30, 0xff, 0xff, 0xff, 0xff, 0x01)],
  ];
  for (const [name, bytes] of cases) {
    const whole = collector();
    t.same(
      faultOf(() => whole.framer.push(bytes)),
      malformed,
      name,
    );
    const split = collector();
    const pushAll = () => {
      for (const byte of bytes) split.framer.push(Buffer.of(byte));
    };
    t.same(faultOf(pushAll), malformed, `${name}, byte by byte`);
    split.framer.push(packetOf(0x30, 5));
    t.equal(split.packets.length, 0, 'nothing comes out after a fault');
    t.equal(split.framer.waitingBytes, 0, 'and nothing is kept');
  }
});

t.test('the packet limit counts the fixed header and can be changed', async (t) => {
  const tooLarge = { code: 'SWARMQ_ERR_PACKET_TOO_LARGE', reasonCode: 0x95 };
  const packet = packetOf(0x30, 198);
  t.equal(packet.length, 201);
  t.same(
    faultOf(() => collector(200).framer.push(packet)),
    tooLarge,
  );
  t.same(
    faultOf(() => collector(200).framer.push(packet.subarray(0, 3))),
    tooLarge,
    'as soon as it is known',
  );
  const { framer, packets } = collector(201);
  framer.push(packet);
  t.equal(packets.length, 1);
  framer.maxPacketBytes = 100;
  t.same(
    faultOf(() => framer.push(packet)),
    tooLarge,
  );
});

t.test(
  'a stop inside a packet holds the rest; push and resume from within a packet are taken up',
  async (t) => {
    const seen: number[] = [];
    const chunk = Buffer.concat([packetOf(0x30, 1), packetOf(0x30, 2), packetOf(0x30, 3)]);
    const framer: Framer = new Framer(
      {
        onPacket(_buf, _start, bodyStart, end) {
          seen.push(end - bodyStart);
          if (end - bodyStart === 1) framer.stop();
          if (end - bodyStart === 2) {
            framer.push(packetOf(0x30, 4));
            framer.stop();
            framer.resume();
          }
        },
      },
      MAX_BYTES,
    );
    framer.push(chunk);
    t.same(seen, [1]);
    const last = packetOf(0x30, 5);
    framer.push(last.subarray(0, 2));
    t.equal(framer.waitingBytes, chunk.length - 3 + 2);
    framer.push(last.subarray(2));
    framer.resume();
    t.same(seen, [1, 2, 3, 5, 4]);
    t.equal(framer.waitingBytes, 0);
  },
);

t.test('a packet is found among what is held, however that was split', (t) => {
  const wanted = packetOf(0xe0, 2);
  const stream = Buffer.concat([packetOf(0x30, 300), packetOf(0xc0, 0), wanted, packetOf(0x30, 1)]);
  const isWanted = (firstByte: number) => firstByte === 0xe0;
  for (let split = 0; split <= stream.length; split++) {
    const { framer, packets } = collector();
    // Stopped behind the first part, of which a packet may have been begun.
    framer.push(stream.subarray(0, split));
    framer.stop();
    const hasCome = packets.some((packet) => packet[0] === 0xe0);
    const before = framer.waitingBytes;
    framer.push(stream.subarray(split));
    const found = framer.findHeld(isWanted);
    if (hasCome ? found !== null : !found?.equals(wanted)) t.fail(`split at ${split}`);
    if (framer.waitingBytes !== before + stream.length - split) t.fail('it stays where it is');
    framer.resume();
    if (!Buffer.concat(packets).equals(stream)) t.fail(`what comes out, split at ${split}`);
  }
  const { framer } = collector();
  framer.stop();
  framer.push(stream.subarray(0, 305 + 1));
  t.equal(framer.findHeld(isWanted), null, 'not there');
  framer.push(stream.subarray(306, 307));
  t.equal(framer.findHeld(isWanted), null, 'not whole');
  t.end();
});

t.test('what the sink throws comes out, and the framer is done', async (t) => {
  const framer: Framer = new Framer(
    {
      onPacket() {
        throw new Error('sink');
      },
    },
    MAX_BYTES,
  );
  t.throws(() => framer.push(Buffer.concat([packetOf(0x30, 1), packetOf(0x30, 1)])), /sink/);
  framer.push(packetOf(0x30, 1));
  framer.resume();
  t.equal(framer.waitingBytes, 0);
});
