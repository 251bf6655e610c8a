// Topics, filters and text: what matches what, what is no text, and what is left as it is.

import { startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds();

const BAD_TEXT: readonly [string, readonly number[]][] = [
  ['cut off', [0x61, 0xc3]],
  ['no first byte', [0x80]],
  ['longer than it must be', [0xc0, 0xaf]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['the last surrogate', [0xed, 0xbf, 0xbf]],
  ['beyond U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['U+0000', [0x61, 0x00]],
];

statement(
  [
    'MQTT-1.5.3-1',
    'MQTT-1.5.3-2',
    'MQTT-3.3.2-1',
    'MQTT-4.7.3-2',
    'MQTT5-1.5.4-1',
    'MQTT5-1.5.4-2',
    'MQTT5-3.3.2-1',
    'MQTT5-4.7.3-2',
  ],
  'ill-formed text and U+0000 in a topic or a filter end the connection',
  async (_t, bed) => {
    for (const [, bytes] of BAD_TEXT) {
      const text = Buffer.from(bytes);
      for (const packet of [
        mqtt.publish(bed.version, text, 'x'),
        mqtt.subscribe(bed.version, 1, [[text, 0]]),
        mqtt.unsubscribe(bed.version, 1, [text]),
      ]) {
        const wire = await bed.connect('text');
        wire.send(packet);
        await wire.refusedWith(0x81, 0x82, 0x90);
      }
    }
  },
);

statement(
  ['MQTT-1.5.3-3', 'MQTT5-1.5.4-3', 'MQTT-4.7.3-4', 'MQTT5-4.7.3-4', 'MQTT-3.3.2-3', 'MQTT5-3.3.2-3'],
  'topics are left as they are: U+FEFF, letters of two spellings, case, spaces and empty levels',
  async (t, bed) => {
    const wire = await bed.connect('client');
    const publisher = await bed.connect('publisher');
    const base = bed.name('');
    const pairs: [string, string][] = [
      [`${base}\ufeffx`, `${base}x`],
      [`${base}é`, `${base}e\u0301`],
      [`${base}Case`, `${base}case`],
      [`${base} a b`, `${base}a b`],
      [`${base}a//b`, `${base}a/b`],
      [`/${base}`, `${base}`],
      [`${base}end/`, `${base}end`],
      [`${base}\u{1f600}\uffff`, `${base}\u{1f601}\uffff`],
    ];
    for (const [subscribed, other] of pairs) {
      await wire.subscribe(subscribed, 1);
      await publisher.publish(other, 'other', { qos: 1 });
      await publisher.publish(subscribed, 'same', { qos: 1 });
      t.match(await wire.receive(), { topic: subscribed, payload: 'same' });
      wire.send(mqtt.unsubscribe(bed.version, 9, [subscribed]));
      await wire.next(mqtt.UNSUBACK);
    }
  },
);

statement(
  ['MQTT-3.3.2-2', 'MQTT-4.7.1-1', 'MQTT5-3.3.2-2', 'MQTT5-4.7.0-1'],
  'wildcards in a topic end the connection',
  async (_t, bed) => {
    for (const topic of ['+', '#', 'a/+', 'a/#', 'a+b', 'a#b']) {
      const wire = await bed.connect('wild');
      wire.send(mqtt.publish(bed.version, topic, 'x'));
      await wire.refusedWith(0x81, 0x82, 0x90);
    }
  },
);

statement(
  ['MQTT-4.7.1-2', 'MQTT-4.7.1-3', 'MQTT5-4.7.1-1', 'MQTT5-4.7.1-2', 'MQTT-4.7.3-1', 'MQTT5-4.7.3-1'],
  'filters with misplaced wildcards, or empty, are refused one by one',
  async (t, bed) => {
    const wire = await bed.connect('client');
    const bad = ['a#', 'a/#/b', '#/a', '##', 'a/b#', 'a+', '+a', 'a/+b', '++', 'a/++/b', ''];
    const good = ['#', '+', 'a/#', '+/a', 'a/+/b', '/+', '+/+', '/#', 'a/+/#'].map((one) => bed.name(one));
    const refused = bed.is5 ? 0x8f : 0x80;
    t.same(
      await wire.subscribe(bad.map((one) => [one, 1] as const)),
      bad.map(() => refused),
    );
    const placed = good.map((one) =>
      one.endsWith('#') && !one.endsWith('/#') ? '#' : one.replace(/^c\d+-\+/, '+'),
    );
    t.same(
      await wire.subscribe(placed.map((one) => [one, 1] as const)),
      placed.map(() => 1),
    );
    await wire.leave();
  },
);

statement(['MQTT-4.7.3-1', 'MQTT5-4.7.3-1'], 'an empty topic ends the connection', async (_t, bed) => {
  const wire = await bed.connect('empty');
  wire.send(mqtt.publish(bed.version, '', 'x'));
  await wire.refusedWith(0x81, 0x82, 0x90);
});

statement(
  ['MQTT-3.3.2-3', 'MQTT5-3.3.2-3'],
  'which filters match which topics, on every node',
  async (t, bed) => {
    const base = bed.name('m');
    const filters = ['#', 'a', 'a/#', 'a/+', '+/b', 'a/+/c', '+/+/+', '/a', 'a/', '+', 'a//c'];
    const topics: Record<string, string[]> = {
      '': ['#'],
      a: ['#', 'a', 'a/#', '+'],
      'a/b': ['#', 'a/#', 'a/+', '+/b'],
      'a/b/c': ['#', 'a/#', 'a/+/c', '+/+/+'],
      '/a': ['#', '/a'],
      'a/': ['#', 'a/#', 'a/+', 'a/'],
      'a//c': ['#', 'a/#', 'a/+/c', '+/+/+', 'a//c'],
      b: ['#', '+'],
    };
    const wires = new Map<string, Awaited<ReturnType<typeof bed.connect>>>();
    for (const [index, filter] of filters.entries()) {
      const wire = await bed.connect(`subscriber-${index}`);
      t.same(await wire.subscribe(`${base}/${filter}`, 1), [1]);
      wires.set(filter, wire);
    }
    const publisher = await bed.connect('publisher');
    for (const topic of Object.keys(topics)) {
      await publisher.publish(topic === '' ? base : `${base}/${topic}`, topic, { qos: 1 });
    }
    for (const filter of filters) {
      const wanted = Object.keys(topics).filter((topic) => topics[topic]?.includes(filter));
      const wire = wires.get(filter)!;
      const got: string[] = [];
      for (const _one of wanted) got.push((await wire.receive()).payload);
      t.same(got, wanted, filter);
      await wire.settled();
    }
  },
);

statement(
  ['MQTT-4.7.2-1', 'MQTT5-4.7.2-1'],
  'filters that begin with a wildcard do not match topics that begin with $',
  async (t, bed) => {
    const rest = bed.name('x');
    const wire = await bed.connect('client');
    await wire.subscribe([
      ['#', 1],
      [`+/${rest}`, 1],
    ]);
    const named = await bed.connect('named');
    await named.subscribe([[`$own/${rest}/#`, 1]]);
    const publisher = await bed.connect('publisher');
    await publisher.publish(`$own/${rest}`, 'hidden', { qos: 1 });
    t.match(await named.receive(), { topic: `$own/${rest}`, payload: 'hidden' });
    await publisher.publish(`own/${rest}`, 'shown', { qos: 1 });
    for (;;) {
      const message = await wire.receive();
      t.notOk(message.topic.startsWith('$'), message.topic);
      if (message.topic === `own/${rest}`) break;
    }
  },
);

statement(['MQTT5-1.5.7-1'], 'both halves of a user property are text', async (_t, bed) => {
  for (const broken of ['2600016100028061', '2600028061000161', '26000161000161'.slice(0, -2)]) {
    const list = Buffer.from(broken, 'hex');
    const wire = await bed.connect('pair');
    wire.send(mqtt.packet(0x30, mqtt.field('a'), mqtt.variable(list.length), list));
    await wire.refusedWith(0x81);
  }
});

statement(
  ['MQTT5-1.5.5-1'],
  'a variable byte integer that is longer than it must be ends the connection',
  async (_t, bed) => {
    for (const length of ['8000', '808000', '80808000', 'ffffffff7f']) {
      const wire = await bed.connect('long');
      wire.send(mqtt.packet(0x30, mqtt.field('a'), Buffer.from(length, 'hex')));
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  ['MQTT-3.3.5-2'],
  'a PUBLISH that is not allowed is acknowledged, and goes nowhere',
  async (t, bed) => {
    const topic = `$SYS/broker/${bed.name('forbidden')}`;
    const wire = await bed.connect('client');
    await wire.subscribe(topic, 1);
    for (const qos of [0, 1, 2]) await wire.publish(topic, 'x', { qos });
    await wire.settled();
    t.pass('and nothing came');
  },
);
