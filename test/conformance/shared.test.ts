// Shared subscriptions: names, granted QoS, what is not sent to them, and which messages may go to another member.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds('cluster:\n  lease: 1s\n  renewEvery: 200ms\n');

statement(
  ['MQTT5-4.8.2-1', 'MQTT5-4.8.2-2'],
  'a shared filter has a name without wildcards, and a filter',
  async (t, bed) => {
    t.notOk(bed.is5 && mqtt.valuesOf((await bed.connect('told')).connack!, 'sharedAvailable').includes(0));
    const wire = await bed.connect('client');
    wire.send(
      mqtt.subscribe(bed.version, 7, [
        [`$share/g/${bed.name('a')}/+`, 1],
        ...['$share/g', '$share//x', '$share/g/', '$share/g+/x', '$share/#/x', '$share/g/a#'].map(
          (filter): [string, number] => [filter, 1],
        ),
      ]),
    );
    const suback = await wire.next(mqtt.SUBACK);
    t.equal(suback.bytes.subarray(-7).toString('hex'), `01${'8f'.repeat(6)}`);
    await (await bed.connect('publisher')).publish(`${bed.name('a')}/x`, 'here', { qos: 1 });
    t.match(await wire.receive(), { payload: 'here' });
  },
);

statement(
  ['MQTT-3.8.4-6', 'MQTT5-4.8.2-3', 'MQTT5-3.8.4-8'],
  'one member gets a message, at the QoS that it was granted; retained messages are not sent to members',
  async (t, bed) => {
    const topic = bed.name('qos');
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'retained', { qos: 1, retain: true });
    const first = await bed.connect('first');
    const second = await bed.connect('second');
    await first.subscribe(`$share/g/${topic}`, 1);
    await second.subscribe(`$share/g/${topic}`, 1);
    for (let index = 0; index < 4; index++) await publisher.publish(topic, `${index}`, { qos: 2 });
    const got: string[] = [];
    for (const wire of [first, second, first, second]) {
      const message = await wire.receive();
      t.match(message, { qos: 1, retain: false });
      got.push(message.payload);
    }
    t.same(got.sort(), ['0', '1', '2', '3']);
    await first.settled();
    await second.settled();
    await publisher.publish(topic, '', { qos: 1, retain: true });
  },
);

statement(
  ['MQTT5-4.8.2-4', 'MQTT5-4.8.2-6'],
  'QoS 2 begun with a member is completed with it when it is back; what it refuses goes to nobody else',
  async (t, bed) => {
    const topic = bed.name('two');
    const first = await bed.connectKept('first');
    await first.subscribe(`$share/g/${topic}`, 2);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'begun', { qos: 2 });
    await publisher.publish(topic, 'refused', { qos: 1 });
    const begun = await first.next(mqtt.PUBLISH);
    const refused = await first.next(mqtt.PUBLISH);
    const second = await bed.connect('second');
    await second.subscribe(`$share/g/${topic}`, 2);
    first.send(mqtt.ack(mqtt.PUBACK, refused.id, 0x97));
    first.send(mqtt.ack(mqtt.PUBREC, begun.id));
    await first.next(mqtt.PUBREL);
    first.cut();
    await second.settled();
    const again = await bed.connectKept('first');
    t.match(await again.next(mqtt.PUBREL), { id: begun.id });
    again.send(mqtt.ack(mqtt.PUBCOMP, begun.id));
    await again.settled();
    await again.leave(0);
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.receive(), { payload: 'fence' });
  },
);

statement(
  ['MQTT5-4.8.2-5'],
  'QoS 2 begun with a member goes to nobody else when its session ends; QoS 1 does, and what was not begun',
  async (t, bed) => {
    const topic = bed.name('end');
    const first = await bed.connect('first', { properties: [['receiveMaximum', 2]] });
    await first.subscribe(`$share/g/${topic}`, 2);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'begun', { qos: 2 });
    await publisher.publish(topic, 'one', { qos: 1 });
    await publisher.publish(topic, 'waits', { qos: 2 });
    t.match(await first.next(mqtt.PUBLISH), { payload: 'begun', qos: 2 });
    t.match(await first.next(mqtt.PUBLISH), { payload: 'one', qos: 1 });
    const second = await bed.connect('second');
    await second.subscribe(`$share/g/${topic}`, 2);
    first.cut();
    t.match(await second.receive(), { payload: 'one', qos: 1 });
    t.match(await second.receive(), { payload: 'waits', qos: 2 });
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await second.receive(), { payload: 'fence' });
    await second.settled();
  },
);
