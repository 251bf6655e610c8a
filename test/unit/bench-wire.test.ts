// Reading in place and counting are compared with slow and obvious ways of doing the same.

import fc from 'fast-check';
import mqtt from 'mqtt-packet';
import t from 'tap';
import { isSound, type RoundFigures, roundFigures } from '../../bench/report.ts';
import { Histogram, median, StreamTally } from '../../bench/tally.ts';
import { encodeConnect, encodeSubscribe, PublishRun, scan } from '../../bench/wire.ts';
import { jobsOf, WORKLOADS } from '../../bench/workloads.ts';

type Seen = (string | number)[];

function collect(chunks: Buffer[]): Seen[] {
  const seen: Seen[] = [];
  const sink = {
    onPublish: (...values: number[]) => seen.push(['publish', ...values]),
    onAck: (...values: number[]) => seen.push(['ack', ...values]),
    onControl: (...values: number[]) => seen.push(['control', ...values]),
  };
  let carry = Buffer.alloc(0);
  for (const chunk of chunks) {
    const bytes = Buffer.concat([carry, chunk]);
    carry = bytes.subarray(scan(bytes, 0, bytes.length, sink));
  }
  return seen;
}

t.test('packets are read alike however the stream is cut', async (t) => {
  const run = new PublishRun('a/b', 1, 200, 7, 2);
  run.stamp(0, 3, 4_000_000_000, 65_535);
  run.stamp(1, 4, 5, 1);
  const quiet = new PublishRun('c', 0, 12, 8, 1);
  quiet.stamp(0, 4_294_967_295, 9, 0);
  const stream = Buffer.concat([
    Buffer.from([0x20, 2, 0, 0]),
    run.bytes,
    Buffer.from([0x40, 2, 1, 2, 0x90, 3, 0, 1, 1]),
    quiet.bytes,
  ]);
  const expected = [
    ['control', 2, 0],
    ['publish', 1, 65_535, 7, 3, 4_000_000_000],
    ['publish', 1, 1, 7, 4, 5],
    ['ack', 4, 258],
    ['control', 9, 1],
    ['publish', 0, 0, 8, 4_294_967_295, 9],
  ];
  for (let cut = 0; cut <= stream.length; cut++) {
    const seen = collect([stream.subarray(0, cut), stream.subarray(cut)]);
    if (JSON.stringify(seen) !== JSON.stringify(expected)) t.same(seen, expected, `cut at ${cut}`);
  }
  t.same(collect([...stream].map((byte) => Buffer.from([byte]))), expected, 'byte by byte');
});

t.test('what is encoded is MQTT', async (t) => {
  const packets: mqtt.Packet[] = [];
  const parser = mqtt.parser();
  parser.on('packet', (packet) => packets.push(packet));
  const run = new PublishRun('t', 2, 64, 1, 1);
  run.stamp(0, 1, 2, 3);
  parser.parse(Buffer.concat([encodeConnect('me', true), encodeSubscribe(9, 'x/#', 1), run.bytes]));
  t.match(packets[0], { cmd: 'connect', clientId: 'me', clean: true, keepalive: 0 });
  t.match(packets[1], { cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'x/#', qos: 1 }] });
  t.match(packets[2], { cmd: 'publish', topic: 't', qos: 2, messageId: 3 });
});

t.test('a tally agrees with plain counting', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 120 }), (arrivals) => {
        const tally = new StreamTally();
        let settled = 0;
        for (const seq of arrivals) settled += tally.add(seq);
        const distinct = new Set(arrivals).size;
        const highest = Math.max(-1, ...arrivals);
        const firsts = arrivals.filter((seq, index) => arrivals.indexOf(seq) === index);
        const late = firsts.filter((seq, index) =>
          firsts.slice(0, index).some((before) => before > seq),
        ).length;
        return (
          tally.received === distinct &&
          tally.doubled === arrivals.length - distinct &&
          tally.late === late &&
          tally.lost(61) === 61 - distinct &&
          settled === highest + 1
        );
      }),
    ),
  );
});

t.test('percentiles err by 3 per cent at most', async (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 4_000_000_000 }), { minLength: 1 }), (values) => {
        const histogram = new Histogram();
        for (const value of values) histogram.add(value);
        const sorted = [...values].sort((a, b) => a - b);
        const exact = sorted[Math.ceil(values.length * 0.5) - 1]!;
        const told = histogram.percentile(0.5);
        return told <= exact && told >= exact * 0.968 - 1 && histogram.max === sorted.at(-1);
      }),
    ),
  );
  t.same(median([3, 1, 2]), 2);
  t.same(median([4, 1, 2, 3]), 2.5);
});

t.test('rates come from the time between the marks, a round with a fault is not sound', async (t) => {
  const mark = (micros: number, received: number) => ({ micros, sent: received, acked: received, received });
  const plain = new Histogram().toPlain();
  const report = {
    total: mark(0, 900),
    lost: 0,
    doubled: 0,
    late: 0,
    strayAcks: 0,
    failures: [],
    endToEnd: plain,
    ack: plain,
  };
  // The clock wraps between the marks of the second generator.
  const reports = [
    { ...report, marks: [mark(0, 100), mark(2_000_000, 300)] },
    { ...report, marks: [mark(4_294_000_000, 0), mark(32_704, 200)] },
  ];
  const figures = roundFigures(reports, { cpuSeconds: 0.001, residentBytes: 1 });
  t.ok(Math.abs(figures.deliveredRate - 300) < 0.1, String(figures.deliveredRate));
  t.ok(Math.abs(figures.cpuPerMillion - 2.5) < 0.001, String(figures.cpuPerMillion));
  t.ok(isSound(figures));
  for (const key of ['lost', 'doubled', 'late', 'strayAcks'] as const) {
    t.notOk(isSound({ ...figures, [key]: 1 } as RoundFigures), key);
  }
});

t.test('pairs are divided over generators, other shapes are not', async (t) => {
  const settings = { pairs: 5, fan: 3, payloadBytes: 64, window: 0, ratePerSecond: undefined, queued: 1 };
  const jobs = jobsOf(WORKLOADS.get('pairs-persistent')!, settings, [1, 2], 2);
  t.same(
    jobs.map(({ topics }) => topics.length),
    [2, 3],
  );
  t.same(jobs[0]!.publisherPorts, [1]);
  t.same(jobs[0]!.subscriberPorts, [2]);
  t.equal(new Set(jobs.flatMap(({ topics }) => topics)).size, 5);
  t.equal(jobsOf(WORKLOADS.get('fan-out')!, settings, [1], 4).length, 1);
});
