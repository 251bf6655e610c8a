// CONNECT and CONNACK: what is accepted, what is refused and how, and the order of the first packets.

import type { Test } from 'tap';
import { type Bed, startBeds } from './bed.ts';
import * as mqtt from './packets.ts';

const statement = await startBeds('limits:\n  maxClientIdLength: 64\n  topicAliasMaximum: 0\n');

/** What cannot be a CONNECT: closed, in MQTT 5 behind a CONNACK that says why. */
async function refuses(t: Test, bed: Bed, what: string, bytes: Buffer, code = 0x81): Promise<void> {
  const wire = bed.open().send(bytes);
  const answers = await wire.closed();
  if (!bed.is5) t.same(answers, [], `${what}: closed without a word`);
  else {
    t.equal(answers.length, 1, `${what}: one answer`);
    t.match(answers[0], { type: mqtt.CONNACK, flags: 0, code }, `${what}: CONNACK 0x${code.toString(16)}`);
    t.equal(mqtt.valuesOf(answers[0]!, 'reasonString').length, 1, `${what}: says why`);
  }
}

statement(
  ['MQTT-3.1.0-1', 'MQTT5-3.1.0-1', 'MQTT5-3.14.0-1'],
  'anything in place of CONNECT is closed without an answer',
  async (t, bed) => {
    const packets = [
      mqtt.publish(bed.version, 'a', 'x'),
      mqtt.subscribe(bed.version, 1, [['a', 0]]),
      mqtt.unsubscribe(bed.version, 1, ['a']),
      mqtt.ack(mqtt.PUBREL, 1),
      mqtt.PINGREQ,
      mqtt.disconnect(),
      ...(bed.is5 ? [mqtt.auth(0x18, [['authMethod', 'x']])] : []),
    ];
    for (const bytes of packets) {
      const wire = bed.open().send(bytes, mqtt.connect(bed.version, bed.name('late')));
      t.same(await wire.closed(), [], bytes.toString('hex'));
    }
  },
);

statement(
  ['MQTT-3.1.0-2', 'MQTT5-3.1.0-2', 'MQTT5-3.2.0-2', 'MQTT-4.8.0-1'],
  'a second CONNECT ends the connection, without a second CONNACK',
  async (t, bed) => {
    const wire = await bed.connect('twice');
    wire.send(mqtt.connect(bed.version, bed.name('twice')));
    const answers = await wire.closed();
    if (bed.is5) t.match(answers, [{ type: mqtt.DISCONNECT, code: 0x82 }]);
    else t.same(answers, []);
    t.ok(await bed.connect('twice'), 'nobody else is concerned');
  },
);

statement(['MQTT-3.1.2-1', 'MQTT5-3.1.2-1'], 'another protocol name is closed', async (t, bed) => {
  for (const protocol of ['MQTX', 'mqtt', 'HTTP/1.1', '']) {
    const wire = bed.open().send(mqtt.connect(bed.version, bed.name('other'), { protocol }));
    t.same(await wire.closed(), [], protocol);
  }
});

statement(
  ['MQTT-3.1.2-2', 'MQTT5-3.1.2-2', 'MQTT-3.2.2-5', 'MQTT5-3.2.2-7'],
  'a level that is not spoken is told so, then closed',
  async (t, bed) => {
    for (const level of bed.is5 ? [6, 7, 127] : [0, 1, 2]) {
      const wire = bed.open().send(mqtt.connect(bed.version, bed.name('level'), { level }));
      const [answer, ...rest] = await wire.closed();
      t.equal(answer?.code, bed.is5 ? 0x84 : 1, `level ${level}`);
      t.equal(answer?.flags, 0);
      t.same(rest, []);
      const words = 'MQTT 3.1, 3.1.1 and 5 are spoken here';
      if (!bed.is5) t.equal(answer?.bytes.toString('hex'), '20020001');
      else t.same(mqtt.valuesOf(answer!, 'reasonString'), [words]);
    }
  },
);

statement(
  ['MQTT-3.1.2-3', 'MQTT5-3.1.2-3', 'MQTT-3.1.4-1', 'MQTT5-3.1.4-1', 'MQTT-3.2.2-6', 'MQTT5-2.1.3-1'],
  'the reserved flag of CONNECT ends the connection',
  async (t, bed) => {
    await refuses(t, bed, 'flag', mqtt.connect(bed.version, bed.name('flag'), { flags: 3 }));
    for (const first of [0x11, 0x12, 0x18]) {
      const bytes = mqtt.connect(bed.version, bed.name('flag'));
      bytes[0] = first;
      t.same(await bed.open().send(bytes).closed(), [], `first byte 0x${first.toString(16)}`);
    }
  },
);

statement(
  ['MQTT-3.1.2-11', 'MQTT-3.1.2-13', 'MQTT-3.1.2-15', 'MQTT5-3.1.2-11', 'MQTT5-3.1.2-13'],
  'will QoS, will retain or a will without the will flag end the connection',
  async (t, bed) => {
    const id = bed.name('will');
    for (const flags of [2 | 8, 2 | 16, 2 | 32]) {
      await refuses(t, bed, `flags ${flags}`, mqtt.connect(bed.version, id, { flags }));
    }
    const withWill = mqtt.connect(bed.version, id, { will: { topic: 'a', payload: 'b' }, flags: 2 });
    await refuses(t, bed, 'a will that no flag tells of', withWill);
  },
);

statement(['MQTT-3.1.2-14', 'MQTT5-3.1.2-12'], 'a will QoS of 3 ends the connection', async (t, bed) => {
  const will = { topic: bed.name('w'), payload: 'x', qos: 3 };
  await refuses(t, bed, 'QoS 3', mqtt.connect(bed.version, bed.name('three'), { will }));
});

statement(
  ['MQTT-3.1.2-9', 'MQTT5-3.1.2-9'],
  'a will flag whose fields are missing ends the connection',
  async (t, bed) => {
    await refuses(t, bed, 'no will', mqtt.connect(bed.version, bed.name('empty'), { flags: 6 }));
    const whole = mqtt.connect(bed.version, bed.name('half'), { will: { topic: 'abc', payload: 'def' } });
    const half = Buffer.from(whole.subarray(0, -5));
    half[1] = half.length - 2;
    await refuses(t, bed, 'a topic without a payload', half);
  },
);

statement(
  [
    'MQTT-3.1.2-18',
    'MQTT-3.1.2-19',
    'MQTT-3.1.2-20',
    'MQTT-3.1.2-21',
    'MQTT5-3.1.2-16',
    'MQTT5-3.1.2-17',
    'MQTT5-3.1.2-18',
    'MQTT5-3.1.2-19',
  ],
  'user name and password are there when, and only when, their flags are set',
  async (t, bed) => {
    const id = bed.name('user');
    const both = { username: 'u', password: 'p' };
    const make = (options: mqtt.ConnectOptions) => mqtt.connect(bed.version, id, options);
    await refuses(t, bed, 'user name without its flag', make({ username: 'u', flags: 2 }));
    await refuses(t, bed, 'flag without user name', make({ flags: 2 | 128 }));
    await refuses(t, bed, 'password without its flag', make({ ...both, flags: 2 | 128 }));
    await refuses(t, bed, 'flag without password', make({ username: 'u', flags: 2 | 128 | 64 }));
    t.equal((await bed.open().connect(id, both)).code, 0);
    t.equal((await bed.open().connect(id, { username: 'u' })).code, 0);
  },
);

statement(['MQTT-3.1.2-22'], 'a password without a user name ends the connection', async (t, bed) => {
  await refuses(t, bed, 'password', mqtt.connect(bed.version, bed.name('pass'), { password: 'p' }));
});

statement(
  ['MQTT-3.1.3-3', 'MQTT5-3.1.3-3'],
  'a CONNECT without a client identifier ends the connection',
  async (t, bed) => {
    const whole = mqtt.connect(bed.version, '');
    const cut = Buffer.from(whole.subarray(0, -2));
    cut[1] = cut.length - 2;
    await refuses(t, bed, 'no payload', cut);
  },
);

statement(
  ['MQTT-3.1.3-4', 'MQTT-3.1.3-10', 'MQTT-3.1.3-11', 'MQTT5-3.1.3-4', 'MQTT5-3.1.3-11', 'MQTT5-3.1.3-12'],
  'client identifier, will topic and user name are UTF-8 text',
  async (t, bed) => {
    const bad = Buffer.from([0x61, 0xc3, 0x28]);
    const id = bed.name('text');
    await refuses(t, bed, 'client identifier', mqtt.connect(bed.version, bad));
    await refuses(t, bed, 'will topic', mqtt.connect(bed.version, id, { will: { topic: bad } }));
    await refuses(t, bed, 'user name', mqtt.connect(bed.version, id, { username: bad }));
    t.equal((await bed.open().connect(bed.name('zé-日本'), { username: 'ünï' })).code, 0, 'but any text');
  },
);

statement(
  ['MQTT-3.1.3-1', 'MQTT5-3.1.3-1'],
  'the fields of a CONNECT that has all of them are read in their order',
  async (t, bed) => {
    const watcher = await bed.connect('watcher');
    const topic = bed.name('last/words');
    await watcher.subscribe(topic, 1);
    const will = { topic, payload: 'user', qos: 1 };
    const wire = await bed.connect('all', { will, username: 'topic', password: 'payload' });
    wire.cut();
    t.match(await watcher.receive(), { topic, payload: 'user', qos: 1 });
  },
);

statement(
  ['MQTT-3.1.3-5', 'MQTT5-3.1.3-5'],
  'identifiers of 1 to 23 digits and letters are taken',
  async (t, bed) => {
    const all = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
    // The runs of this test meet on their nodes at the same time, where none may take the identifier of another one.
    const first = bed.run % all.length;
    const letters = all.slice(first) + all.slice(0, first);
    for (const id of [letters[0]!, letters.slice(0, 23), letters.slice(23, 46), letters.slice(39)]) {
      t.equal((await bed.open().connect(id)).code, 0, id);
    }
  },
);

statement(
  ['MQTT-3.1.3-6', 'MQTT5-3.1.3-6', 'MQTT5-3.1.3-7', 'MQTT5-3.2.2-16'],
  'an empty identifier becomes one of its own',
  async (t, bed) => {
    const one = bed.open();
    const other = bed.open();
    const list = bed.is5 ? ([['sessionExpiry', 60]] as const) : [];
    const first = await one.connect('', { properties: list });
    const second = await other.connect('', { properties: list });
    t.equal(first.code, 0);
    t.equal(second.code, 0);
    await one.settled();
    if (!bed.is5) return;
    const [assigned] = mqtt.valuesOf(first, 'assignedClientId');
    t.type(assigned, 'string');
    t.notSame(mqtt.valuesOf(second, 'assignedClientId'), [assigned]);
    await one.leave();
    const back = await bed.open().connect(String(assigned), { clean: false });
    t.ok(back.present, 'the session is known by it');
    t.same(mqtt.valuesOf(back, 'assignedClientId'), [], 'which need not be told any more');
  },
);

statement(
  ['MQTT-3.1.3-7', 'MQTT-3.1.3-8', 'MQTT-3.1.3-9', 'MQTT-3.2.2-4'],
  'an empty identifier without CleanSession is rejected by code 2',
  async (t, bed) => {
    const wire = bed.open().send(mqtt.connect(4, '', { clean: false }));
    const answers = await wire.closed();
    t.same(
      answers.map(({ bytes }) => bytes.toString('hex')),
      ['20020002'],
    );
  },
);

statement(
  ['MQTT-3.1.3-9', 'MQTT5-3.1.3-8', 'MQTT5-3.1.4-2', 'MQTT5-3.2.2-6', 'MQTT5-3.2.2-8', 'MQTT5-4.13.2-1'],
  'an identifier beyond the limit of the node is rejected, then closed',
  async (t, bed) => {
    const answers = await bed
      .open()
      .send(mqtt.connect(bed.version, 'x'.repeat(65)))
      .closed();
    t.equal(answers.length, 1);
    t.match(answers[0], { type: mqtt.CONNACK, flags: 0, code: bed.is5 ? 0x85 : 2 });
    if (bed.is5) {
      t.same(mqtt.valuesOf(answers[0]!, 'reasonString'), ['the client id is not allowed here']);
    }
  },
);

statement(
  ['MQTT5-3.2.2-19', 'MQTT5-3.1.2-24'],
  'a refusal says why, but not where the words would not fit, nor to who asked for no problem information',
  async (t, bed) => {
    const tooLong = 'x'.repeat(65);
    const bare = [[['requestProblem', 0]], [['maximumPacketSize', 5]]] as const;
    for (const list of bare) {
      const connect = mqtt.connect(5, tooLong, { properties: list });
      const answers = await bed.open().send(connect).closed();
      t.same(
        answers.map(({ bytes }) => bytes.toString('hex')),
        ['2003008500'],
      );
    }
    for (const list of [[], [['maximumPacketSize', 5]]] as const) {
      const unknown = [['authMethod', 'unheard-of'] as const, ...list];
      const connect = mqtt.connect(5, bed.name('client'), { properties: unknown });
      const answers = await bed.open().send(connect).closed();
      t.equal(answers.length, 1);
      t.match(answers[0], { type: mqtt.CONNACK, code: 0x8c });
      t.equal(mqtt.valuesOf(answers[0]!, 'reasonString').length, list.length === 0 ? 1 : 0);
      if (list.length > 0) t.equal(answers[0]!.bytes.length, 5);
    }
  },
);

statement(
  ['MQTT-3.1.4-2', 'MQTT5-3.1.4-3', 'MQTT-3.1.3-2', 'MQTT5-3.1.3-2', 'MQTT5-3.14.4-2'],
  'the same identifier elsewhere ends the earlier connection',
  async (t, bed) => {
    const first = await bed.connectKept('twin');
    const second = await bed.connectKept('twin');
    t.ok(second.connack?.present);
    await first.refusedWith(0x8e);
    await second.settled();
    const third = await bed.connectKept('twin');
    await second.refusedWith(0x8e);
    await third.settled();
  },
);

statement(
  ['MQTT-3.1.4-4', 'MQTT5-3.1.4-5', 'MQTT-3.2.0-1', 'MQTT5-3.2.0-1', 'MQTT5-3.2.2-1'],
  'CONNACK comes first, also before messages that wait',
  async (t, bed) => {
    const topic = bed.name('waiting');
    const wire = await bed.connectKept('first');
    await wire.subscribe(topic, 1);
    await wire.leave();
    const publisher = await bed.connect('publisher');
    for (const word of ['one', 'two']) await publisher.publish(topic, word, { qos: 1 });
    const back = await bed.connectKept('first');
    t.equal(back.connack?.code, 0);
    t.equal(back.connack?.flags, 1, 'nothing but session present');
    if (!bed.is5) t.equal(back.connack?.bytes.toString('hex'), '20020100');
    t.equal((await back.receive()).payload, 'one');
    t.equal((await back.receive()).payload, 'two');
  },
);

statement(
  ['MQTT-3.1.4-5', 'MQTT5-3.1.4-6'],
  'what follows a refused CONNECT has no effect',
  async (t, bed) => {
    const topic = bed.name('ignored');
    const retained = mqtt.publish(bed.version, topic, 'no', { retain: true });
    const wire = bed.open().send(mqtt.connect(bed.version, 'x'.repeat(65)), retained);
    await wire.closed();
    const subscriber = await bed.connect('subscriber');
    await subscriber.subscribe(topic, 1);
    const publisher = await bed.connect('publisher');
    await publisher.publish(topic, 'fence', { qos: 1 });
    t.match(await subscriber.receive(), { payload: 'fence' }, 'nothing was retained or passed on');
  },
);

statement(['MQTT5-3.1.2-28'], 'no response information for who has not asked', async (t, bed) => {
  for (const list of [[], [['requestResponse', 0]]] as const) {
    const answer = await bed.open().connect(bed.name('quiet'), { properties: list });
    t.same(mqtt.valuesOf(answer, 'responseInformation'), []);
  }
});

statement(['MQTT5-3.2.2-18'], 'a node without aliases ends who sends one', async (t, bed) => {
  const wire = await bed.connect('client');
  t.notOk(mqtt.valuesOf(wire.connack!, 'topicAliasMaximum')[0]);
  wire.send(mqtt.publish(5, bed.name('x'), 'x', { properties: [['topicAlias', 1]] }));
  await wire.refusedWith(0x94, 0x82);
});

statement(
  ['MQTT-7.0.0-2', 'MQTT-7.1.1-1', 'MQTT5-4.2.0-1'],
  'a plain client on TCP connects, subscribes, publishes and receives',
  async (t, bed) => {
    const topic = bed.name('plain');
    const wire = await bed.connect('plain');
    await wire.subscribe(topic);
    wire.send(mqtt.publish(bed.version, topic, 'hello'));
    t.match(await wire.receive(), { topic, payload: 'hello', qos: 0, retain: false, dup: false });
    await wire.leave();
  },
);
