// SUBSCRIBE, UNSUBSCRIBE and retained messages: answers filter by filter, options, replacing, overlapping, and what a
// new subscription is sent.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

const NO_LOCAL = 4;
const AS_PUBLISHED = 8;
const ONLY_IF_NEW = 16;
const NEVER = 32;

statement(
  [
    'MQTT-3.8.4-1',
    'MQTT-3.8.4-2',
    'MQTT-3.8.4-4',
    'MQTT-3.8.4-5',
    'MQTT-3.9.3-1',
    'MQTT-3.9.3-2',
    'MQTT-2.3.1-7',
    'MQTT5-3.8.4-1',
    'MQTT5-3.8.4-2',
    'MQTT5-3.8.4-5',
    'MQTT5-3.8.4-6',
    'MQTT5-3.8.4-7',
    'MQTT5-3.9.3-1',
    'MQTT5-3.9.3-2',
    'MQTT5-2.2.1-6',
    'MQTT5-2.2.2-1',
  ],
  'SUBACK has the identifier, and a code for each filter in its place',
  async (t, bed) => {
    const wire = await bed.connect('client');
    const filters: [string, number][] = [
      [bed.name('a'), 2],
      ['bad/#/filter', 1],
      [bed.name('b'), 0],
      ['bad+', 0],
      [bed.name('c'), 1],
    ];
    wire.send(mqtt.subscribe(bed.version, 0xabcd, filters));
    const suback = await wire.next(mqtt.SUBACK);
    const codes = bed.is5 ? '028f008f01' : '0280008001';
    // In MQTT 5 a reason string stands between the two.
    t.equal(suback.bytes.toString('hex', 2, 4), 'abcd');
    t.equal(suback.bytes.subarray(bed.is5 ? -5 : 4).toString('hex'), codes);
    for (const [index, word] of ['a', 'b', 'c'].entries()) {
      await wire.publish(bed.name(word), `${index}`);
      t.match(await wire.receive(), { topic: bed.name(word), payload: `${index}` });
    }
  },
);

statement(
  ['MQTT-3.8.1-1', 'MQTT-3.10.1-1', 'MQTT5-3.8.1-1', 'MQTT5-3.10.1-1'],
  'SUBSCRIBE and UNSUBSCRIBE with other flags than 0010 end the connection',
  async (_t, bed) => {
    for (const bytes of [
      mqtt.subscribe(bed.version, 1, [['a', 0]]),
      mqtt.unsubscribe(bed.version, 1, ['a']),
    ]) {
      for (let flags = 0; flags < 16; flags++) {
        if (flags === 2) continue;
        const wire = await bed.connect('flags');
        bytes[0] = (bytes[0]! & 0xf0) | flags;
        wire.send(bytes);
        await wire.refusedWith(0x81);
      }
    }
  },
);

statement(
  ['MQTT-3.8.3-3', 'MQTT-3.10.3-2', 'MQTT5-3.8.3-2', 'MQTT5-3.10.3-2'],
  'SUBSCRIBE and UNSUBSCRIBE without a filter end the connection',
  async (_t, bed) => {
    for (const bytes of [mqtt.subscribe(bed.version, 1, []), mqtt.unsubscribe(bed.version, 1, [])]) {
      const wire = await bed.connect('none');
      wire.send(bytes);
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  ['MQTT-3.8.3-4', 'MQTT5-3.8.3-5'],
  'reserved bits and QoS 3 in the options end the connection',
  async (_t, bed) => {
    for (const options of bed.is5 ? [3, 0x40, 0x80] : [3, 4, 8, 16, 32, 64, 128]) {
      const wire = await bed.connect('bits');
      wire.send(mqtt.subscribe(bed.version, 1, [[bed.name('x'), options]]));
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  ['MQTT-3.8.3-1', 'MQTT-3.10.3-1', 'MQTT5-3.8.3-1', 'MQTT5-3.10.3-1'],
  'filters that are no UTF-8 text end the connection',
  async (_t, bed) => {
    const bad = Buffer.from([0x61, 0xed, 0xa0, 0x80]);
    for (const bytes of [
      mqtt.subscribe(bed.version, 1, [[bad, 0]]),
      mqtt.unsubscribe(bed.version, 1, [bad]),
    ]) {
      const wire = await bed.connect('text');
      wire.send(bytes);
      await wire.refusedWith(0x81);
    }
  },
);

statement(
  ['MQTT-3.8.4-3', 'MQTT5-3.8.4-3', 'MQTT5-3.8.4-4'],
  'the same filter again replaces the subscription, sends what is retained again, and interrupts nothing',
  async (t, bed) => {
    const topic = bed.name('again');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'retained', { qos: 1, retain: true });
    const wire = await bed.connect('client');
    t.same(await wire.subscribe(topic, 0), [0]);
    t.match(await wire.receive(), { payload: 'retained', retain: true, qos: 0 });
    t.same(await wire.subscribe(topic, 1), [1]);
    t.match(await wire.receive(), { payload: 'retained', retain: true, qos: 1 });
    await publisher.publish(topic, 'live', { qos: 1 });
    t.match(await wire.receive(), { payload: 'live', retain: false, qos: 1 }, 'one copy, as granted last');
    await wire.settled();
  },
);

statement(
  ['MQTT-3.8.4-3', 'MQTT5-3.8.4-4'],
  'no message is lost while a subscription is replaced again and again',
  async (t, bed) => {
    const topic = bed.name('flow');
    const wire = await bed.connect('client');
    await wire.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    const all = Array.from({ length: 60 }, (_one, index) => `${index}`);
    const sending = (async () => {
      for (const payload of all) await publisher.publish(topic, payload, { qos: 1 });
    })();
    for (let id = 1000; id < 1020; id++) wire.send(mqtt.subscribe(bed.version, id, [[topic, 1]]));
    await sending;
    const got: string[] = [];
    let subacks = 0;
    while (got.length < all.length || subacks < 20) {
      const answer = await wire.next(mqtt.PUBLISH, mqtt.SUBACK);
      if (answer.type === mqtt.SUBACK) subacks++;
      else {
        got.push(answer.payload);
        wire.send(mqtt.ack(mqtt.PUBACK, answer.id));
      }
    }
    t.same(got, all);
  },
);

statement(
  ['MQTT-3.3.5-1', 'MQTT5-3.3.4-2'],
  'filters that overlap: one copy, at the highest QoS among them',
  async (t, bed) => {
    const base = bed.name('over');
    const wire = await bed.connect('client');
    await wire.subscribe([
      [`${base}/#`, 0],
      [`${base}/+`, 2],
      [`${base}/x`, 1],
    ]);
    const publisher = await bed.connect('publisher');
    await publisher.publish(`${base}/x`, 'all three', { qos: 2 });
    await publisher.publish(`${base}/y/z`, 'the first', { qos: 2 });
    t.match(await wire.receive(), { payload: 'all three', qos: 2 });
    t.match(await wire.receive(), { payload: 'the first', qos: 0 });
    await wire.settled();
  },
);

statement(
  ['MQTT-3.10.4-1', 'MQTT-3.10.4-2', 'MQTT-3.10.4-4', 'MQTT5-3.10.4-1', 'MQTT5-3.10.4-2', 'MQTT5-3.10.4-4'],
  'UNSUBSCRIBE deletes the filter that is the same byte for byte, and no other',
  async (t, bed) => {
    const base = bed.name('un');
    const wire = await bed.connect('client');
    await wire.subscribe([
      [`${base}/+`, 1],
      [`${base}/a`, 1],
    ]);
    const publisher = await bed.connect('publisher');
    wire.send(mqtt.unsubscribe(bed.version, 0x2222, [`${base}/A`, `${base}/#`, `${base}/a`]));
    const unsuback = await wire.next(mqtt.UNSUBACK);
    t.equal(unsuback.bytes.toString('hex'), bed.is5 ? 'b006222200111100' : 'b0022222');
    await publisher.publish(`${base}/a`, 'by the other', { qos: 1 });
    t.match(await wire.receive(), { payload: 'by the other' });
    wire.send(mqtt.unsubscribe(bed.version, 0x2223, [`${base}/+`]));
    await wire.next(mqtt.UNSUBACK);
    await publisher.publish(`${base}/a`, 'to nobody', { qos: 1 });
    await wire.subscribe(`${base}/a`, 1);
    await publisher.publish(`${base}/a`, 'fence', { qos: 1 });
    t.match(await wire.receive(), { payload: 'fence' });
  },
);

statement(
  [
    'MQTT-3.10.4-5',
    'MQTT-3.10.4-6',
    'MQTT-2.3.1-7',
    'MQTT5-3.10.4-5',
    'MQTT5-3.10.4-6',
    'MQTT5-3.11.3-1',
    'MQTT5-3.11.3-2',
    'MQTT5-2.2.1-6',
  ],
  'UNSUBACK answers also for filters that were not there, each in its place',
  async (t, bed) => {
    const wire = await bed.connect('client');
    const [a, b] = [bed.name('a'), bed.name('b')];
    await wire.subscribe([
      [a, 0],
      [b, 0],
    ]);
    wire.send(mqtt.unsubscribe(bed.version, 7, [bed.name('c'), a, bed.name('d'), b]));
    const unsuback = await wire.next(mqtt.UNSUBACK);
    t.equal(unsuback.bytes.toString('hex'), bed.is5 ? 'b00700070011001100' : 'b0020007');
    wire.send(mqtt.unsubscribe(bed.version, 8, [a]));
    t.match(await wire.next(mqtt.UNSUBACK), { id: 8, codes: bed.is5 ? [0x11] : [] });
  },
);

statement(
  ['MQTT-3.10.4-3', 'MQTT5-3.10.4-3'],
  'what was begun before UNSUBSCRIBE is completed, also on the next node',
  async (t, bed) => {
    const topic = bed.name('begun');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'one', { qos: 1 });
    await publisher.publish(topic, 'two', { qos: 2 });
    const one = await first.next(mqtt.PUBLISH);
    const two = await first.next(mqtt.PUBLISH);
    first.send(mqtt.unsubscribe(bed.version, 50, [topic]));
    await first.next(mqtt.UNSUBACK);
    first.send(mqtt.ack(mqtt.PUBREC, two.id));
    t.equal((await first.next(mqtt.PUBREL)).id, two.id);
    first.cut();
    const second = await bed.connectKept('client');
    t.match(await second.next(mqtt.PUBLISH), { id: one.id, dup: true, payload: 'one' });
    t.equal((await second.next(mqtt.PUBREL)).id, two.id);
    second.send(mqtt.ack(mqtt.PUBACK, one.id), mqtt.ack(mqtt.PUBCOMP, two.id));
    await second.settled();
  },
);

statement(
  ['MQTT-3.3.1-5', 'MQTT-3.3.1-6', 'MQTT-3.3.1-8', 'MQTT5-3.3.1-5', 'MQTT5-3.3.1-9', 'MQTT-3.3.1-7'],
  'a new subscription gets the last retained message of each topic, with RETAIN and its QoS',
  async (t, bed) => {
    const base = bed.name('kept');
    const publisher = await bed.connect('publisher');
    for (const qos of [2, 1, 0]) {
      await publisher.publish(`${base}/${qos}`, 'first', { qos: 1, retain: true });
      await publisher.publish(`${base}/${qos}`, `last ${qos}`, { qos, retain: true });
    }
    await publisher.settled();
    await (await bed.connect('between')).subscribe(`${base}/none`, 1);
    const wire = await bed.connect('reader');
    await wire.subscribe(`${base}/#`, 2);
    const got = [await wire.receive(), await wire.receive(), await wire.receive()];
    t.same(
      got.map(({ topic, payload, qos, retain }) => [topic, payload, qos, retain]).sort(),
      [0, 1, 2].map((qos) => [`${base}/${qos}`, `last ${qos}`, qos, true]),
    );
    await wire.settled();
  },
);

statement(
  ['MQTT-3.3.1-9', 'MQTT5-3.3.1-12'],
  'who is subscribed already gets a retained message without RETAIN',
  async (t, bed) => {
    const topic = bed.name('live');
    const wire = await bed.connect('client');
    await wire.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    for (const qos of [0, 1]) {
      await publisher.publish(topic, `${qos}`, { qos, retain: true });
      t.match(await wire.receive(), { payload: `${qos}`, retain: false });
    }
  },
);

statement(
  ['MQTT-3.3.1-10', 'MQTT-3.3.1-11', 'MQTT5-3.3.1-6', 'MQTT5-3.3.1-7'],
  'an empty retained message is passed on, and removes what was kept',
  async (t, bed) => {
    const topic = bed.name('empty');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    const wire = await bed.connect('client');
    await wire.subscribe(topic, 1);
    t.match(await wire.receive(), { payload: 'kept' });
    await publisher.publish(topic, '', { qos: 1, retain: true });
    t.match(await wire.receive(), { payload: '', retain: false });
    const later = await bed.connect('later');
    await later.subscribe(topic, 1);
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await later.receive(), { payload: 'fence', retain: false });
  },
);

statement(
  ['MQTT-3.3.1-12', 'MQTT5-3.3.1-8'],
  'a message without RETAIN leaves what is kept as it is',
  async (t, bed) => {
    const topic = bed.name('plain');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    await publisher.publish(topic, 'passing', { qos: 1 });
    await publisher.publish(topic, '', { qos: 1 });
    const wire = await bed.connect('client');
    await wire.subscribe(topic, 1);
    t.match(await wire.receive(), { payload: 'kept', retain: true });
    await publisher.publish(bed.name('other'), 'passing', { qos: 1 });
    await wire.subscribe(bed.name('other'), 1);
    await publisher.publish(bed.name('other'), 'fence', { qos: 1 });
    t.match(await wire.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT5-3.3.1-10', 'MQTT5-3.3.1-11', 'MQTT5-3.3.1-9'],
  'Retain Handling: always, only to a new subscription, never',
  async (t, bed) => {
    const topic = bed.name('handling');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 1 | NEVER);
    await first.settled();
    await first.subscribe(topic, 1 | ONLY_IF_NEW);
    await first.settled();
    await first.leave();
    const second = await bed.connectKept('client');
    await second.subscribe(topic, 1 | ONLY_IF_NEW);
    await second.settled();
    await second.subscribe(topic, 1);
    t.match(await second.receive(), { payload: 'kept', retain: true }, 'the first that it gets');
    const third = await bed.connect('new');
    await third.subscribe(topic, 1 | ONLY_IF_NEW);
    t.match(await third.receive(), { payload: 'kept', retain: true });
  },
);

statement(
  ['MQTT5-3.3.1-12', 'MQTT5-3.3.1-13'],
  'Retain As Published keeps the flag as it was set',
  async (t, bed) => {
    const topic = bed.name('as');
    const as = await bed.connect('as');
    await as.subscribe(topic, 1 | AS_PUBLISHED);
    const not = await bed.connect('not');
    await not.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    for (const retain of [true, false]) {
      await publisher.publish(topic, `${retain}`, { qos: 1, retain });
      t.match(await as.receive(), { payload: `${retain}`, retain });
      t.match(await not.receive(), { payload: `${retain}`, retain: false });
    }
  },
);

statement(
  ['MQTT5-3.8.3-3'],
  'No Local keeps back what the client published itself, also on another connection of its',
  async (t, bed) => {
    const topic = bed.name('own');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 1 | NO_LOCAL);
    await first.publish(topic, 'mine', { qos: 1 });
    await first.leave();
    const second = await bed.connectKept('client');
    await second.publish(topic, 'mine too', { qos: 1 });
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'not mine', { qos: 1 });
    t.match(await second.receive(), { payload: 'not mine' });
  },
);

statement(['MQTT5-3.8.3-4'], 'No Local on a shared subscription ends the connection', async (_t, bed) => {
  const wire = await bed.connect('shared');
  wire.send(mqtt.subscribe(5, 1, [[`$share/g/${bed.name('x')}`, NO_LOCAL]]));
  await wire.refusedWith(0x82);
});

statement(
  ['MQTT5-3.3.4-3', 'MQTT5-3.3.4-4'],
  'a message has the Subscription Identifiers of all subscriptions that match',
  async (t, bed) => {
    const base = bed.name('ids');
    const first = await bed.connectKept('client');
    await first.subscribe(`${base}/+`, 1, [['subscriptionId', 1]]);
    await first.subscribe(`${base}/#`, 1, [['subscriptionId', 268_435_455]]);
    await first.subscribe(`${base}/none`, 1);
    const publisher = await bed.connect('publisher');
    await publisher.publish(`${base}/x`, 'both', { qos: 1 });
    const both = await first.receive();
    t.same(mqtt.valuesOf(both, 'subscriptionId').sort(), [1, 268_435_455]);
    await first.leave();
    await publisher.publish(`${base}/x/y`, 'one, while away', { qos: 1 });
    const second = await bed.connectKept('client');
    t.same(mqtt.valuesOf(await second.receive(), 'subscriptionId'), [268_435_455]);
    await second.subscribe(`${base}/#`, 1);
    await publisher.publish(`${base}/x/y`, 'none any more', { qos: 1 });
    t.same(mqtt.valuesOf(await second.receive(), 'subscriptionId'), []);
  },
);

statement(
  ['MQTT5-3.3.4-3'],
  'Subscription Identifier 0, or two of them, end the connection',
  async (_t, bed) => {
    for (const ids of [[0], [1, 2]]) {
      const wire = await bed.connect('ids');
      const list = ids.map((id) => ['subscriptionId', id] as const);
      wire.send(mqtt.subscribe(5, 1, [[bed.name('x'), 0]], list));
      await wire.refusedWith(0x82);
    }
  },
);
