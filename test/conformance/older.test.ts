// What the list of statements does not have: MQTT 3.1, and bridges of 3.1 and 3.1.1, which say so by the top bit of the
// protocol level, both as mosquitto has them; and what MQTT 5 leaves to the server to tell.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds(
  'connection:\n  responseInformation: answers/here\nlimits:\n  maxKeepAlive: 100s\n',
);

statement(
  [],
  'MQTT 3.1: session present stays 0, everything else goes on as ever',
  async (t, bed) => {
    const topic = bed.name('old');
    const first = await bed.connect('an identifier of more than twenty-three bytes', { clean: false });
    t.equal(first.connack?.bytes.toString('hex'), '20020000');
    t.same(
      await first.subscribe([
        [topic, 2],
        ['not/#/valid', 0],
      ]),
      [2, 0x80],
    );
    await first.leave();
    const publisher = await bed.connect('publisher');
    for (const qos of [1, 2]) await publisher.publish(topic, `${qos}`, { qos });
    await publisher.publish(topic, 'kept', { qos: 1, retain: true });
    const second = await bed.connect('an identifier of more than twenty-three bytes', { clean: false });
    t.equal(second.connack?.bytes.toString('hex'), '20020000', 'the bit is reserved');
    for (const payload of ['1', '2', 'kept']) t.equal((await second.receive()).payload, payload);
    const later = await bed.connect('later');
    await later.subscribe(topic, 1);
    t.match(await later.receive(), { payload: 'kept', retain: true });
    const taking = await bed.connect('later');
    await later.refusedWith();
    await taking.settled();
  },
  [3],
);

statement(
  [],
  'MQTT 3.1: an identifier is needed, and flags may promise fields that are not there',
  async (t, bed) => {
    const [answer] = await bed.open().send(mqtt.connect(3, '')).closed();
    t.equal(answer?.bytes.toString('hex'), '20020002');
    const promised = await bed.connect('promised', { flags: 2 | 128 | 64 });
    await promised.settled();
  },
  [3],
);

statement(
  [],
  'a bridge gets retained flags as they were published, and nothing of its own back',
  async (t, bed) => {
    const topic = bed.name('bridged');
    const bridge = await bed.connect('bridge', { level: 0x80 | bed.version });
    await bridge.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'retained', { qos: 1, retain: true });
    t.match(await bridge.receive(), { payload: 'retained', retain: true });
    await bridge.publish(topic, 'its own', { qos: 1 });
    await publisher.publish(topic, 'plain', { qos: 1 });
    t.match(await bridge.receive(), { payload: 'plain', retain: false });
    const plain = await bed.connect('plain');
    await plain.subscribe(topic, 1);
    t.match(
      await plain.receive(),
      { payload: 'retained', retain: true },
      'what the bridge sent was not retained',
    );
  },
  [3, 4],
);

statement(
  ['MQTT5-3.1.2-28'],
  'response information goes to who asked for it, and to nobody else',
  async (t, bed) => {
    const asking = await bed.connect('asking', { properties: [['requestResponse', 1]] });
    t.same(mqtt.valuesOf(asking.connack!, 'responseInformation'), ['answers/here']);
    const silent = await bed.connect('silent');
    t.same(mqtt.valuesOf(silent.connack!, 'responseInformation'), []);
  },
);

statement(
  ['MQTT5-3.4.2-1', 'MQTT5-3.5.2-1'],
  'PUBACK and PUBREC say that nobody matched, and nothing when somebody did',
  async (t, bed) => {
    const topic = bed.name('matched');
    const publisher = await bed.connect('publisher');
    for (const qos of [1, 2]) t.equal(await publisher.publish(topic, 'x', { qos }), 0x10);
    const away = await bed.connectKept('away');
    await away.subscribe(topic, 1);
    await away.leave();
    for (const qos of [1, 2]) t.equal(await publisher.publish(topic, 'x', { qos }), 0);
  },
);

statement(
  [],
  'a keep-alive beyond what the node allows is answered by Server Keep Alive, a shorter one by nothing',
  async (t, bed) => {
    for (const [asked, told] of [
      [0, [100]],
      [1000, [100]],
      [100, []],
      [50, []],
    ] as const) {
      const wire = await bed.connect('client', { keepAlive: asked });
      t.same(mqtt.valuesOf(wire.connack!, 'serverKeepAlive'), told, `${asked} s`);
    }
  },
  [5],
);
