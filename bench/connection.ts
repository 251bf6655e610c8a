// One socket of the load: reads into one buffer that all sockets share, cuts packets in place, and keeps what is
// incomplete until the next read. Subclasses say what a packet means; one write a tick is theirs to keep.

import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Terms } from './job.ts';
import { encodeConnect, encodeSubscribe, type PacketSink, scan } from './wire.ts';

/** Bytes before the read area, where an incomplete packet is put back; the largest packet of a load. */
const CARRY_MAX = 1 << 20;
const READ_BYTES = 1 << 18;
// Reading and handling are one synchronous step, so that one buffer serves all sockets and stays in the cache.
const shared = Buffer.alloc(CARRY_MAX + READ_BYTES);
const readArea = shared.subarray(CARRY_MAX);

export abstract class LoadConnection implements PacketSink {
  readonly clientId: string;
  /** Set when the connection ended without being asked to. */
  failure: string | undefined;
  protected socket: Socket | undefined;
  readonly #terms: Terms;
  #carry: Buffer | undefined;
  #isClosing = false;
  #answer: ((code: number) => void) | undefined;

  constructor(clientId: string, terms: Terms) {
    this.clientId = clientId;
    this.#terms = terms;
  }

  abstract onPublish(qos: number, packetId: number, publisher: number, seq: number, micros: number): void;
  abstract onAck(type: number, packetId: number): void;
  /** After all packets of one read: the moment to write. */
  protected abstract onTick(): void;
  protected onDrain(): void {}

  /** Connects to 127.0.0.1:`port`; resolves at CONNACK and fails at a refusal. */
  async open(port: number, isClean: boolean): Promise<void> {
    this.#isClosing = false;
    const { protocol, isTls, keepAlive } = this.#terms;
    const target = {
      port,
      host: '127.0.0.1',
      noDelay: true,
      onread: { buffer: readArea, callback: (count: number) => this.#read(count) },
    };
    // The certificate is made for the round, so that there is nobody to vouch for it.
    const socket = isTls ? connectTls({ ...target, rejectUnauthorized: false }) : connect(target);
    this.socket = socket;
    // The socket of an earlier connection may still have an end to tell.
    socket.on('error', (error) => this.socket === socket && this.#fail(error.message));
    socket.on('close', () => this.socket === socket && this.#fail('closed by the broker'));
    socket.on('drain', () => this.onDrain());
    const code = await this.#ask(encodeConnect(this.clientId, isClean, protocol, keepAlive));
    if (code !== 0) throw new Error(`${this.clientId}: CONNACK ${code}`);
  }

  /** Subscribes to all in one packet; resolves at SUBACK and fails when the QoS is not granted. */
  async subscribe(filters: string[], qos: number): Promise<void> {
    const code = await this.#ask(encodeSubscribe(1, filters, qos, this.#terms.protocol));
    if (code !== qos) throw new Error(`${this.clientId}: SUBACK ${code}`);
  }

  #ask(packet: Buffer): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${this.clientId}: no answer (${this.failure ?? 'waited 30 s'})`)),
        30_000,
      );
      this.#answer = (code) => {
        clearTimeout(timer);
        if (code === -1) reject(new Error(`${this.clientId}: ${this.failure}`));
        else resolve(code);
      };
      this.socket!.write(packet);
    });
  }

  onControl(type: number, code: number): void {
    if (type === 2 || type === 9) this.#answer?.(code);
    else if (code >= 0x80) this.#fail(`packet of type ${type} with reason ${code}`);
  }

  #read(count: number): boolean {
    let start = CARRY_MAX;
    const carry = this.#carry;
    if (carry) {
      start -= carry.length;
      carry.copy(shared, start);
      this.#carry = undefined;
    }
    const end = CARRY_MAX + count;
    const rest = scan(shared, start, end, this, this.#terms.protocol);
    if (rest < end) this.#carry = Buffer.from(shared.subarray(rest, end));
    this.onTick();
    return true;
  }

  #fail(reason: string): void {
    if (this.#isClosing) return;
    this.failure ??= reason;
    this.#answer?.(-1);
  }

  /** Closes without waiting. `farewell` is written first. */
  close(farewell?: Buffer): void {
    this.#isClosing = true;
    if (farewell) this.socket?.end(farewell);
    else this.socket?.destroy();
    this.#carry = undefined;
  }
}

/** A connection that nothing should come to. */
export class Bystander extends LoadConnection {
  onPublish(): void {
    this.failure ??= 'got a message that it had not asked for';
  }

  onAck(): void {
    this.failure ??= 'got an acknowledgement of nothing';
  }

  protected onTick(): void {}
}

/** Runs `work` for all items, at most `width` of them at a time. */
export async function inLanes<T>(
  items: T[],
  width: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      await work(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
}
