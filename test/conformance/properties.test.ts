// What MQTT 5 adds to messages and their flow: properties passed on as they came, expiry, aliases, sizes, and how many
// messages may be under way.

import type { Test } from 'tap';
import { type Bed, startBeds } from './bed.ts';
import * as mqtt from './packets.ts';
import type { Wire } from './wire.ts';

const statement = await startBeds(
  'limits:\n  receiveMaximum: 8\n  topicAliasMaximum: 4\n  maxPacketSize: 64KB\nconnection:\n  checkPayloadFormat: true\n',
);

const ALL: mqtt.Properties = [
  ['user', ['z', 'last']],
  ['contentType', 'text/plain; ü'],
  ['user', ['', '']],
  ['responseTopic', 'answer/here'],
  ['user', ['a', '1']],
  ['correlationData', Buffer.from([0, 255, 1])],
  ['user', ['a', '1']],
  ['payloadFormat', 1],
  ['user', ['constructor', '__proto__']],
];

function checkAll(t: Test, message: mqtt.Answer, what: string): void {
  t.same(
    mqtt.valuesOf(message, 'user'),
    ALL.filter(([name]) => name === 'user').map(([, value]) => value),
    what,
  );
  for (const name of ['contentType', 'responseTopic', 'correlationData', 'payloadFormat'] as const) {
    t.same(mqtt.valuesOf(message, name), [ALL.find(([one]) => one === name)?.[1]], `${what}: ${name}`);
  }
}

statement(
  ['MQTT5-3.3.2-4', 'MQTT5-3.3.2-15', 'MQTT5-3.3.2-16', 'MQTT5-3.3.2-17', 'MQTT5-3.3.2-18', 'MQTT5-3.3.2-20'],
  'properties of a message are passed on as they came: live, queued and retained, at every QoS',
  async (t, bed) => {
    const topic = bed.name('all');
    const live = await bed.connect('live');
    await live.subscribe(topic, 2);
    const away = await bed.connectKept('away');
    await away.subscribe(topic, 2);
    await away.leave();
    const publisher = await bed.connect('publisher');
    for (const qos of [0, 1, 2]) {
      await publisher.publish(topic, `${qos}`, { qos, properties: ALL, retain: qos === 2 });
      checkAll(t, await live.receive(), `live ${qos}`);
    }
    const back = await bed.connectKept('away');
    for (const qos of [1, 2]) checkAll(t, await back.receive(), `queued ${qos}`);
    const later = await bed.connect('later');
    await later.subscribe(topic, 2);
    checkAll(t, await later.receive(), 'retained');
  },
);

statement(
  ['MQTT5-3.3.2-13', 'MQTT5-3.3.2-14', 'MQTT5-3.3.2-19'],
  'response topic and content type are text, the response topic without wildcards',
  async (_t, bed) => {
    const bad = Buffer.from([0x61, 0xff]);
    const lists: mqtt.Properties[] = [
      [['responseTopic', bad]],
      [['contentType', bad]],
      [['responseTopic', 'a/+']],
      [['responseTopic', '#']],
    ];
    for (const list of lists) {
      const wire = await bed.connect('client');
      wire.send(mqtt.publish(5, bed.name('x'), 'x', { properties: list }));
      await wire.refusedWith(0x81, 0x82);
    }
  },
);

statement(
  ['MQTT5-3.3.4-6'],
  'a Subscription Identifier in a PUBLISH of a client ends the connection',
  async (_t, bed) => {
    const wire = await bed.connect('client');
    wire.send(mqtt.publish(5, bed.name('x'), 'x', { properties: [['subscriptionId', 1]] }));
    await wire.refusedWith(0x82);
  },
);

statement(
  ['MQTT5-4.13.1-1'],
  'properties that do not belong to the packet, twice, or out of range end the connection',
  async (_t, bed) => {
    const lists: mqtt.Properties[] = [
      [['serverKeepAlive', 1]],
      [['reasonString', 'x']],
      [
        ['contentType', 'a'],
        ['contentType', 'b'],
      ],
      [['payloadFormat', 2]],
    ];
    for (const list of lists) {
      const wire = await bed.connect('client');
      wire.send(mqtt.publish(5, bed.name('x'), 'x', { properties: list }));
      await wire.refusedWith(0x81, 0x82);
    }
    for (const list of [
      [['receiveMaximum', 0]],
      [['maximumPacketSize', 0]],
      [['requestProblem', 2]],
      [['topicAlias', 1]],
      [['authData', Buffer.of(1)]],
      [
        ['sessionExpiry', 1],
        ['sessionExpiry', 1],
      ],
    ] as const) {
      const wire = bed.open();
      wire.send(mqtt.connect(5, bed.name('c'), { properties: list as mqtt.Properties }));
      const [answer] = await wire.closed();
      if (answer?.type !== mqtt.CONNACK || ![0x81, 0x82].includes(answer.code)) {
        throw new Error(`${JSON.stringify(list)}: ${answer?.bytes.toString('hex')}`);
      }
    }
  },
);

statement(
  ['MQTT5-3.3.2-5', 'MQTT5-3.3.2-6'],
  'a message that waits tells what is left of its time, and is gone when that is over',
  async (t, bed) => {
    const topic = bed.name('expiry');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 1);
    await first.leave();
    const publisher = await bed.connect('publisher');
    const publish = (payload: string, seconds: number) =>
      publisher.publish(topic, payload, { qos: 1, properties: [['messageExpiry', seconds]] });
    await publish('short', 1);
    await publish('long', 100);
    await publisher.publish(topic, 'kept', { qos: 1, retain: true, properties: [['messageExpiry', 1]] });
    await new Promise((resolve) => setTimeout(resolve, 2600));
    const second = await bed.connectKept('client');
    const message = await second.receive();
    t.equal(message.payload, 'long');
    const [left] = mqtt.valuesOf(message, 'messageExpiry');
    t.ok(Number(left) <= 98 && Number(left) >= 80, `${left} seconds left`);
    await second.settled();
    await second.subscribe(topic, 1);
    await publish('live', 50);
    const live = await second.receive();
    t.equal(live.payload, 'live', 'the retained one is gone as well');
    t.ok(Number(mqtt.valuesOf(live, 'messageExpiry')[0]) >= 40);
  },
);

statement(
  ['MQTT5-4.3.3-7', 'MQTT5-4.3.3-13'],
  'a message whose PUBLISH has left does not expire, and its acknowledgements go on',
  async (t, bed) => {
    const topic = bed.name('begun');
    const first = await bed.connectKept('client');
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    publisher.send(mqtt.publish(5, topic, 'x', { qos: 2, id: 5, properties: [['messageExpiry', 3]] }));
    await publisher.next(mqtt.PUBREC);
    const { id } = await first.next(mqtt.PUBLISH);
    first.cut();
    await new Promise((resolve) => setTimeout(resolve, 4500));
    publisher.send(mqtt.ack(mqtt.PUBREL, 5));
    t.match(await publisher.next(mqtt.PUBCOMP), { id: 5, code: 0 });
    const second = await bed.connectKept('client');
    t.match(await second.next(mqtt.PUBLISH), { id, dup: true, payload: 'x' });
    second.send(mqtt.ack(mqtt.PUBREC, id));
    t.equal((await second.next(mqtt.PUBREL)).id, id);
    second.send(mqtt.ack(mqtt.PUBCOMP, id));
    await second.settled();
  },
);

statement(
  ['MQTT5-3.3.2-12', 'MQTT5-3.3.2-7'],
  'aliases of a client: set, used, set anew, and forgotten with the connection',
  async (t, bed) => {
    const [one, other] = [bed.name('one'), bed.name('other')];
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe([
      [one, 1],
      [other, 1],
    ]);
    const publisher = await bed.connect('publisher');
    t.same(mqtt.valuesOf(publisher.connack!, 'topicAliasMaximum'), [4]);
    const alias = (value: number) => ({ qos: 1, properties: [['topicAlias', value]] as const });
    await publisher.publish(one, 'sets 4', alias(4));
    await publisher.publish(other, 'sets 1', alias(1));
    await publisher.publish('', 'uses 4', alias(4));
    await publisher.publish(other, 'sets 4 anew', alias(4));
    await publisher.publish('', 'uses 4 anew', alias(4));
    const wanted = [one, other, one, other, other];
    for (const topic of wanted) t.equal((await subscriber.receive()).topic, topic);
    await publisher.leave();
    const again = await bed.connect('publisher');
    again.send(mqtt.publish(5, '', 'x', { properties: [['topicAlias', 4]] }));
    await again.refusedWith(0x82, 0x94);
  },
);

statement(
  ['MQTT5-3.3.2-8', 'MQTT5-3.3.2-9', 'MQTT5-3.2.2-17'],
  'alias 0, and one above the maximum of the node, end the connection',
  async (_t, bed) => {
    for (const value of [0, 5, 65_535]) {
      const wire = await bed.connect('client');
      wire.send(mqtt.publish(5, bed.name('x'), 'x', { properties: [['topicAlias', value]] }));
      await wire.refusedWith(0x94);
    }
  },
);

/** Publishes to a client with these CONNECT properties and answers what it got, at QoS 1, topics resolved. */
async function withProperties(bed: Bed, list: mqtt.Properties, topics: string[]): Promise<mqtt.Answer[]> {
  const subscriber = await bed.connect('subscriber', { properties: list });
  await subscriber.subscribe([[`${bed.name('t')}/#`, 1]]);
  const publisher = await bed.connect('publisher');
  const got: mqtt.Answer[] = [];
  for (const topic of topics) {
    await publisher.publish(`${bed.name('t')}/${topic}`, topic, { qos: 1 });
    got.push(await subscriber.receive());
  }
  return got;
}

statement(
  ['MQTT5-3.1.2-26', 'MQTT5-3.3.2-11', 'MQTT5-3.3.2-8'],
  'aliases towards a client stay within its maximum, and mean what they were set to',
  async (t, bed) => {
    const topics = ['a', 'b', 'a', 'b', 'c', 'a', 'c', 'b', 'd', 'd'];
    const known = new Map<number, string>();
    for (const message of await withProperties(bed, [['topicAliasMaximum', 2]], topics)) {
      const alias = mqtt.valuesOf(message, 'topicAlias')[0] as number | undefined;
      if (alias !== undefined) {
        t.ok(alias >= 1 && alias <= 2, `alias ${alias}`);
        if (message.topic !== '') known.set(alias, message.topic);
      }
      const topic = message.topic === '' ? known.get(alias ?? 0) : message.topic;
      t.equal(topic, `${bed.name('t')}/${message.payload}`);
    }
    t.ok(known.size > 0, 'there were some');
  },
);

statement(['MQTT5-3.1.2-27'], 'no alias goes to a client that wants none', async (t, bed) => {
  for (const list of [[], [['topicAliasMaximum', 0]]] as const) {
    for (const message of await withProperties(bed, list, ['a', 'a', 'a'])) {
      t.same(mqtt.valuesOf(message, 'topicAlias'), []);
      t.equal(message.topic, `${bed.name('t')}/a`);
    }
  }
});

statement(
  ['MQTT5-3.1.2-24', 'MQTT5-3.1.2-25'],
  'a message too large for its client is dropped as if it had been delivered, live and from the queue',
  async (t, bed) => {
    const topic = bed.name('size');
    const list = [['maximumPacketSize', 100]] as const;
    const first = await bed.connectKept('client', { properties: list });
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    const others = await bed.connect('others');
    await others.subscribe(topic, 1);
    const both = async (word: string) => {
      for (const qos of [0, 1, 2]) {
        await publisher.publish(topic, 'x'.repeat(200), { qos });
        await publisher.publish(topic, `${word} ${qos}`, { qos });
      }
    };
    await both('live');
    for (const qos of [0, 1, 2]) t.equal((await first.receive()).payload, `live ${qos}`);
    await first.leave();
    await both('queued');
    const second = await bed.connectKept('client', { properties: list });
    for (const qos of [1, 2]) t.equal((await second.receive()).payload, `queued ${qos}`);
    await second.settled();
    await second.leave();
    const third = await bed.connectKept('client');
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.equal(
      (await third.receive()).payload,
      'fence',
      'what was dropped is gone, for a client that takes all too',
    );
    const sizes = [];
    for (let index = 0; index < 13; index++) sizes.push((await others.receive()).payload.length);
    t.equal(sizes.filter((length) => length === 200).length, 6, 'others got it');
  },
);

statement(
  ['MQTT5-3.2.2-15'],
  'a packet above the maximum of the node ends the connection',
  async (t, bed) => {
    const wire = await bed.connect('client');
    t.same(mqtt.valuesOf(wire.connack!, 'maximumPacketSize'), [65_536]);
    wire.send(mqtt.publish(5, bed.name('x'), 'x'.repeat(70_000)));
    await wire.refusedWith(0x95);
  },
);

statement(
  ['MQTT5-3.3.4-9', 'MQTT5-3.3.4-10', 'MQTT5-4.9.0-1', 'MQTT5-4.9.0-2', 'MQTT5-4.9.0-3'],
  "never more messages under way than the client's Receive Maximum; other packets go on, also on the next node",
  async (t, bed) => {
    const topic = bed.name('window');
    const list = [['receiveMaximum', 3]] as const;
    const first = await bed.connectKept('client', { properties: list });
    await first.subscribe(topic, 2);
    const publisher = await bed.connect('publisher');
    for (let index = 0; index < 10; index++) {
      await publisher.publish(topic, `${index}`, { qos: index % 2 === 0 ? 2 : 1 });
    }
    const open: mqtt.Answer[] = [];
    for (let index = 0; index < 3; index++) open.push(await first.next(mqtt.PUBLISH));
    await first.settled();
    t.same(await first.subscribe(bed.name('other'), 0), [0]);
    await publisher.publish(bed.name('other'), 'QoS 0 has no quota');
    t.match(await first.next(mqtt.PUBLISH), { payload: 'QoS 0 has no quota', qos: 0 });
    // A PUBREC does not free its place, a PUBACK does.
    first.send(mqtt.ack(mqtt.PUBREC, open[0]!.id));
    await first.next(mqtt.PUBREL);
    await first.settled();
    first.send(mqtt.ack(mqtt.PUBACK, open[1]!.id));
    t.equal((await first.next(mqtt.PUBLISH)).payload, '3');
    await first.settled();
    first.cut();
    const second = await bed.connectKept('client', { properties: [['receiveMaximum', 2]] });
    const again = [
      await second.next(mqtt.PUBREL, mqtt.PUBLISH),
      await second.next(mqtt.PUBREL, mqtt.PUBLISH),
    ];
    t.ok(again.some(({ type, id }) => type === mqtt.PUBREL && id === open[0]!.id));
    second.send(mqtt.ack(mqtt.PUBCOMP, open[0]!.id));
    const rest: string[] = [];
    const take = (answer: mqtt.Answer) => {
      rest.push(answer.payload);
      second.send(mqtt.ack(answer.qos === 1 ? mqtt.PUBACK : mqtt.PUBREC, answer.id));
    };
    for (const answer of again) if (answer.type === mqtt.PUBLISH) take(answer);
    while (rest.length < 8) {
      const answer = await second.next(mqtt.PUBLISH, mqtt.PUBREL);
      if (answer.type === mqtt.PUBLISH) take(answer);
      else second.send(mqtt.ack(mqtt.PUBCOMP, answer.id));
    }
    t.same(rest, ['2', '3', '4', '5', '6', '7', '8', '9']);
  },
);

statement(
  ['MQTT5-3.3.4-7'],
  "a client that sends more than the node's Receive Maximum is ended",
  async (t, bed) => {
    const wire = await bed.connect('client');
    t.same(mqtt.valuesOf(wire.connack!, 'receiveMaximum'), [8]);
    const some = (from: number, count: number) =>
      Array.from({ length: count }, (_one, index) =>
        mqtt.publish(5, bed.name('x'), 'x', { qos: 2, id: from + index }),
      );
    wire.send(...some(1, 8));
    for (let index = 0; index < 8; index++) await wire.next(mqtt.PUBREC);
    wire.send(...some(9, 1));
    await wire.refusedWith(0x93);
  },
);

statement(
  ['MQTT5-4.3.3-9', 'MQTT5-3.5.2-1', 'MQTT5-3.4.2-1'],
  'after a PUBREC of failure the identifier is free, and the next message with it is a new one',
  async (t, bed) => {
    const topic = bed.name('free');
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 2);
    const wire = await bed.connect('client');
    const forbidden = `$SYS/broker/${bed.name('x')}`;
    t.ok((await wire.publish(forbidden, 'x', { qos: 1, id: 3 })) >= 0x80);
    t.ok((await wire.publish(forbidden, 'x', { qos: 2, id: 3 })) >= 0x80);
    t.ok((await wire.publish(topic, 'allowed', { qos: 2, id: 3 })) < 0x80);
    t.match(await subscriber.receive(), { payload: 'allowed' });
  },
);

statement(
  ['MQTT5-3.1.2-29', 'MQTT5-3.4.2-2', 'MQTT5-3.5.2-2', 'MQTT5-3.9.2-1', 'MQTT5-3.11.2-1'],
  'answers say why, but not to who wants no words, nor where the words would not fit',
  async (t, bed) => {
    const ask = async (wire: Wire) => {
      const untrue = { properties: [['payloadFormat', 1]] } as const;
      wire.send(mqtt.publish(5, bed.name('x'), Buffer.of(255), { ...untrue, qos: 1, id: 1 }));
      const answers = [await wire.next(mqtt.PUBACK)];
      wire.send(mqtt.publish(5, bed.name('x'), Buffer.of(255), { ...untrue, qos: 2, id: 2 }));
      answers.push(await wire.next(mqtt.PUBREC));
      wire.send(mqtt.subscribe(5, 3, [['a#', 0]]));
      answers.push(await wire.next(mqtt.SUBACK));
      wire.send(mqtt.unsubscribe(5, 4, ['a#']));
      answers.push(await wire.next(mqtt.UNSUBACK));
      for (const { code, codes } of answers) t.ok((codes[0] ?? code) >= 0x80);
      return answers;
    };
    for (const answer of await ask(await bed.connect('usual'))) {
      t.equal(mqtt.valuesOf(answer, 'reasonString').length, 1, `type ${answer.type} says why`);
    }
    const silent = await bed.connect('silent', { properties: [['requestProblem', 0]] });
    for (const answer of await ask(silent)) t.same(answer.properties, [], `type ${answer.type} is silent`);
    // No answer of these is larger than CONNACK without its words, and all are with them.
    const size = silent.connack!.bytes.length;
    const small = await bed.connect('small', { properties: [['maximumPacketSize', size]] });
    for (const answer of await ask(small)) {
      t.same(answer.properties, [], `type ${answer.type} is short`);
      t.ok(answer.bytes.length <= size);
    }
  },
);
