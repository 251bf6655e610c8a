// Reading in place and counting are compared with slow and obvious ways of doing the same.

import fc from 'fast-check';
import mqtt from 'mqtt-packet';
import t from 'tap';
import { isSound, type RoundFigures, roundFigures } from '../../bench/figures.ts';
import { Histogram, median, StreamTally } from '../../bench/tally.ts';
import { encodeConnect, encodeSubscribe, PublishRun, scan } from '../../bench/wire.ts';
import { chosen, jobsOf, WORKLOADS } from '../../bench/workloads.ts';

type Seen = (string | number)[];

function collect(chunks: Buffer[], protocol: 4 | 5 = 4): Seen[] {
  const seen: Seen[] = [];
  const sink = {
    onPublish: (...values: number[]) => seen.push(['publish', ...values]),
    onAck: (...values: number[]) => seen.push(['ack', ...values]),
    onControl: (...values: number[]) => seen.push(['control', ...values]),
  };
  let carry = Buffer.alloc(0);
  for (const chunk of chunks) {
    const bytes = Buffer.concat([carry, chunk]);
    carry = bytes.subarray(scan(bytes, 0, bytes.length, sink, protocol));
  }
  return seen;
}

t.test('packets are read alike however the stream is cut', async (t) => {
  const run = new PublishRun({ topic: 'a/b', qos: 1, payloadBytes: 200, publisher: 7, count: 2 });
  run.stamp(0, 3, 4_000_000_000, 65_535);
  run.stamp(1, 4, 5, 1);
  const quiet = new PublishRun({ topic: 'c', qos: 0, payloadBytes: 12, publisher: 8, count: 1 });
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
  const run = new PublishRun({ topic: 't', qos: 2, payloadBytes: 64, publisher: 1, count: 1 });
  run.stamp(0, 1, 2, 3);
  parser.parse(Buffer.concat([encodeConnect('me', true), encodeSubscribe(9, ['x/#', 'y'], 1), run.bytes]));
  t.match(packets[0], { cmd: 'connect', clientId: 'me', clean: true, keepalive: 0 });
  t.match(packets[1], {
    cmd: 'subscribe',
    messageId: 9,
    subscriptions: [{ topic: 'x/#' }, { topic: 'y', qos: 1 }],
  });
  t.match(packets[2], { cmd: 'publish', topic: 't', qos: 2, messageId: 3 });
});

t.test('MQTT 5 is written and read as mqtt-packet does', async (t) => {
  const packets: mqtt.Packet[] = [];
  const parser = mqtt.parser({ protocolVersion: 5 });
  parser.on('packet', (packet) => packets.push(packet));
  const form = { topic: 't', qos: 1, payloadBytes: 64, publisher: 1, count: 2 };
  const run = new PublishRun({ ...form, protocol: 5, isRetained: true, topics: 5000 });
  run.stamp(0, 1, 2, 3);
  run.stamp(1, 5042, 2, 4);
  const subscribe = encodeSubscribe(9, ['x/#'], 1, 5);
  parser.parse(Buffer.concat([encodeConnect('me', false, 5, 600), subscribe, run.bytes]));
  const properties = { sessionExpiryInterval: 3600 };
  t.match(packets[0], { clientId: 'me', clean: false, protocolVersion: 5, keepalive: 600, properties });
  t.match(packets[1], { messageId: 9, subscriptions: [{ topic: 'x/#', qos: 1 }] });
  t.match(packets[2], { topic: 't/0000001', qos: 1, messageId: 3, retain: true });
  t.match(packets[3], { topic: 't/0000042', messageId: 4 });
  const answer = (packet: mqtt.Packet) => mqtt.generate(packet, { protocolVersion: 5 });
  const message = { cmd: 'publish', topic: 'a', qos: 1, messageId: 8, dup: false, retain: false } as const;
  const payload = Buffer.from(run.bytes.subarray(run.packetBytes - 64, run.packetBytes));
  const stream = [
    answer({ cmd: 'connack', reasonCode: 0, sessionPresent: true, properties: { receiveMaximum: 9 } }),
    answer({ cmd: 'suback', messageId: 9, granted: [1], properties: { reasonString: 'so' } }),
    answer({ ...message, payload, properties: { userProperties: { key: 'x'.repeat(200) } } }),
    answer({ cmd: 'puback', messageId: 3, reasonCode: 0x10 }),
    answer({ cmd: 'puback', messageId: 4, reasonCode: 0x97 }),
    answer({ cmd: 'disconnect', reasonCode: 0x8b }),
  ];
  t.same(collect(stream, 5), [
    ['control', 2, 0],
    ['control', 9, 1],
    ['publish', 1, 8, 1, 1, 2],
    ['ack', 4, 3],
    ['control', 4, 0x97],
    ['control', 14, 0x8b],
  ]);
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
  const figures = roundFigures(reports, {
    cpuSeconds: 0.001,
    busiestSeconds: 0.0008,
    memoryBytes: 1,
    generatorBusy: 0.5,
  });
  t.ok(Math.abs(figures.deliveredRate - 300) < 0.1, String(figures.deliveredRate));
  t.ok(Math.abs(figures.cpuPerMillion - 2.5) < 0.001, String(figures.cpuPerMillion));
  t.ok(Math.abs(figures.busiestPerMillion - 2) < 0.001, String(figures.busiestPerMillion));
  t.ok(isSound(figures));
  for (const key of ['lost', 'doubled', 'late', 'strayAcks'] as const) {
    t.notOk(isSound({ ...figures, [key]: 1 } as RoundFigures), key);
  }
});

t.test('pairs are divided over generators, other shapes are not', async (t) => {
  const jobs = jobsOf(chosen('pairs-persistent', { pairs: 5 }), [1, 2], 2);
  t.same(
    jobs.map(({ topics }) => topics.length),
    [2, 3],
  );
  t.same(jobs[0]!.publisherPorts, [1]);
  t.same(jobs[0]!.subscriberPorts, [2]);
  t.equal(new Set(jobs.flatMap(({ topics }) => topics)).size, 5);
  t.equal(jobsOf(chosen('fan-out', {}), [1], 4).length, 1);
});

t.test('the jobs of every workload agree with each other', async (t) => {
  for (const name of WORKLOADS.keys()) {
    for (const job of jobsOf(chosen(name, { pairs: 6, fan: 7 }), [1], 2)) {
      const receivers = job.topics.map(
        (topic) =>
          job.filters.filter((filter) => fits(filter, `${topic}${job.topicsEach > 1 ? '/1' : ''}`)).length,
      );
      const expected = job.order === 'share' ? job.filters.length : job.copies;
      t.ok(
        receivers.every((count) => count === expected),
        `${name}: ${job.name}`,
      );
    }
  }
  const [devices, commands] = jobsOf(chosen('iot', {}), [1, 2], 1);
  t.same([devices!.topics.length, devices!.copies, devices!.ratePerSecond], [2000, 4, 2000]);
  t.same([commands!.topics.length, commands!.copies, commands!.ratePerSecond], [200, 1, 200]);
  t.throws(() => chosen('resume', { qos: 0 }));
});

function fits(filter: string, topic: string): boolean {
  const pattern = filter.replace(/^\$share\/\w+\//, '').replace('+', '[^/]*');
  return new RegExp(`^${pattern.endsWith('/#') ? `${pattern.slice(0, -2)}(/.*)?` : pattern}$`).test(topic);
}
