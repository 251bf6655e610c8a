// What the fuzzer sends: valid packets of every type and version, and ways to break them. Everything follows from a
// seeded generator, so that a case can be sent again. A few breakages have an answer that the standard leaves no doubt
// about; these are sent alone behind a good CONNECT, and the reason code is held against it.

import * as mqtt from './packets.ts';

/** Numbers from a seed (mulberry32). */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer in [0, below). */
  below(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  chance(percent: number): boolean {
    return this.below(100) < percent;
  }

  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  bytes(count: number): Buffer {
    return Buffer.from(Array.from({ length: count }, () => this.below(256)));
  }
}

const TOPICS = ['f', 'f/a', 'f/b/c', 'f//', '/f', 'f/ü', 'f/\u{1f600}', '$f/x', 'f/a/b/c/d/e', ''];
const FILTERS = [
  ...['f/#', '#', '+/a', 'f/+/c', 'f', '/+', 'f/+', '+', '+/+', '$f/#', 'f#', 'f/#/x', '', 'a+'],
  ...['$share/g/f/#', '$share/h/f/+', '$share//f', '$share/g', '$share/g+/f', '$share/g/'],
];
const NAMES: mqtt.PropertyName[] = [
  ...(['payloadFormat', 'messageExpiry', 'contentType', 'responseTopic', 'correlationData'] as const),
  ...(['subscriptionId', 'sessionExpiry', 'assignedClientId', 'serverKeepAlive', 'authMethod'] as const),
  ...(['authData', 'requestProblem', 'willDelay', 'requestResponse', 'responseInformation'] as const),
  ...(['serverReference', 'reasonString', 'receiveMaximum', 'topicAliasMaximum', 'topicAlias'] as const),
  ...(['maximumQos', 'retainAvailable', 'user', 'maximumPacketSize', 'wildcardAvailable'] as const),
  ...(['subscriptionIdsAvailable', 'sharedAvailable'] as const),
];
const TEXTS = new Set<mqtt.PropertyName>([
  ...(['contentType', 'responseTopic', 'assignedClientId', 'authMethod', 'responseInformation'] as const),
  ...(['serverReference', 'reasonString', 'correlationData', 'authData'] as const),
]);
/** Properties that a client's packet of this type may have; 0 is a will. */
const ALLOWED: Record<number, mqtt.PropertyName[]> = {
  0: [
    'payloadFormat',
    'messageExpiry',
    'contentType',
    'responseTopic',
    'correlationData',
    'willDelay',
    'user',
  ],
  [mqtt.CONNECT]: [
    ...(['receiveMaximum', 'topicAliasMaximum', 'requestProblem', 'requestResponse'] as const),
    ...(['maximumPacketSize', 'user'] as const),
  ],
  [mqtt.PUBLISH]: [
    'payloadFormat',
    'messageExpiry',
    'contentType',
    'responseTopic',
    'correlationData',
    'user',
  ],
  [mqtt.SUBSCRIBE]: ['subscriptionId', 'user'],
  [mqtt.UNSUBSCRIBE]: ['user'],
  [mqtt.DISCONNECT]: ['reasonString', 'user', 'sessionExpiry'],
  [mqtt.AUTH]: ['authMethod', 'authData', 'reasonString', 'user'],
};
const ACK_PROPERTIES: mqtt.PropertyName[] = ['reasonString', 'user'];

function propertyOf(dice: Dice, name: mqtt.PropertyName): readonly [mqtt.PropertyName, mqtt.PropertyValue] {
  if (name === 'user') return [name, [dice.of(['', 'k', 'ü']), 'v'.repeat(dice.below(20))]];
  if (TEXTS.has(name)) return [name, 't'.repeat(1 + dice.below(10))];
  if (name === 'maximumPacketSize') return [name, 64 + dice.below(100_000)];
  return [name, dice.of([1, 1, 1, 2, 30, 0])];
}

function propertiesOf(dice: Dice, type: number): mqtt.Properties {
  if (dice.chance(50)) return [];
  const allowed = ALLOWED[type] ?? ACK_PROPERTIES;
  const names = dice.chance(5) ? NAMES : allowed;
  return Array.from({ length: 1 + dice.below(3) }, () => propertyOf(dice, dice.of(names)));
}

/** A CONNECT that a node takes, from a bounded number of clients whose sessions are short. */
export function validConnect(dice: Dice, version: mqtt.Version): Buffer {
  const options: mqtt.ConnectOptions = {
    clean: dice.chance(60),
    keepAlive: dice.of([0, 0, 10, 60]),
    properties: [...(dice.chance(50) ? [['sessionExpiry', 2] as const] : [])],
  };
  if (version === 5 && dice.chance(50)) {
    const names = new Set(ALLOWED[mqtt.CONNECT]!.filter(() => dice.chance(40)));
    options.properties = [
      ...(options.properties ?? []),
      ...[...names].map((name) => {
        if (name === 'maximumPacketSize') return [name, 500 + dice.below(100_000)] as const;
        return name === 'user' ? propertyOf(dice, name) : ([name, 1] as const);
      }),
    ];
  }
  if (dice.chance(20)) {
    options.will = { topic: 'f/will', payload: 'w', qos: dice.below(3), retain: dice.chance(20) };
  }
  return mqtt.connect(version, `fuzz-${dice.below(60)}`, options);
}

/** A packet of the given type whose form is right, though it may not be allowed where it comes. */
export function anyPacket(dice: Dice, version: mqtt.Version, type: number): Buffer {
  const list = version === 5 ? propertiesOf(dice, type) : [];
  const id = 1 + dice.below(dice.of([4, 65_535]));
  switch (type) {
    case mqtt.CONNECT:
      return validConnect(dice, version);
    case mqtt.PUBLISH:
      return mqtt.publish(version, dice.of(TOPICS), dice.bytes(dice.of([0, 1, 5, 200, 3000])), {
        qos: dice.below(3),
        id,
        dup: dice.chance(10),
        retain: dice.chance(15),
        properties: list,
      });
    case mqtt.SUBSCRIBE: {
      const filters = Array.from({ length: 1 + dice.below(3) }, () => {
        const options = dice.below(3) | (version === 5 ? dice.of([0, 0, 4, 8, 16, 32, 12]) : 0);
        return [dice.of(FILTERS), options] as const;
      });
      return mqtt.subscribe(version, id, filters, list);
    }
    case mqtt.UNSUBSCRIBE:
      return mqtt.unsubscribe(version, id, [dice.of(FILTERS), dice.of(FILTERS)], list);
    case mqtt.DISCONNECT:
      return version === 5 ? mqtt.disconnect(dice.of([0, 4, 0x80]), list) : mqtt.disconnect();
    case mqtt.AUTH:
      return mqtt.auth(dice.of([0x18, 0x19, 0]), list);
    case 12:
      return Buffer.from(mqtt.PINGREQ);
    case mqtt.CONNACK:
    case mqtt.SUBACK:
    case mqtt.UNSUBACK:
    case mqtt.PINGRESP:
      return mqtt.packet(type << 4, type === mqtt.PINGRESP ? Buffer.alloc(0) : Buffer.of(0, 1, 0));
    default: {
      const code = version === 5 && dice.chance(40) ? dice.of([0, 0x10, 0x80, 0x92]) : undefined;
      return mqtt.ack(type, id, code, code === undefined || dice.chance(50) ? undefined : list);
    }
  }
}

/** The ways to break a packet. */
export const BREAKAGES = {
  flip: (dice: Dice, bytes: Buffer) => {
    const broken = Buffer.from(bytes);
    for (let count = 1 + dice.below(4); count > 0; count--)
      broken[dice.below(broken.length)]! ^= 1 << dice.below(8);
    return broken;
  },
  replace: (dice: Dice, bytes: Buffer) => {
    const broken = Buffer.from(bytes);
    broken[dice.below(broken.length)] = dice.of([0, 1, 127, 128, 255, dice.below(256)]);
    return broken;
  },
  insert: (dice: Dice, bytes: Buffer) => {
    const at = dice.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), dice.bytes(1 + dice.below(6)), bytes.subarray(at)]);
  },
  remove: (dice: Dice, bytes: Buffer) => {
    const at = dice.below(bytes.length);
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + dice.below(4))]);
  },
  truncate: (dice: Dice, bytes: Buffer) => bytes.subarray(0, dice.below(bytes.length)),
  /** The length says less than there is, or more. */
  length: (dice: Dice, bytes: Buffer) => {
    const [body] = splitHeader(bytes);
    const length = dice.of([0, 1, body.length - 1, body.length + 1, 1000, 300_000, 268_435_455]);
    return Buffer.concat([bytes.subarray(0, 1), mqtt.variable(Math.max(0, length)), body]);
  },
  /** A whole packet of a truncated body. */
  shorten: (dice: Dice, bytes: Buffer) => {
    const [body] = splitHeader(bytes);
    return mqtt.packet(bytes[0]!, body.subarray(0, dice.below(body.length + 1)));
  },
  /** A whole packet with more in its body. */
  lengthen: (dice: Dice, bytes: Buffer) => {
    const [body] = splitHeader(bytes);
    return mqtt.packet(bytes[0]!, body, dice.bytes(1 + dice.below(dice.of([3, 300]))));
  },
  oversize: (dice: Dice, bytes: Buffer) =>
    mqtt.packet(bytes[0]!, Buffer.alloc(dice.of([20_000, 70_000]), dice.below(256))),
  noise: (dice: Dice) => dice.bytes(1 + dice.below(100)),
} as const satisfies Record<string, (dice: Dice, bytes: Buffer) => Buffer>;

export type Breakage = keyof typeof BREAKAGES;

function splitHeader(bytes: Buffer): [body: Buffer] {
  let at = 1;
  while (at < 4 && bytes[at]! > 127) at++;
  return [bytes.subarray(at + 1)];
}

/** One packet behind a good CONNECT, and the reasons that MQTT 5 allows for it. */
export type Certain = readonly [
  what: string,
  bytes: (version: mqtt.Version) => Buffer,
  codes: readonly number[],
];

const hex = (text: string) => () => Buffer.from(text, 'hex');

export const CERTAIN: readonly Certain[] = [
  ['packet type 0', hex('0000'), [0x81]],
  ['a length of five bytes', hex('30ffffffff01'), [0x81]],
  ['reserved flags of SUBSCRIBE', hex('800a'), [0x81]],
  ['reserved flags of PUBREL', hex('60020001'), [0x81]],
  ['reserved flags of PINGREQ', hex('c100'), [0x81]],
  ['QoS 3', (version) => mqtt.publish(version, 'f', 'x', { qos: 3 }), [0x81]],
  ['ill-formed UTF-8', (version) => mqtt.publish(version, Buffer.of(0x66, 0xff), 'x'), [0x81]],
  ['a second CONNECT', (version) => mqtt.connect(version, 'fuzz-twice'), [0x82]],
  ['a packet of a server', hex('d000'), [0x81, 0x82]],
  ['SUBSCRIBE without filters', (version) => mqtt.subscribe(version, 1, []), [0x82, 0x81]],
  ['a wildcard in a topic', (version) => mqtt.publish(version, 'f/#', 'x'), [0x90, 0x81, 0x82]],
  ['a packet above the limit', (version) => mqtt.publish(version, 'f', 'x'.repeat(70_000)), [0x95]],
];
