// MQTT packets as bytes, written and read by the conformance tests themselves: nothing here is shared with the broker or
// with mqtt-packet, so that a mistake of theirs is not repeated. Writers take what a test wants to send, right or wrong;
// readers take what a broker may send and throw where it is not exactly that.

export type Version = 3 | 4 | 5;
export type Qos = 0 | 1 | 2;

export const CONNECT = 1;
export const CONNACK = 2;
export const PUBLISH = 3;
export const PUBACK = 4;
export const PUBREC = 5;
export const PUBREL = 6;
export const PUBCOMP = 7;
export const SUBSCRIBE = 8;
export const SUBACK = 9;
export const UNSUBSCRIBE = 10;
export const UNSUBACK = 11;
export const PINGRESP = 13;
export const DISCONNECT = 14;
export const AUTH = 15;

type Kind = 'byte' | 'two' | 'four' | 'variable' | 'text' | 'binary' | 'pair';

/** Identifier and type of every property. */
const PROPERTIES = {
  payloadFormat: [0x01, 'byte'],
  messageExpiry: [0x02, 'four'],
  contentType: [0x03, 'text'],
  responseTopic: [0x08, 'text'],
  correlationData: [0x09, 'binary'],
  subscriptionId: [0x0b, 'variable'],
  sessionExpiry: [0x11, 'four'],
  assignedClientId: [0x12, 'text'],
  serverKeepAlive: [0x13, 'two'],
  authMethod: [0x15, 'text'],
  authData: [0x16, 'binary'],
  requestProblem: [0x17, 'byte'],
  willDelay: [0x18, 'four'],
  requestResponse: [0x19, 'byte'],
  responseInformation: [0x1a, 'text'],
  serverReference: [0x1c, 'text'],
  reasonString: [0x1f, 'text'],
  receiveMaximum: [0x21, 'two'],
  topicAliasMaximum: [0x22, 'two'],
  topicAlias: [0x23, 'two'],
  maximumQos: [0x24, 'byte'],
  retainAvailable: [0x25, 'byte'],
  user: [0x26, 'pair'],
  maximumPacketSize: [0x27, 'four'],
  wildcardAvailable: [0x28, 'byte'],
  subscriptionIdsAvailable: [0x29, 'byte'],
  sharedAvailable: [0x2a, 'byte'],
} as const satisfies Record<string, readonly [number, Kind]>;

export type PropertyName = keyof typeof PROPERTIES;
export type PropertyValue = number | string | Buffer | readonly [string, string];
/** Properties in their order; a name may come several times. */
export type Properties = readonly (readonly [PropertyName, PropertyValue])[];

const NAMES = new Map<number, readonly [PropertyName, Kind]>(
  Object.entries(PROPERTIES).map(([name, [id, kind]]) => [id, [name as PropertyName, kind]]),
);

const byte = (value: number): Buffer => Buffer.of(value & 255);
export const two = (value: number): Buffer => Buffer.of((value >>> 8) & 255, value & 255);
const four = (value: number): Buffer => Buffer.concat([two(value >>> 16), two(value)]);

export function variable(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest % 128) + (rest > 127 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(bytes);
}

/** A field with a length of two bytes in front. */
export function field(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([two(bytes.length), bytes]);
}

/** The property list with its length; empty before MQTT 5. */
export function properties(version: Version, list: Properties = []): Buffer {
  if (version !== 5) return Buffer.alloc(0);
  const body = Buffer.concat(
    list.map(([name, value]) => {
      const [id, kind] = PROPERTIES[name];
      return Buffer.concat([byte(id), valueBytes(kind, value)]);
    }),
  );
  return Buffer.concat([variable(body.length), body]);
}

function valueBytes(kind: Kind, value: PropertyValue): Buffer {
  if (kind === 'byte') return byte(value as number);
  if (kind === 'two') return two(value as number);
  if (kind === 'four') return four(value as number);
  if (kind === 'variable') return variable(value as number);
  if (kind === 'pair') return Buffer.concat((value as [string, string]).map(field));
  return field(value as string | Buffer);
}

/** A packet: its first byte, and its body with the length in front. */
export function packet(first: number, ...body: Buffer[]): Buffer {
  const bytes = Buffer.concat(body);
  return Buffer.concat([byte(first), variable(bytes.length), bytes]);
}

export interface Will {
  topic: string | Buffer;
  payload?: string | Buffer;
  qos?: number;
  retain?: boolean;
  properties?: Properties;
}

export interface ConnectOptions {
  clean?: boolean;
  keepAlive?: number;
  properties?: Properties;
  will?: Will;
  username?: string | Buffer;
  password?: string | Buffer;
  /** Instead of the flags that the options make. */
  flags?: number;
  level?: number;
  protocol?: string;
}

export function connect(version: Version, clientId: string | Buffer, options: ConnectOptions = {}): Buffer {
  const { clean = true, keepAlive = 0, will, username, password } = options;
  let flags = clean ? 2 : 0;
  if (will) flags |= 4 | ((will.qos ?? 0) << 3) | (will.retain ? 32 : 0);
  if (username !== undefined) flags |= 128;
  if (password !== undefined) flags |= 64;
  const parts = [
    field(options.protocol ?? (version === 3 ? 'MQIsdp' : 'MQTT')),
    byte(options.level ?? version),
    byte(options.flags ?? flags),
    two(keepAlive),
    properties(version, options.properties),
    field(clientId),
  ];
  if (will) {
    parts.push(properties(version, will.properties), field(will.topic), field(will.payload ?? ''));
  }
  if (username !== undefined) parts.push(field(username));
  if (password !== undefined) parts.push(field(password));
  return packet(0x10, ...parts);
}

export interface PublishOptions {
  qos?: number;
  id?: number;
  dup?: boolean;
  retain?: boolean;
  properties?: Properties;
}

export function publish(
  version: Version,
  topic: string | Buffer,
  payload: string | Buffer,
  options: PublishOptions = {},
): Buffer {
  const { qos = 0, id = 1, dup = false, retain = false } = options;
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  return packet(
    first,
    field(topic),
    qos === 0 ? Buffer.alloc(0) : two(id),
    properties(version, options.properties),
    Buffer.from(payload as string),
  );
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP; with a code (MQTT 5) also its properties where given. */
export function ack(type: number, id: number, code?: number, list?: Properties): Buffer {
  const parts = [two(id)];
  if (code !== undefined) parts.push(byte(code));
  if (list) parts.push(properties(5, list));
  return packet((type << 4) | (type === PUBREL ? 2 : 0), ...parts);
}

/** A filter and its options byte: the QoS, and in MQTT 5 also 4 No Local, 8 Retain As Published, 16 and 32 Retain Handling. */
export type Filter = readonly [filter: string | Buffer, options: number];

export function subscribe(
  version: Version,
  id: number,
  filters: readonly Filter[],
  list?: Properties,
): Buffer {
  const each = filters.flatMap(([filter, options]) => [field(filter), byte(options)]);
  return packet(0x82, two(id), properties(version, list), ...each);
}

export function unsubscribe(
  version: Version,
  id: number,
  filters: readonly (string | Buffer)[],
  list?: Properties,
): Buffer {
  return packet(0xa2, two(id), properties(version, list), ...filters.map(field));
}

/** DISCONNECT; before MQTT 5 without a code. */
export function disconnect(code?: number, list?: Properties): Buffer {
  if (code === undefined) return packet(0xe0);
  return packet(0xe0, byte(code), ...(list ? [properties(5, list)] : []));
}

export function auth(code: number, list: Properties = []): Buffer {
  return packet(0xf0, byte(code), properties(5, list));
}

export const PINGREQ = Buffer.of(0xc0, 0);

/** A packet of the broker: the fields that its type has are set, the others at their empty values. */
export interface Answer {
  type: number;
  /** Lower half of the first byte. */
  flags: number;
  bytes: Buffer;
  id: number;
  /** Reason or return code; 0 where MQTT 5 lets it be left out. */
  code: number;
  codes: number[];
  present: boolean;
  topic: string;
  payload: string;
  qos: number;
  dup: boolean;
  retain: boolean;
  properties: (readonly [PropertyName, PropertyValue])[];
}

class Reader {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get isDone(): boolean {
    return this.at === this.bytes.length;
  }

  take(count: number): Buffer {
    if (this.at + count > this.bytes.length) throw new Error(`cut off: ${this.bytes.toString('hex')}`);
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  two(): number {
    return this.take(2).readUInt16BE();
  }

  field(): Buffer {
    return this.take(this.two());
  }

  variable(): number {
    let value = 0;
    for (let shift = 0; shift < 4; shift++) {
      const next = this.byte();
      value += (next & 127) * 128 ** shift;
      if (next < 128) {
        if (next === 0 && shift > 0) throw new Error('a variable byte integer longer than it must be');
        return value;
      }
    }
    throw new Error('a variable byte integer of five bytes');
  }

  properties(): Answer['properties'] {
    const length = this.variable();
    const list = new Reader(this.take(length));
    const found: Answer['properties'] = [];
    while (!list.isDone) {
      const id = list.byte();
      const known = NAMES.get(id);
      if (!known) throw new Error(`property 0x${id.toString(16)}`);
      found.push([known[0], list.value(known[1])]);
    }
    return found;
  }

  value(kind: Kind): PropertyValue {
    if (kind === 'byte') return this.byte();
    if (kind === 'two') return this.two();
    if (kind === 'four') return this.take(4).readUInt32BE();
    if (kind === 'variable') return this.variable();
    if (kind === 'pair') return [this.field().toString(), this.field().toString()];
    return kind === 'text' ? this.field().toString() : Buffer.from(this.field());
  }
}

/** Reads one whole packet of a broker. */
export function readAnswer(version: Version, bytes: Buffer): Answer {
  const first = bytes[0]!;
  const answer: Answer = {
    type: first >> 4,
    flags: first & 15,
    bytes,
    id: 0,
    code: 0,
    codes: [],
    present: false,
    topic: '',
    payload: '',
    qos: 0,
    dup: false,
    retain: false,
    properties: [],
  };
  const reader = new Reader(bytes);
  reader.byte();
  reader.variable();
  readBody(version, answer, reader);
  if (!reader.isDone) throw new Error(`bytes behind the packet: ${bytes.toString('hex')}`);
  return answer;
}

function readBody(version: Version, answer: Answer, reader: Reader): void {
  const { type, flags } = answer;
  const rest = (): number[] => [...reader.take(reader.bytes.length - reader.at)];
  const list = (): void => {
    if (version === 5) answer.properties = reader.properties();
  };
  if (type === PUBLISH) {
    answer.qos = (flags >> 1) & 3;
    answer.dup = (flags & 8) !== 0;
    answer.retain = (flags & 1) !== 0;
    answer.topic = reader.field().toString();
    if (answer.qos > 0) answer.id = reader.two();
    list();
    answer.payload = Buffer.from(rest()).toString();
    return;
  }
  if (flags !== (type === PUBREL ? 2 : 0)) throw new Error(`flags of ${answer.bytes.toString('hex')}`);
  if (type === CONNACK) {
    answer.flags = reader.byte();
    answer.present = answer.flags === 1;
    answer.code = reader.byte();
    list();
  } else if (type >= PUBACK && type <= PUBCOMP) {
    answer.id = reader.two();
    if (!reader.isDone && version === 5) answer.code = reader.byte();
    if (!reader.isDone) list();
  } else if (type === SUBACK || type === UNSUBACK) {
    answer.id = reader.two();
    list();
    if (type === SUBACK || version === 5) answer.codes = rest();
  } else if (type === DISCONNECT || type === AUTH) {
    if (version !== 5)
      throw new Error(`a packet that is not of this version: ${answer.bytes.toString('hex')}`);
    if (!reader.isDone) answer.code = reader.byte();
    if (!reader.isDone) list();
  } else if (type !== PINGRESP) throw new Error(`a packet of no broker: ${answer.bytes.toString('hex')}`);
}

/** The values of a property in a packet, in their order. */
export function valuesOf(answer: Answer, name: PropertyName): PropertyValue[] {
  return answer.properties.filter(([one]) => one === name).map(([, value]) => value);
}
