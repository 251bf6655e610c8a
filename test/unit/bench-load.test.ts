// A benchmark that cannot see a broker cheat proves nothing: the load runs against a small broker that drops, doubles and
// swaps messages, and forgets and repeats acknowledgements, exactly where it is told to.

import { type AddressInfo, createServer, type Socket } from 'node:net';
import mqtt, { type IPublishPacket } from 'mqtt-packet';
import t from 'tap';
import { fetchStored, store } from '../../bench/away.ts';
import type { LoadJob, LoadReport } from '../../bench/job.ts';
import { Load } from '../../bench/load.ts';
import type { Owner } from '../helpers/owner.ts';

interface Mischief {
  /** Numbers of publisher 0 that never arrive. */
  drops?: number[];
  doubles?: number[];
  /** Given after the next one. */
  swaps?: number[];
  /** Messages go to the subscribers in turn instead of to all of them. */
  isGroup?: boolean;
  /** Acknowledged twice to the publisher. */
  doubleAcks?: number[];
  /** The publisher's connection is closed at this number. */
  closesAt?: number;
}

/** Forwards by exact topic or by "prefix/#", retained messages also later; at the QoS of the PUBLISH, acknowledged at once. */
function startFakeBroker(owner: Owner, mischief: Mischief): Promise<number> {
  const subscriptions: { filter: string; socket: Socket }[] = [];
  const held = new Map<Socket, IPublishPacket>();
  const retained: [IPublishPacket, number, number][] = [];
  const deliver = (socket: Socket, packet: IPublishPacket) => {
    const { topic, payload, qos, messageId } = packet;
    const outgoing = { cmd: 'publish' as const, topic, payload, qos, dup: false, retain: false };
    socket.write(mqtt.generate({ ...outgoing, ...(qos > 0 ? { messageId: messageId! } : {}) }));
  };
  const forward = (packet: IPublishPacket, publisher: number, seq: number, targets = subscriptions) => {
    const { drops = [], doubles = [], swaps = [] } = mischief;
    for (const [index, { filter, socket }] of targets.entries()) {
      if (mischief.isGroup && index !== seq % targets.length) continue;
      const prefix = filter.endsWith('#') ? filter.slice(0, -1) : undefined;
      if (prefix === undefined ? filter !== packet.topic : !packet.topic.startsWith(prefix)) continue;
      if (publisher === 0 && drops.includes(seq)) continue;
      if (publisher === 0 && swaps.includes(seq)) {
        held.set(socket, packet);
        continue;
      }
      deliver(socket, packet);
      if (publisher === 0 && doubles.includes(seq)) deliver(socket, packet);
      const late = publisher === 0 ? held.get(socket) : undefined;
      if (late) deliver(socket, late);
      if (late) held.delete(socket);
    }
  };
  const server = createServer({ noDelay: true }, (socket) => {
    const parser = mqtt.parser();
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => parser.parse(chunk));
    parser.on('packet', (packet) => {
      const { messageId = 0 } = packet;
      if (packet.cmd === 'connect')
        socket.write(mqtt.generate({ cmd: 'connack', returnCode: 0, sessionPresent: false }));
      else if (packet.cmd === 'subscribe') {
        for (const { topic } of packet.subscriptions) subscriptions.push({ filter: topic, socket });
        const granted = packet.subscriptions.map(({ qos }) => qos);
        socket.write(mqtt.generate({ cmd: 'suback', messageId, granted }));
        for (const message of retained) forward(...message, subscriptions.slice(-1));
      } else if (packet.cmd === 'pubrel') socket.write(mqtt.generate({ cmd: 'pubcomp', messageId }));
      else if (packet.cmd === 'pubrec') socket.write(mqtt.generate({ cmd: 'pubrel', messageId }));
      else if (packet.cmd === 'publish') {
        const payload = packet.payload as Buffer;
        const publisher = payload.readUInt32BE(0);
        const seq = payload.readUInt32BE(4);
        const times = mischief.doubleAcks?.includes(seq) && publisher === 0 ? 2 : 1;
        const cmd = packet.qos === 1 ? 'puback' : 'pubrec';
        if (packet.qos > 0)
          for (let time = 0; time < times; time++) socket.write(mqtt.generate({ cmd, messageId }));
        if (packet.retain) retained.push([packet, publisher, seq]);
        else forward(packet, publisher, seq);
        if (publisher === 0 && seq === mischief.closesAt) socket.destroy();
      }
    });
  });
  owner.teardown(() => server.close());
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function jobOf(port: number, change: Partial<LoadJob>): LoadJob {
  return {
    protocol: 4,
    isTls: false,
    keepAlive: 0,
    name: 'x',
    topics: ['a', 'b'],
    topicsEach: 1,
    filters: ['a', 'b'],
    idleFilters: 0,
    copies: 1,
    order: 'stream',
    isRetained: false,
    subscribesLate: false,
    publisherPorts: [port],
    subscriberPorts: [port],
    qos: 0,
    window: 16,
    payloadBytes: 64,
    isClean: true,
    ...change,
  };
}

async function play(owner: Owner, mischief: Mischief, change: Partial<LoadJob> = {}): Promise<LoadReport> {
  const port = await startFakeBroker(owner, mischief);
  const load = new Load(jobOf(port, change));
  for (const publisher of load.publishers) publisher.due = 500;
  await load.connect();
  load.start();
  load.mark();
  const deadline = performance.now() + 10_000;
  while (
    load.publishers.some(({ sent, failure }) => sent < 500 && !failure) &&
    performance.now() < deadline
  ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  load.mark();
  return load.finish(300);
}

function account({ total, lost, doubled, late, strayAcks }: LoadReport) {
  return { sent: total.sent, acked: total.acked, received: total.received, lost, doubled, late, strayAcks };
}

const sound = { sent: 1000, acked: 1000, received: 1000, lost: 0, doubled: 0, late: 0, strayAcks: 0 };

t.test('an honest broker gets a clean account at every QoS', async (t) => {
  t.same(account(await play(t, {})), { ...sound, acked: 0 });
  t.same(account(await play(t, {}, { qos: 1 })), sound);
  const report = await play(t, {}, { qos: 2 });
  t.same(account(report), sound);
  t.same(report.failures, []);
  t.equal(report.marks.length, 2);
});

t.test('drops, doubles and swaps are counted one by one, and do not stop the load', async (t) => {
  const report = await play(t, { drops: [10, 11, 200], doubles: [20, 21], swaps: [30, 300] });
  t.same(account(report), { ...sound, acked: 0, received: 999, lost: 3, doubled: 2, late: 2 });
  const atQos1 = await play(t, { drops: [5], swaps: [100] }, { qos: 1 });
  t.same(account(atQos1), { ...sound, received: 999, lost: 1, late: 1 });
});

t.test('the last message missing is a loss', async (t) => {
  t.same(account(await play(t, { drops: [499] }, { qos: 1 })), { ...sound, received: 999, lost: 1 });
});

t.test('an acknowledgement of nothing is counted', async (t) => {
  t.same(account(await play(t, { doubleAcks: [3] }, { qos: 1 })), { ...sound, strayAcks: 1 });
});

t.test('a closed connection is told', async (t) => {
  const report = await play(t, { closesAt: 50 }, { qos: 1 });
  t.same(report.failures, ['x-p0: closed by the broker']);
});

t.test('fan-out counts every copy, fan-in every publisher', async (t) => {
  const out = await play(t, { drops: [7] }, { topics: ['a'], filters: ['a', 'a', 'a'], copies: 3 });
  t.same(account(out), { ...sound, sent: 500, acked: 0, received: 1497, lost: 3 });
  const into = await play(t, { doubles: [7] }, { topics: ['f/1', 'f/2'], filters: ['f/#'], qos: 1 });
  t.same(account(into), { ...sound, received: 1001, doubled: 1 });
});

t.test('members of a group share the messages, each in order', async (t) => {
  const change = { topics: ['f/1', 'f/2'], filters: ['f/#', 'f/#', 'f/#'], order: 'share' as const };
  t.same(account(await play(t, { isGroup: true }, { ...change, qos: 1 })), sound);
  const report = await play(t, { isGroup: true, drops: [9], doubles: [12], swaps: [30] }, change);
  t.same(account(report), { ...sound, acked: 0, received: 1000, lost: 1, doubled: 1, late: 1 });
  const toAll = await play(t, {}, { ...change, filters: ['f/#', 'f/#'] });
  t.equal(toAll.doubled, 1000, 'a message for every member is a double');
});

t.test('retained messages are stored first and fetched later', async (t) => {
  const port = await startFakeBroker(t, { drops: [3], doubles: [5], swaps: [8] });
  const shape = { topics: ['f/1', 'f/2'], topicsEach: 20, filters: ['f/#', 'f/#', 'f/#'], copies: 3 };
  const retained = { isRetained: true, subscribesLate: true, order: 'none' as const, qos: 1 as const };
  const load = new Load(jobOf(port, { ...shape, ...retained, idleFilters: 1001 }));
  await load.connect();
  await store(load, 20);
  load.mark();
  t.equal((await fetchStored(load, 300)).length, 3);
  load.mark();
  const report = await load.finish(300);
  t.same(report.failures, []);
  // Topics differ, so that no order is asked for.
  t.same(account(report), { ...sound, sent: 40, acked: 40, received: 120, lost: 3, doubled: 3 });
});

t.test('a filter that should match nothing and does is a failure', async (t) => {
  const report = await play(
    t,
    {},
    { topics: ['b/x/idle1/a', 'q'], filters: ['b/x/idle1/a', 'q'], idleFilters: 3 },
  );
  t.same(report.failures, ['x-i0: got a message that it had not asked for']);
});

t.test('an open loop keeps its rate', async (t) => {
  const port = await startFakeBroker(t, {});
  const load = new Load(jobOf(port, { qos: 1, window: 100, payloadBytes: 12, ratePerSecond: 1000 }));
  await load.connect();
  const started = performance.now();
  load.start();
  load.mark();
  await new Promise((resolve) => setTimeout(resolve, 500));
  load.mark();
  const seconds = (performance.now() - started) / 1000;
  const { total } = await load.finish();
  // A busy machine may delay the end of the waiting, but nothing makes it shorter.
  const isRight = total.sent >= 440 && total.sent <= seconds * 1000 + 60;
  t.ok(isRight, `${total.sent} messages in ${seconds} s`);
});
