// Wills: published when a connection ends without DISCONNECT, as they were given, and never otherwise.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

statement(
  ['MQTT-3.1.2-8', 'MQTT-3.1.2-9', 'MQTT-3.1.2-16', 'MQTT5-3.1.2-7', 'MQTT5-3.1.2-8', 'MQTT5-3.1.2-14'],
  'a connection that fails has its will published, at its QoS and not retained',
  async (t, bed) => {
    for (const qos of [0, 1, 2]) {
      const topic = bed.name(`will/${qos}`);
      const watcher = await bed.connect(`watcher-${qos}`);
      await watcher.subscribe(topic, 2);
      const dying = await bed.connect(`dying-${qos}`, { will: { topic, payload: `gone ${qos}`, qos } });
      dying.cut();
      t.match(await watcher.receive(), { topic, payload: `gone ${qos}`, qos, retain: false });
      const later = await bed.connect(`later-${qos}`);
      await later.subscribe(topic, 1);
      await later.settled();
    }
  },
);

statement(['MQTT-3.1.2-17', 'MQTT5-3.1.2-15'], 'a will with retain is retained', async (t, bed) => {
  const topic = bed.name('will');
  const watcher = await bed.connect('watcher');
  await watcher.subscribe(topic, 1);
  const dying = await bed.connect('dying', { will: { topic, payload: 'gone', qos: 1, retain: true } });
  dying.cut();
  t.match(await watcher.receive(), { payload: 'gone', retain: false }, 'live, as any message');
  const later = await bed.connect('later');
  await later.subscribe(topic, 1);
  t.match(await later.receive(), { payload: 'gone', retain: true, qos: 1 });
});

statement(
  ['MQTT-3.1.2-10', 'MQTT-3.14.4-3', 'MQTT-3.1.2-12', 'MQTT5-3.1.2-10', 'MQTT5-3.14.4-3', 'MQTT5-3.14.4-1'],
  'DISCONNECT calls the will off, and a later connection without a will has none',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const will = { topic, payload: 'no', qos: 1 };
    const first = await bed.connectKept('client', { will });
    await first.leave();
    const second = await bed.connectKept('client');
    second.cut();
    const third = await bed.connectKept('client', { will });
    third.send(mqtt.disconnect(), mqtt.publish(bed.version, topic, 'after DISCONNECT', { qos: 1 }));
    await third.closed();
    // Whoever connects after it finds all that its end brought with it done.
    await bed.connectKept('client');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await watcher.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT-3.1.2-10', 'MQTT5-3.1.2-10'],
  'a will that was published is not published again',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const first = await bed.connectKept('client', { will: { topic, payload: 'once', qos: 1 } });
    first.cut();
    t.match(await watcher.receive(), { payload: 'once' });
    const second = await bed.connectKept('client');
    second.cut();
    await bed.connectKept('client');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await watcher.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT-3.1.2-8', 'MQTT5-3.1.2-8'],
  'a client that breaks the protocol has its will published',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const dying = await bed.connect('dying', { will: { topic, payload: 'broken', qos: 1 } });
    dying.send(Buffer.of(0, 0));
    await dying.closed();
    t.match(await watcher.receive(), { payload: 'broken' });
  },
);

statement(['MQTT5-3.1.2-8'], 'DISCONNECT 0x04 has the will published all the same', async (t, bed) => {
  const topic = bed.name('will');
  const watcher = await bed.connect('watcher');
  await watcher.subscribe(topic, 1);
  const leaving = await bed.connect('leaving', { will: { topic, payload: 'wanted', qos: 1 } });
  await leaving.leave(4);
  t.match(await watcher.receive(), { payload: 'wanted' });
});

statement(
  ['MQTT5-3.1.2-8', 'MQTT5-3.1.3-9'],
  'a will waits for its delay, and a client that is back before has it called off',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const will = { topic, payload: 'late', qos: 1, properties: [['willDelay', 4]] as const };
    const first = await bed.connectKept('client', { will });
    first.cut();
    const second = await bed.connectKept('client', { will: { ...will, payload: 'second' } });
    t.ok(second.connack?.present);
    const cutAt = performance.now();
    second.cut();
    t.match(await watcher.receive(), { payload: 'second' }, 'nothing of the first');
    t.ok(performance.now() - cutAt > 3800, 'after its delay');
  },
);

statement(['MQTT5-3.1.2-8'], 'a will does not wait longer than its session lives', async (t, bed) => {
  const topic = bed.name('will');
  const watcher = await bed.connect('watcher');
  await watcher.subscribe(topic, 1);
  const will = { topic, payload: 'ended', qos: 1, properties: [['willDelay', 600]] as const };
  const first = await bed.connect('client', { clean: false, properties: [['sessionExpiry', 1]], will });
  first.cut();
  t.match(await watcher.receive(), { payload: 'ended' });
});

statement(
  ['MQTT5-3.1.3-10', 'MQTT5-3.1.2-9'],
  'a will is published with the properties that it was given, user properties in their order',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const list: mqtt.Properties = [
      ['user', ['b', '2']],
      ['payloadFormat', 1],
      ['user', ['a', '1']],
      ['contentType', 'text/plain'],
      ['user', ['b', '2']],
      ['responseTopic', 'answers'],
      ['correlationData', Buffer.of(1, 0, 2)],
    ];
    const will = { topic, payload: 'x', qos: 1, properties: [...list, ['willDelay', 0] as const] };
    const dying = await bed.connect('dying', { will });
    dying.cut();
    const message = await watcher.receive();
    t.same(mqtt.valuesOf(message, 'user'), [
      ['b', '2'],
      ['a', '1'],
      ['b', '2'],
    ]);
    for (const name of ['payloadFormat', 'contentType', 'responseTopic', 'correlationData'] as const) {
      t.same(mqtt.valuesOf(message, name), [list.find(([one]) => one === name)?.[1]]);
    }
    t.same(mqtt.valuesOf(message, 'willDelay'), []);
  },
);
