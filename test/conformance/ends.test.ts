// How connections end: keep-alive, DISCONNECT either way, broken packets; and authentication methods.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

statement(['MQTT-3.12.4-1', 'MQTT5-3.12.4-1'], 'PINGREQ is answered by PINGRESP', async (t, bed) => {
  const wire = await bed.connect('client');
  wire.send(mqtt.PINGREQ, mqtt.PINGREQ);
  t.equal((await wire.next(mqtt.PINGRESP)).bytes.toString('hex'), 'd000');
  await wire.next(mqtt.PINGRESP);
});

statement(
  ['MQTT-3.1.2-24', 'MQTT5-3.1.2-22', 'MQTT5-3.2.2-22'],
  'a silent client is cut off after one and a half times its keep-alive, as if the network had failed',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const silent = await bed.connect('silent', { keepAlive: 1, will: { topic, payload: 'gone', qos: 1 } });
    t.same(mqtt.valuesOf(silent.connack!, 'serverKeepAlive'), []);
    const from = performance.now();
    await silent.refusedWith(0x8d);
    const tookMs = performance.now() - from;
    t.ok(tookMs > 1400 && tookMs < 10_000, `${tookMs} ms`);
    t.match(await watcher.receive(), { payload: 'gone' });
  },
);

statement(
  ['MQTT-3.1.2-24', 'MQTT5-3.1.2-22'],
  'any packet keeps a connection alive, and keep-alive 0 turns the watch off',
  async (t, bed) => {
    const none = await bed.connect('none');
    const pinging = await bed.connect('pinging', { keepAlive: 2 });
    const publishing = await bed.connect('publishing', { keepAlive: 2 });
    for (let index = 0; index < 10; index++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      await pinging.settled();
      publishing.send(mqtt.publish(bed.version, bed.name('x'), 'x'));
    }
    await publishing.settled();
    await none.settled();
    t.pass('after five seconds');
  },
);

statement(
  ['MQTT-3.14.1-1', 'MQTT5-3.14.1-1'],
  'DISCONNECT with reserved bits ends the connection as broken: the will is published',
  async (t, bed) => {
    const topic = bed.name('will');
    const watcher = await bed.connect('watcher');
    await watcher.subscribe(topic, 1);
    const wire = await bed.connect('client', { will: { topic, payload: 'broken', qos: 1 } });
    wire.send(Buffer.of(0xe1, 0));
    await wire.refusedWith(0x81);
    t.match(await watcher.receive(), { payload: 'broken' });
  },
);

statement(
  ['MQTT5-3.14.2-1'],
  'DISCONNECT takes the reasons that a client may give, and no others',
  async (t, bed) => {
    for (const code of [0x00, 0x04, 0x80, 0x83, 0x93, 0x99]) {
      const wire = await bed.connect('client');
      wire.send(mqtt.disconnect(code));
      t.same(await wire.closed(), [], `0x${code.toString(16)}`);
    }
    for (const code of [0x01, 0x87, 0x8b, 0x9d, 0xff]) {
      const wire = await bed.connect('client');
      wire.send(mqtt.disconnect(code));
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  ['MQTT5-3.14.2-2', 'MQTT5-3.14.2-3', 'MQTT5-3.14.4-1', 'MQTT5-3.14.4-2', 'MQTT5-4.13.2-1'],
  'DISCONNECT of the server is its last packet, has no session expiry, and says why where that fits',
  async (t, bed) => {
    const expiry = [['sessionExpiry', 60]] as const;
    const size = (await bed.connect('size', { properties: expiry })).connack!.bytes.length;
    for (const list of [[], [['maximumPacketSize', size]]] as const) {
      const wire = await bed.connect('client', { properties: [...expiry, ...list] });
      await bed.connect('client');
      const answers = await wire.closed();
      t.equal(answers.length, 1);
      t.match(answers[0], { type: mqtt.DISCONNECT, code: 0x8e });
      t.same(mqtt.valuesOf(answers[0]!, 'sessionExpiry'), []);
      t.equal(mqtt.valuesOf(answers[0]!, 'reasonString').length, list.length === 0 ? 1 : 0);
    }
  },
);

statement(
  ['MQTT-4.8.0-1', 'MQTT5-4.13.1-1', 'MQTT5-4.13.2-1', 'MQTT-2.2.2-2', 'MQTT5-2.1.3-1'],
  'broken packets end the connection that they came on, and no other',
  async (t, bed) => {
    const bystander = await bed.connect('bystander');
    const broken = [
      '0000',
      '30ffffffff01',
      '3600',
      '400100',
      '40020000',
      '6003',
      '820100',
      'c00100',
      'd000',
      '20020000',
      '9003000100',
      'b0020001',
      'e002ff',
      ...(bed.is5 ? ['4004000100ff', '400400010100', '62040001ff00'] : ['4003000100', 'e00100', 'f000']),
    ];
    for (const hex of broken) {
      const wire = await bed.connect('client');
      const bytes = Buffer.from(hex, 'hex');
      // What is not whole yet is made so by what follows.
      wire.send(bytes, Buffer.alloc(8));
      await wire.refusedWith(0x81, 0x82, 0x95);
    }
    await bystander.settled();
    t.pass('the bystander is served');
  },
);

statement(['MQTT5-3.15.1-1'], 'AUTH with reserved bits ends the connection', async (_t, bed) => {
  for (const first of [0xf1, 0xf2, 0xff]) {
    const wire = await bed.connect('client');
    const bytes = mqtt.auth(0x19, [['authMethod', 'x']]);
    bytes[0] = first;
    wire.send(bytes);
    await wire.refusedWith(0x81);
  }
});

statement(
  ['MQTT5-4.12.0-6', 'MQTT5-4.12.0-7'],
  'who named no method is told none, and ended for AUTH',
  async (t, bed) => {
    const wire = await bed.connect('client', { username: 'u', password: 'p' });
    t.same(mqtt.valuesOf(wire.connack!, 'authMethod'), []);
    wire.send(mqtt.auth(0x19, [['authMethod', 'x']]));
    await wire.refusedWith(0x82);
  },
);

statement(['MQTT5-4.12.0-1'], 'a method that nobody knows is refused, then closed', async (t, bed) => {
  const list = [['authMethod', 'unheard-of']] as const;
  const answers = await bed
    .open()
    .send(mqtt.connect(5, bed.name('client'), { properties: list }))
    .closed();
  t.equal(answers.length, 1);
  t.match(answers[0], { type: mqtt.CONNACK, code: 0x8c, flags: 0 });
});
