// The few packets of MQTT 3.1.1 and 5 a load needs, as bytes: encoded once, patched in place, and read in place. No object is made
// for a message in either direction; this is what lets one generator process outrun the brokers it measures.

/** Bytes at the start of every payload: publisher, sequence number, time of sending. */
export const STAMP_BYTES = 12;

export const DISCONNECT = Buffer.from([0xe0, 0]);

/** Remaining Length of the standard, 1 to 4 bytes. */
function encodeLength(length: number): number[] {
  const bytes: number[] = [];
  do {
    const low = length % 128;
    length = Math.floor(length / 128);
    bytes.push(length > 0 ? low | 0x80 : low);
  } while (length > 0);
  return bytes;
}

function packet(firstByte: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([firstByte, ...encodeLength(body.length)]), body]);
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

/** Seconds that a session of MQTT 5 outlives its connection, unless it is a clean one. */
const SESSION_EXPIRY = 3600;

export function encodeConnect(
  clientId: string,
  isClean: boolean,
  protocol: 4 | 5 = 4,
  keepAlive = 0,
): Buffer {
  const head = [protocol, isClean ? 2 : 0, keepAlive >> 8, keepAlive & 0xff];
  if (protocol === 5) {
    if (isClean) head.push(0);
    else head.push(5, 0x11, 0, 0, SESSION_EXPIRY >> 8, SESSION_EXPIRY & 0xff);
  }
  return packet(0x10, text('MQTT'), Buffer.from(head), text(clientId));
}

export function encodeSubscribe(
  packetId: number,
  filters: string[],
  qos: number,
  protocol: 4 | 5 = 4,
): Buffer {
  const head = [packetId >> 8, packetId & 0xff, ...(protocol === 5 ? [0] : [])];
  return packet(0x82, Buffer.from(head), ...filters.flatMap((filter) => [text(filter), Buffer.from([qos])]));
}

/** Microseconds of a clock that all processes of the machine share, modulo 2^32 (71 minutes). */
export function nowMicros(): number {
  return (performance.now() * 1000 + CLOCK_OFFSET) >>> 0;
}

// performance.now() is cheaper than hrtime and has the same source; only its zero differs between processes.
const CLOCK_OFFSET =
  (Number(process.hrtime.bigint() % (1n << 42n)) / 1000 - performance.now() * 1000) % 2 ** 32;

export interface PublishForm {
  topic: string;
  qos: number;
  payloadBytes: number;
  /** Number of the publisher, told in the payload. */
  publisher: number;
  /** Packets in the row. */
  count: number;
  protocol?: 4 | 5;
  isRetained?: boolean;
  /** Above 1: message n goes to topic/<n modulo topics>, in seven digits. */
  topics?: number;
}

const TOPIC_DIGITS = 7;

/** Room for `count` equal PUBLISH packets in a row, of which only stamps, packet ids and digits of the topic change. */
export class PublishRun {
  readonly packetBytes: number;
  readonly bytes: Buffer;
  readonly #topics: number;
  readonly #topicEnd: number;
  readonly #idAt: number;
  readonly #stampAt: number;

  constructor(form: PublishForm) {
    const { qos, payloadBytes, count, topics = 1 } = form;
    const payload = Buffer.alloc(Math.max(payloadBytes, STAMP_BYTES), 0x78);
    payload.writeUInt32BE(form.publisher, 0);
    const topic = text(topics > 1 ? `${form.topic}/${'0'.repeat(TOPIC_DIGITS)}` : form.topic);
    const id = Buffer.alloc(qos > 0 ? 2 : 0);
    const properties = Buffer.alloc(form.protocol === 5 ? 1 : 0);
    const one = packet(0x30 | (qos << 1) | (form.isRetained ? 1 : 0), topic, id, properties, payload);
    this.packetBytes = one.length;
    this.bytes = Buffer.alloc(one.length * count, one);
    this.#topics = topics;
    this.#stampAt = one.length - payload.length + 4;
    this.#topicEnd = one.length - payload.length - properties.length - id.length;
    this.#idAt = qos > 0 ? this.#topicEnd : -1;
  }

  /** Writes number, time and packet id (unused at QoS 0) into packet `index` of the row. */
  stamp(index: number, seq: number, micros: number, packetId: number): void {
    const bytes = this.bytes;
    const start = index * this.packetBytes;
    const at = start + this.#stampAt;
    bytes[at] = seq >>> 24;
    bytes[at + 1] = seq >>> 16;
    bytes[at + 2] = seq >>> 8;
    bytes[at + 3] = seq;
    bytes[at + 4] = micros >>> 24;
    bytes[at + 5] = micros >>> 16;
    bytes[at + 6] = micros >>> 8;
    bytes[at + 7] = micros;
    if (this.#topics > 1) {
      let rest = seq % this.#topics;
      for (let digit = 1; digit <= TOPIC_DIGITS; digit++) {
        bytes[start + this.#topicEnd - digit] = 48 + (rest % 10);
        rest = Math.floor(rest / 10);
      }
    }
    if (this.#idAt < 0) return;
    bytes[start + this.#idAt] = packetId >>> 8;
    bytes[start + this.#idAt + 1] = packetId;
  }
}

/** Receives what `scan` finds. Numbers only: nothing to collect. */
export interface PacketSink {
  onPublish(qos: number, packetId: number, publisher: number, seq: number, micros: number): void;
  /** Any acknowledgement; `type` is the packet type 4 to 7, `packetId` the message. */
  onAck(type: number, packetId: number): void;
  /** CONNACK (2), SUBACK (9; the last of its codes) and the like; also an acknowledgement with a reason that refuses. */
  onControl(type: number, code: number): void;
}

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** Hands all whole packets of bytes[start, end) to `sink`; returns where the first incomplete one begins. */
export function scan(
  bytes: Uint8Array,
  start: number,
  end: number,
  sink: PacketSink,
  protocol: 4 | 5 = 4,
): number {
  let at = start;
  while (end - at >= 2) {
    let body = at + 1;
    let length = bytes[body]! & 0x7f;
    let shift = 7;
    while (bytes[body]! & 0x80) {
      body++;
      if (body >= end) return at;
      length |= (bytes[body]! & 0x7f) << shift;
      shift += 7;
    }
    body++;
    const next = body + length;
    if (next > end) return at;
    const first = bytes[at]!;
    const type = first >> 4;
    if (type === 3) {
      const qos = (first >> 1) & 3;
      let payload = body + 2 + ((bytes[body]! << 8) | bytes[body + 1]!);
      let packetId = 0;
      if (qos > 0) {
        packetId = (bytes[payload]! << 8) | bytes[payload + 1]!;
        payload += 2;
      }
      if (protocol === 5) payload = afterProperties(bytes, payload);
      sink.onPublish(
        qos,
        packetId,
        uint32(bytes, payload),
        uint32(bytes, payload + 4),
        uint32(bytes, payload + 8),
      );
    } else if (type >= 4 && type <= 7 && (length === 2 || bytes[body + 2]! < 0x80))
      sink.onAck(type, (bytes[body]! << 8) | bytes[body + 1]!);
    else sink.onControl(type, codeOf(type, bytes, body, length));
    at = next;
  }
  return at;
}

/** Where the fields after the properties at `at` begin. */
function afterProperties(bytes: Uint8Array, at: number): number {
  let length = 0;
  let shift = 0;
  let byte: number;
  do {
    byte = bytes[at++]!;
    length |= (byte & 0x7f) << shift;
    shift += 7;
  } while (byte & 0x80);
  return at + length;
}

function codeOf(type: number, bytes: Uint8Array, body: number, length: number): number {
  if (length === 0) return 0;
  if (type === 2) return bytes[body + 1]!;
  if (type >= 4 && type <= 7) return bytes[body + 2]!;
  return type === 14 ? bytes[body]! : bytes[body + length - 1]!;
}

/** Acknowledgements of one tick, sent as one write. */
export class AckRun {
  #bytes = Buffer.allocUnsafe(4096);
  #length = 0;

  add(firstByte: number, packetId: number): void {
    if (this.#length + 4 > this.#bytes.length)
      this.#bytes = Buffer.concat([this.#bytes, Buffer.allocUnsafe(this.#length)]);
    const bytes = this.#bytes;
    const at = this.#length;
    bytes[at] = firstByte;
    bytes[at + 1] = 2;
    bytes[at + 2] = packetId >>> 8;
    bytes[at + 3] = packetId;
    this.#length = at + 4;
  }

  /** The bytes so far, for writing; starts anew. Undefined when there are none. */
  take(): Buffer | undefined {
    if (this.#length === 0) return undefined;
    const taken = Buffer.from(this.#bytes.subarray(0, this.#length));
    this.#length = 0;
    return taken;
  }
}
