// One raw connection of a conformance test: bytes go out as the test wrote them, packets of the broker come back in
// their order, each awaited by name. Nothing is acknowledged or answered by itself. A packet of another type than the
// one awaited fails the test with both.

import { connect as openSocket, type Socket } from 'node:net';
import type { Owner } from '../helpers/owner.ts';
import * as mqtt from './packets.ts';

/** Long enough for a busy machine; a test that waits for nothing to come waits for something else instead. */
const PATIENCE_MS = 15_000;

interface Waiter {
  wake(): void;
}

export class Wire {
  readonly version: mqtt.Version;
  /** The CONNACK, once `connect` was called. */
  connack: mqtt.Answer | undefined;
  /** The broker has closed, or the test. */
  isClosed = false;
  readonly #socket: Socket;
  readonly #answers: mqtt.Answer[] = [];
  /** QoS 2 messages of `receive` whose PUBREL has not come. */
  readonly #taken = new Set<number>();
  #rest: Buffer = Buffer.alloc(0);
  #waiter: Waiter | undefined;
  #fault: Error | undefined;
  #lastId = 0;

  constructor(owner: Owner, port: number, version: mqtt.Version) {
    this.version = version;
    this.#socket = openSocket({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (chunk: Buffer) => this.#take(chunk));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.isClosed = true;
      this.#waiter?.wake();
    });
    owner.teardown(() => this.#socket.destroy());
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    try {
      for (let end = frameEnd(this.#rest); end > 0; end = frameEnd(this.#rest)) {
        this.#answers.push(mqtt.readAnswer(this.version, Buffer.from(this.#rest.subarray(0, end))));
        this.#rest = this.#rest.subarray(end);
      }
    } catch (error) {
      this.#fault = error as Error;
    }
    this.#waiter?.wake();
  }

  /** Writes bytes as they are, in one write. */
  send(...packets: Buffer[]): this {
    this.#socket.write(Buffer.concat(packets));
    return this;
  }

  /** A packet identifier that this connection has not used. */
  nextId(): number {
    this.#lastId++;
    return this.#lastId;
  }

  async #wait(isOver: () => boolean, what: string): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    while (!isOver()) {
      if (this.#fault) throw this.#fault;
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) throw new Error(`nothing came while waiting for ${what}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiter = {
          wake() {
            clearTimeout(timer);
            resolve();
          },
        };
      });
      this.#waiter = undefined;
    }
    if (this.#fault) throw this.#fault;
  }

  /** The next packet, which must be of this type, or of one of these. */
  async next(...types: number[]): Promise<mqtt.Answer> {
    const what = `a packet of type ${types.join(' or ')}`;
    let answer: mqtt.Answer | undefined;
    do {
      await this.#wait(() => this.#answers.length > 0 || this.isClosed, what);
      answer = this.#answers.shift();
      if (!answer) throw new Error(`closed while waiting for ${what}`);
    } while (this.#completes(answer));
    if (!types.includes(answer.type)) throw new Error(`awaited ${what}, got ${answer.bytes.toString('hex')}`);
    return answer;
  }

  /** A PUBREL of what `receive` took is answered by the way. */
  #completes({ type, id }: mqtt.Answer): boolean {
    if (type !== mqtt.PUBREL || !this.#taken.delete(id)) return false;
    this.send(mqtt.ack(mqtt.PUBCOMP, id));
    return true;
  }

  /** What comes before the connection is closed by the broker, its DISCONNECT included. */
  async closed(): Promise<mqtt.Answer[]> {
    await this.#wait(() => this.isClosed, 'the end of the connection');
    return this.#answers.splice(0);
  }

  /** The broker closes: in MQTT 5 with one of these reasons in DISCONNECT, before it without a word. */
  async refusedWith(...codes: number[]): Promise<void> {
    const last = (await this.closed()).at(-1);
    if (this.version !== 5) {
      if (last) throw new Error(`told something: ${last.bytes.toString('hex')}`);
      return;
    }
    if (last?.type !== mqtt.DISCONNECT || !codes.includes(last.code)) {
      throw new Error(`instead of DISCONNECT ${codes}: ${last?.bytes.toString('hex') ?? 'nothing'}`);
    }
  }

  /** Whatever the broker had to say to what was sent before has come: the next packet is PINGRESP. */
  async settled(): Promise<void> {
    this.send(mqtt.PINGREQ);
    await this.next(mqtt.PINGRESP);
  }

  /** Sends CONNECT and awaits CONNACK, whatever its code. */
  async connect(clientId: string | Buffer, options: mqtt.ConnectOptions = {}): Promise<mqtt.Answer> {
    this.send(mqtt.connect(this.version, clientId, options));
    this.connack = await this.next(mqtt.CONNACK);
    return this.connack;
  }

  /** Subscribes and awaits SUBACK; its codes. Retained messages come behind it. */
  async subscribe(
    filters: string | readonly mqtt.Filter[],
    options = 0,
    list?: mqtt.Properties,
  ): Promise<number[]> {
    const id = this.nextId();
    const all = typeof filters === 'string' ? [[filters, options] as const] : filters;
    this.send(mqtt.subscribe(this.version, id, all, list));
    const suback = await this.next(mqtt.SUBACK);
    if (suback.id !== id) throw new Error(`SUBACK of ${suback.id} instead of ${id}`);
    return suback.codes;
  }

  /** Publishes and goes through the acknowledgements; the reason code of the last (of PUBREC where that is a failure). */
  async publish(
    topic: string | Buffer,
    payload: string | Buffer,
    options: mqtt.PublishOptions = {},
  ): Promise<number> {
    const id = options.id ?? this.nextId();
    this.send(mqtt.publish(this.version, topic, payload, { ...options, id }));
    if (options.qos === 1) return (await this.#acked(mqtt.PUBACK, id)).code;
    if (options.qos !== 2) return 0;
    const pubrec = await this.#acked(mqtt.PUBREC, id);
    if (pubrec.code >= 0x80) return pubrec.code;
    this.send(mqtt.ack(mqtt.PUBREL, id));
    await this.#acked(mqtt.PUBCOMP, id);
    return pubrec.code;
  }

  async #acked(type: number, id: number): Promise<mqtt.Answer> {
    const answer = await this.next(type);
    if (answer.id !== id) throw new Error(`acknowledged ${answer.id} instead of ${id}`);
    return answer;
  }

  /** The next packet is a PUBLISH; it is acknowledged as its QoS asks. */
  async receive(): Promise<mqtt.Answer> {
    const message = await this.next(mqtt.PUBLISH);
    if (message.qos === 1) this.send(mqtt.ack(mqtt.PUBACK, message.id));
    if (message.qos === 2) {
      this.#taken.add(message.id);
      this.send(mqtt.ack(mqtt.PUBREC, message.id));
    }
    return message;
  }

  /** What was received is acknowledged to its end; then DISCONNECT, and the broker closes. */
  async leave(code?: number, list?: mqtt.Properties): Promise<void> {
    const mustSettle = this.#taken.size > 0;
    while (this.#taken.size > 0) {
      await this.#wait(() => this.#answers.length > 0, 'PUBREL');
      const answer = this.#answers.shift()!;
      if (!this.#completes(answer)) throw new Error(`awaited PUBREL, got ${answer.bytes.toString('hex')}`);
    }
    // What was acknowledged in the moment of leaving may come again elsewhere: acknowledgements are committed behind it.
    if (mustSettle) await this.settled();
    this.send(mqtt.disconnect(this.version === 5 ? code : undefined, list));
    await this.closed();
  }

  /** The network fails: no DISCONNECT. */
  cut(): void {
    this.#socket.destroy();
  }

  /** This side is done and still reads. */
  end(): void {
    this.#socket.end();
  }
}

/** Where the first packet in `bytes` ends; 0 where it is not whole. */
function frameEnd(bytes: Buffer): number {
  let length = 0;
  for (let at = 1; at < bytes.length; at++) {
    const byte = bytes[at]!;
    length += (byte & 127) * 128 ** (at - 1);
    if (byte < 128) return at + 1 + length <= bytes.length ? at + 1 + length : 0;
    if (at === 4) throw new Error('a remaining length of five bytes');
  }
  return 0;
}
