// The three qualities of service, both ways: identifiers, acknowledgements, DUP, order, and what is sent again when a
// session goes on.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

statement(
  ['MQTT-3.3.4-1', 'MQTT5-3.3.4-1', 'MQTT-2.3.1-5', 'MQTT5-2.2.1-2', 'MQTT-4.3.1-1', 'MQTT5-4.3.1-1'],
  'QoS 0 goes out with QoS 0, DUP 0 and no identifier, and is not answered',
  async (t, bed) => {
    const topic = bed.name('zero');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    publisher.send(mqtt.publish(bed.version, topic, 'x'));
    await publisher.settled();
    const message = await subscriber.next(mqtt.PUBLISH);
    const body = `${mqtt.field(topic).toString('hex')}${bed.is5 ? '00' : ''}78`;
    t.equal(message.bytes.toString('hex'), `30${mqtt.variable(body.length / 2).toString('hex')}${body}`);
    await subscriber.settled();
  },
);

statement(
  [
    'MQTT-3.3.4-1',
    'MQTT5-3.3.4-1',
    'MQTT-2.3.1-6',
    'MQTT5-2.2.1-5',
    'MQTT-4.3.2-2',
    'MQTT5-4.3.2-4',
    'MQTT5-4.3.2-5',
    'MQTT5-3.4.2-1',
  ],
  'QoS 1 is answered by PUBACK under its identifier, and the identifier is free then, whatever DUP says',
  async (t, bed) => {
    const topic = bed.name('one');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    for (const [payload, dup] of [
      ['first', false],
      ['second', true],
    ] as const) {
      publisher.send(mqtt.publish(bed.version, topic, payload, { qos: 1, id: 0x1234, dup }));
      const puback = await publisher.next(mqtt.PUBACK);
      t.equal(puback.bytes.toString('hex'), '40021234');
    }
    t.match(await subscriber.receive(), { payload: 'first', qos: 1, dup: false });
    t.match(await subscriber.receive(), { payload: 'second', qos: 1, dup: false });
  },
);

statement(
  [
    'MQTT-3.3.4-1',
    'MQTT5-3.3.4-1',
    'MQTT-4.3.3-2',
    'MQTT5-4.3.3-8',
    'MQTT5-4.3.3-10',
    'MQTT5-4.3.3-11',
    'MQTT5-4.3.3-12',
    'MQTT5-3.5.2-1',
    'MQTT5-3.7.2-1',
  ],
  'QoS 2 in: PUBREC also to repetitions, delivered once, PUBREL answered by PUBCOMP, then the identifier is free',
  async (t, bed) => {
    const topic = bed.name('two');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    for (const payload of ['first', 'second']) {
      for (const dup of [false, true]) {
        publisher.send(mqtt.publish(bed.version, topic, payload, { qos: 2, id: 0x4321, dup }));
        t.match((await publisher.next(mqtt.PUBREC)).bytes.toString('hex'), /^50..4321(00.*)?$/);
      }
      publisher.send(mqtt.ack(mqtt.PUBREL, 0x4321));
      t.match((await publisher.next(mqtt.PUBCOMP)).bytes.toString('hex'), /^70..4321(00.*)?$/);
    }
    t.match(await subscriber.receive(), { payload: 'first', qos: 2, dup: false });
    t.match(await subscriber.receive(), { payload: 'second', qos: 2, dup: false });
    await subscriber.settled();
  },
);

statement(
  ['MQTT-4.3.3-2', 'MQTT5-4.3.3-10', 'MQTT-4.1.0-1'],
  'QoS 2 in over a reconnect: the repetition is known on the next node, and so is its PUBREL',
  async (t, bed) => {
    const topic = bed.name('two');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const first = await bed.connectKept('publisher');
    first.send(mqtt.publish(bed.version, topic, 'once', { qos: 2, id: 9 }));
    await first.next(mqtt.PUBREC);
    first.cut();
    const second = await bed.connectKept('publisher');
    t.ok(second.connack?.present);
    second.send(mqtt.publish(bed.version, topic, 'once', { qos: 2, id: 9, dup: true }));
    await second.next(mqtt.PUBREC);
    second.cut();
    const third = await bed.connectKept('publisher');
    third.send(mqtt.ack(mqtt.PUBREL, 9));
    t.match(await third.next(mqtt.PUBCOMP), { id: 9, code: 0 });
    await third.publish(topic, 'fence', { qos: 2, id: 9 });
    t.equal((await subscriber.receive()).payload, 'once');
    t.equal((await subscriber.receive()).payload, 'fence');
  },
);

statement(
  ['MQTT5-3.7.2-1', 'MQTT5-3.6.2-1'],
  'a PUBREL that belongs to nothing is answered all the same',
  async (t, bed) => {
    const wire = await bed.connect('lonely');
    wire.send(mqtt.ack(mqtt.PUBREL, 77));
    const pubcomp = await wire.next(mqtt.PUBCOMP);
    t.equal(pubcomp.id, 77);
    t.ok([0, 0x92].includes(pubcomp.code), `0x${pubcomp.code.toString(16)}`);
  },
);

statement(
  [
    'MQTT-2.3.1-4',
    'MQTT-4.3.2-1',
    'MQTT5-2.2.1-4',
    'MQTT5-4.3.2-1',
    'MQTT5-4.3.2-2',
    'MQTT5-4.3.3-1',
    'MQTT5-4.3.3-2',
    'MQTT-2.3.1-1',
  ],
  'out: each message above QoS 0 has an identifier that is not 0 and not in use, and DUP 0',
  async (t, bed) => {
    const topic = bed.name('ids');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    const ids = new Set<number>();
    for (let index = 0; index < 20; index++) {
      await publisher.publish(topic, String(index), { qos: 1 + (index % 2) });
      const message = await subscriber.next(mqtt.PUBLISH);
      t.match(message, { payload: String(index), dup: false, qos: 1 + (index % 2) });
      ids.add(message.id);
    }
    t.equal(ids.size, 20, 'none is acknowledged, so none is used twice');
    t.notOk(ids.has(0));
  },
);

statement(
  [
    'MQTT-4.3.3-1',
    'MQTT5-4.3.3-3',
    'MQTT5-4.3.3-4',
    'MQTT5-4.3.3-5',
    'MQTT5-4.3.3-6',
    'MQTT-3.6.1-1',
    'MQTT5-3.6.1-1',
    'MQTT-4.4.0-1',
    'MQTT5-4.4.0-1',
  ],
  'QoS 2 out over reconnects: PUBLISH again until PUBREC, then PUBREL again until PUBCOMP, never PUBLISH again',
  async (t, bed) => {
    const topic = bed.name('out');
    const first = await bed.connectKept('subscriber');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'x', { qos: 2 });
    const { id } = await first.next(mqtt.PUBLISH);
    first.cut();
    const second = await bed.connectKept('subscriber');
    t.match(await second.next(mqtt.PUBLISH), { id, dup: true, qos: 2, payload: 'x' });
    second.send(mqtt.ack(mqtt.PUBREC, id));
    const pubrel = await second.next(mqtt.PUBREL);
    t.equal(pubrel.bytes.subarray(0, 4).toString('hex').slice(0, 2), '62');
    t.equal(pubrel.id, id);
    second.cut();
    const third = await bed.connectKept('subscriber');
    t.equal((await third.next(mqtt.PUBREL)).id, id);
    await third.settled();
    third.send(mqtt.ack(mqtt.PUBCOMP, id));
    await third.settled();
    await third.leave();
    const fourth = await bed.connectKept('subscriber');
    await publisher.publish(topic, 'fence', { qos: 2 });
    t.match(await fourth.receive(), { payload: 'fence', dup: false });
  },
);

statement(
  ['MQTT-4.3.2-1', 'MQTT5-4.3.2-3', 'MQTT-3.3.1-1', 'MQTT5-3.3.1-1', 'MQTT-4.4.0-1', 'MQTT5-4.4.0-1'],
  'QoS 1 out: unacknowledged it comes again with DUP and its identifier, acknowledged it does not',
  async (t, bed) => {
    const topic = bed.name('again');
    const first = await bed.connectKept('subscriber');
    await first.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'kept', { qos: 1 });
    await publisher.publish(topic, 'done', { qos: 1 });
    const kept = await first.next(mqtt.PUBLISH);
    const done = await first.next(mqtt.PUBLISH);
    first.send(mqtt.ack(mqtt.PUBACK, done.id));
    await first.settled();
    await first.leave();
    const second = await bed.connectKept('subscriber');
    t.match(await second.next(mqtt.PUBLISH), { id: kept.id, dup: true, payload: 'kept', qos: 1 });
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.next(mqtt.PUBLISH), { dup: false, payload: 'fence' });
  },
);

statement(['MQTT5-4.4.0-1'], 'nothing is sent again while the connection lasts', async (t, bed) => {
  const topic = bed.name('patience');
  const subscriber = await bed.connect('subscriber');
  await subscriber.subscribe(topic, 2);
  const publisher = await bed.connect('publisher');
  await publisher.publish(topic, 'x', { qos: 1 });
  await publisher.publish(topic, 'y', { qos: 2 });
  await subscriber.next(mqtt.PUBLISH);
  await subscriber.next(mqtt.PUBLISH);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  await subscriber.settled();
  t.pass('three seconds of silence');
});

statement(['MQTT-3.3.1-2', 'MQTT5-3.3.1-2'], 'DUP at QoS 0 ends the connection', async (_t, bed) => {
  const wire = await bed.connect('dup');
  wire.send(mqtt.publish(bed.version, bed.name('dup'), 'x', { dup: true }));
  await wire.refusedWith(0x81, 0x82);
});

statement(
  ['MQTT-3.3.1-3', 'MQTT5-3.3.1-3', 'MQTT-3.3.1-2', 'MQTT5-3.3.1-2'],
  "the publisher's DUP is not passed on",
  async (t, bed) => {
    const topic = bed.name('dup');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    for (const qos of [1, 2]) {
      await publisher.publish(topic, `${qos}`, { qos, dup: true });
      t.match(await subscriber.receive(), { payload: `${qos}`, qos, dup: false });
    }
    const lower = await bed.connect('lower');
    await lower.subscribe(topic, 0);
    await publisher.publish(topic, 'down', { qos: 1, dup: true });
    t.match(await lower.receive(), { qos: 0, dup: false });
  },
);

statement(['MQTT-3.3.1-4', 'MQTT5-3.3.1-4'], 'QoS 3 ends the connection', async (_t, bed) => {
  const wire = await bed.connect('three');
  wire.send(mqtt.publish(bed.version, bed.name('three'), 'x', { qos: 3 }));
  await wire.refusedWith(0x81);
});

statement(
  ['MQTT-2.3.1-1', 'MQTT5-2.2.1-3'],
  'the identifier 0 ends the connection, in PUBLISH, SUBSCRIBE and UNSUBSCRIBE',
  async (_t, bed) => {
    const topic = bed.name('null');
    for (const bytes of [
      mqtt.publish(bed.version, topic, 'x', { qos: 1, id: 0 }),
      mqtt.publish(bed.version, topic, 'x', { qos: 2, id: 0 }),
      mqtt.subscribe(bed.version, 0, [[topic, 0]]),
      mqtt.unsubscribe(bed.version, 0, [topic]),
    ]) {
      const wire = await bed.connect('null');
      wire.send(bytes);
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  [
    'MQTT-4.6.0-1',
    'MQTT-4.6.0-4',
    'MQTT-4.6.0-5',
    'MQTT-4.6.0-6',
    'MQTT5-4.6.0-1',
    'MQTT5-4.6.0-4',
    'MQTT5-4.6.0-5',
    'MQTT5-4.6.0-6',
  ],
  'order: live, sent again after a reconnect, and PUBRELs in the order of the PUBRECs',
  async (t, bed) => {
    const topic = bed.name('order');
    const first = await bed.connectKept('subscriber');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    const wanted = Array.from({ length: 30 }, (_one, index) => `${index}`);
    for (const payload of wanted) await publisher.publish(topic, payload, { qos: 2 });
    const ids: number[] = [];
    for (const payload of wanted) {
      const message = await first.next(mqtt.PUBLISH);
      t.equal(message.payload, payload);
      ids.push(message.id);
    }
    first.cut();
    const second = await bed.connectKept('subscriber');
    for (const [index, payload] of wanted.entries()) {
      t.match(await second.next(mqtt.PUBLISH), { payload, id: ids[index], dup: true });
    }
    const shuffled = [...ids.slice(15), ...ids.slice(0, 15)];
    second.send(...shuffled.map((id) => mqtt.ack(mqtt.PUBREC, id)));
    const released: number[] = [];
    for (const _id of ids) released.push((await second.next(mqtt.PUBREL)).id);
    t.same(released, shuffled);
  },
);

statement(
  ['MQTT-4.6.0-2', 'MQTT-4.6.0-3', 'MQTT5-4.6.0-2', 'MQTT5-4.6.0-3'],
  'PUBACKs and PUBRECs come in the order of the messages',
  async (t, bed) => {
    const topic = bed.name('acks');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 0);
    const publisher = await bed.connect('publisher');
    const ids = Array.from({ length: 40 }, (_one, index) => 1 + ((index * 7) % 40));
    for (const [qos, type] of [
      [1, mqtt.PUBACK],
      [2, mqtt.PUBREC],
    ] as const) {
      publisher.send(
        ...ids.map((id) => mqtt.publish(bed.version, topic, `${id}`, { qos, id: 100 * qos + id })),
      );
      const acked: number[] = [];
      for (const _id of ids) acked.push((await publisher.next(type)).id - 100 * qos);
      t.same(acked, ids);
    }
  },
);

statement(
  ['MQTT-3.8.4-6', 'MQTT5-3.8.4-8', 'MQTT-4.5.0-1', 'MQTT5-4.5.0-1'],
  'a message reaches every subscriber, at the lower of its own QoS and the granted one',
  async (t, bed) => {
    const topic = bed.name('levels');
    const subscribers = [];
    for (const granted of [0, 1, 2]) {
      const wire = await bed.connect(`subscriber-${granted}`);
      t.same(await wire.subscribe(topic, granted), [granted]);
      subscribers.push(wire);
    }
    const publisher = await bed.connect('publisher');
    for (const qos of [0, 1, 2]) await publisher.publish(topic, `q${qos}`, { qos });
    for (const [granted, wire] of subscribers.entries()) {
      const got = [await wire.receive(), await wire.receive(), await wire.receive()];
      t.same(
        got.map(({ payload, qos }) => `${payload} ${qos}`).sort(),
        [0, 1, 2].map((qos) => `q${qos} ${Math.min(qos, granted)}`),
      );
    }
  },
);

statement(
  ['MQTT5-4.4.0-2', 'MQTT5-4.3.3-4', 'MQTT-4.3.2-1'],
  'a message that is refused by 0x80 or above is over',
  async (t, bed) => {
    const topic = bed.name('refused');
    const first = await bed.connectKept('subscriber');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'one', { qos: 1 });
    await publisher.publish(topic, 'two', { qos: 2 });
    const one = await first.next(mqtt.PUBLISH);
    const two = await first.next(mqtt.PUBLISH);
    const code = bed.is5 ? 0x80 : undefined;
    first.send(mqtt.ack(mqtt.PUBACK, one.id, code), mqtt.ack(mqtt.PUBREC, two.id, code));
    if (!bed.is5) {
      await first.next(mqtt.PUBREL);
      first.send(mqtt.ack(mqtt.PUBCOMP, two.id));
    }
    await first.settled();
    await first.leave();
    const second = await bed.connectKept('subscriber');
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.receive(), { payload: 'fence', dup: false });
  },
);

statement(
  ['MQTT-3.6.1-1', 'MQTT5-3.6.1-1', 'MQTT-2.2.2-1', 'MQTT-2.2.2-2', 'MQTT5-2.1.3-1'],
  'wrong flags in the first byte of any packet end the connection',
  async (_t, bed) => {
    const topic = bed.name('flags');
    const packets = [
      mqtt.ack(mqtt.PUBACK, 1),
      mqtt.ack(mqtt.PUBREC, 1),
      mqtt.ack(mqtt.PUBREL, 1),
      mqtt.ack(mqtt.PUBCOMP, 1),
      mqtt.subscribe(bed.version, 1, [[topic, 0]]),
      mqtt.unsubscribe(bed.version, 1, [topic]),
      Buffer.from(mqtt.PINGREQ),
      mqtt.disconnect(),
    ];
    for (const bytes of packets) {
      for (const flags of [0, 1, 2, 3, 8]) {
        if (flags === (bytes[0]! & 15)) continue;
        const wrong = Buffer.from(bytes);
        wrong[0] = (bytes[0]! & 0xf0) | flags;
        const wire = await bed.connect('flags');
        wire.send(wrong);
        await wire.refusedWith(0x81);
      }
    }
  },
);
