// The few MQTT 3.1.1 packets a load needs, as bytes: encoded once, patched in place, and read in place. No object is made
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

export function encodeConnect(clientId: string, isClean: boolean): Buffer {
  return packet(0x10, text('MQTT'), Buffer.from([4, isClean ? 2 : 0, 0, 0]), text(clientId));
}

export function encodeSubscribe(packetId: number, filter: string, qos: number): Buffer {
  return packet(0x82, Buffer.from([packetId >> 8, packetId & 0xff]), text(filter), Buffer.from([qos]));
}

/** Microseconds of a clock that all processes of the machine share, modulo 2^32 (71 minutes). */
export function nowMicros(): number {
  return (performance.now() * 1000 + CLOCK_OFFSET) >>> 0;
}

// performance.now() is cheaper than hrtime and has the same source; only its zero differs between processes.
const CLOCK_OFFSET =
  (Number(process.hrtime.bigint() % (1n << 42n)) / 1000 - performance.now() * 1000) % 2 ** 32;

/** Room for `count` equal PUBLISH packets in a row, of which only stamps and packet ids change. */
export class PublishRun {
  readonly packetBytes: number;
  readonly bytes: Buffer;
  readonly #idAt: number;
  readonly #stampAt: number;

  constructor(topic: string, qos: number, payloadBytes: number, publisher: number, count: number) {
    const payload = Buffer.alloc(Math.max(payloadBytes, STAMP_BYTES), 0x78);
    payload.writeUInt32BE(publisher, 0);
    const id = qos > 0 ? Buffer.alloc(2) : Buffer.alloc(0);
    const one = packet(0x30 | (qos << 1), text(topic), id, payload);
    this.packetBytes = one.length;
    this.bytes = Buffer.alloc(one.length * count, one);
    this.#stampAt = one.length - payload.length + 4;
    this.#idAt = qos > 0 ? one.length - payload.length - 2 : -1;
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
  /** CONNACK (2), SUBACK (9) and the like; `code` is the last byte. */
  onControl(type: number, code: number): void;
}

function uint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** Hands all whole packets of bytes[start, end) to `sink`; returns where the first incomplete one begins. */
export function scan(bytes: Uint8Array, start: number, end: number, sink: PacketSink): number {
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
      sink.onPublish(
        qos,
        packetId,
        uint32(bytes, payload),
        uint32(bytes, payload + 4),
        uint32(bytes, payload + 8),
      );
    } else if (type >= 4 && type <= 7) sink.onAck(type, (bytes[body]! << 8) | bytes[body + 1]!);
    else sink.onControl(type, length > 0 ? bytes[next - 1]! : 0);
    at = next;
  }
  return at;
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
