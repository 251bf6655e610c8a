// Sessions: what clean start does, what is kept for whom and how long, and what CONNACK says of it.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

statement(
  [
    'MQTT-3.1.2-4',
    'MQTT-3.1.4-3',
    'MQTT-3.2.2-2',
    'MQTT-3.2.2-3',
    'MQTT5-3.1.2-5',
    'MQTT5-3.1.2-6',
    'MQTT5-3.1.4-4',
    'MQTT5-3.2.2-3',
    'MQTT5-3.1.2-23',
  ],
  'a kept session is new once, and goes on afterwards',
  async (t, bed) => {
    const topic = bed.name('kept');
    const first = await bed.connectKept('client');
    t.equal(first.connack?.present, false);
    await first.subscribe(topic, 1);
    await first.leave();
    const second = await bed.connectKept('client');
    t.equal(second.connack?.present, true);
    second.cut();
    const third = await bed.connectKept('client');
    t.equal(third.connack?.present, true);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'still subscribed', { qos: 1 });
    t.match(await third.receive(), { payload: 'still subscribed', qos: 1 });
  },
);

statement(
  ['MQTT-3.1.2-6', 'MQTT-3.2.2-1', 'MQTT-3.1.4-3', 'MQTT5-3.1.2-4', 'MQTT5-3.2.2-2', 'MQTT5-3.1.4-4'],
  'a clean start throws away subscriptions and messages of before',
  async (t, bed) => {
    const topic = bed.name('old');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 1);
    await first.leave();
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'waits', { qos: 1 });
    const second = await bed.connectKept('client', { clean: true });
    t.equal(second.connack?.present, false);
    await publisher.publish(topic, 'nobody there', { qos: 1 });
    await second.subscribe(topic, 1);
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT-3.1.2-6', 'MQTT5-4.1.0-2'],
  'a session without a life of its own ends with its connection',
  async (t, bed) => {
    const topic = bed.name('short');
    const first = await bed.connect('client');
    await first.subscribe(topic, 1);
    await first.leave();
    const second = await bed.connectKept('client');
    t.equal(second.connack?.present, false);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'nobody there', { qos: 1 });
    await second.subscribe(topic, 1);
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT-3.1.2-5', 'MQTT-4.5.0-1', 'MQTT-4.1.0-1', 'MQTT5-4.5.0-1', 'MQTT5-3.1.2-23'],
  'QoS 1 and 2 messages wait for a client that is away',
  async (t, bed) => {
    const topic = bed.name('away');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 2);
    await first.leave();
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'one', { qos: 1 });
    await publisher.publish(topic, 'two', { qos: 2 });
    const second = await bed.connectKept('client');
    t.match(await second.receive(), { payload: 'one', qos: 1, dup: false });
    t.match(await second.receive(), { payload: 'two', qos: 2, dup: false });
    await second.settled();
  },
);

statement(
  ['MQTT5-4.1.0-2', 'MQTT5-3.1.2-23'],
  'a session is there until its expiry, and not afterwards',
  async (t, bed) => {
    const list = [['sessionExpiry', 4]] as const;
    const first = await bed.connect('client', { clean: false, properties: list });
    await first.subscribe(bed.name('x'), 1);
    await first.leave();
    const second = await bed.connect('client', { clean: false, properties: list });
    t.equal(second.connack?.present, true, 'at once it is');
    await second.leave();
    await new Promise((resolve) => setTimeout(resolve, 5500));
    const third = await bed.connect('client', { clean: false, properties: list });
    t.equal(third.connack?.present, false, 'later it is not');
  },
);

statement(['MQTT5-4.1.0-2'], 'DISCONNECT changes the expiry', async (t, bed) => {
  const first = await bed.connectKept('client');
  await first.leave(0, [['sessionExpiry', 0]]);
  const second = await bed.connectKept('client');
  t.equal(second.connack?.present, false, 'shortened to nothing');
  await second.leave(0, [['sessionExpiry', 7200]]);
  const third = await bed.connectKept('client');
  t.equal(third.connack?.present, true, 'prolonged');
  await third.leave();
  const short = await bed.connect('short');
  short.send(mqtt.disconnect(0, [['sessionExpiry', 10]]));
  await short.refusedWith(0x82);
});

statement(
  ['MQTT-4.1.0-2', 'MQTT5-4.1.0-1'],
  'a session whose expiry is short lives as long as its connection',
  async (t, bed) => {
    const topic = bed.name('open');
    const list = bed.is5 ? ([['sessionExpiry', 1]] as const) : [];
    const wire = await bed.connect('client', { properties: list });
    await wire.subscribe(topic, 1);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'there', { qos: 1 });
    t.match(await wire.receive(), { payload: 'there' });
  },
);

statement(['MQTT-3.1.2-7'], 'retained messages outlive the session that published them', async (t, bed) => {
  const topic = bed.name('retained');
  const publisher = await bed.connect('publisher');
  await publisher.publish(topic, 'stays', { qos: 1, retain: true });
  await publisher.leave();
  await (await bed.connect('publisher')).leave();
  const reader = await bed.connect('reader');
  await reader.subscribe(topic, 1);
  t.match(await reader.receive(), { payload: 'stays', retain: true });
});

statement(
  ['MQTT-4.4.0-1', 'MQTT-4.6.0-1', 'MQTT5-4.4.0-1', 'MQTT5-4.6.0-1'],
  'what is unacknowledged comes first and in its order, then what has come meanwhile',
  async (t, bed) => {
    const topic = bed.name('mixed');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    for (const [index, qos] of [1, 2, 1].entries()) await publisher.publish(topic, `open ${index}`, { qos });
    const open = [];
    for (let index = 0; index < 3; index++) open.push(await first.next(mqtt.PUBLISH));
    // Not cut: a node that has not noticed that yet sends what comes next, and that has DUP then.
    await first.leave();
    for (const qos of [2, 1]) await publisher.publish(topic, `new ${qos}`, { qos });
    const second = await bed.connectKept('client');
    for (const { id, payload, qos } of open) {
      t.match(await second.next(mqtt.PUBLISH), { id, payload, qos, dup: true });
    }
    t.match(await second.next(mqtt.PUBLISH), { payload: 'new 2', dup: false });
    t.match(await second.next(mqtt.PUBLISH), { payload: 'new 1', dup: false });
  },
);
