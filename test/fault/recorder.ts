// A client whose calls and their answers are written into a history. It is the client of the helpers with nothing added
// to what goes over the wire, but for a message id at the front of each payload. An answer is written down when it is
// known, never before; a call before its first byte leaves: so that "before" in the history is before in fact.

import type { Packet } from 'mqtt-packet';
import {
  type ClientOptions,
  type ConnectionRecord,
  ConnectRefused,
  MqttClient,
  type Received,
} from '../helpers/mqtt-client.ts';
import type { Owner } from '../helpers/owner.ts';
import { type History, NEVER_SEC, type Qos, type WillTold } from './history.ts';

export interface WillWish {
  topic: string;
  qos: Qos;
  retain: boolean;
  /** MQTT 5 only. */
  delaySec: number;
}

export interface RecordedOptions extends Omit<ClientOptions, 'will' | 'keepsReceived' | 'acks'> {
  will?: WillWish;
}

export interface Subscribing {
  qos: Qos;
  noLocal?: boolean;
  retainAsPublished?: boolean;
  retainHandling?: 0 | 1 | 2;
}

export interface Publishing {
  qos: Qos;
  retain?: boolean;
  isEmpty?: boolean;
  /** MQTT 5 only. */
  expirySec?: number;
  /** Length of the payload at least. */
  bytes?: number;
}

/** Id at the front of a payload, 0 for an empty one or one that a recorder did not make. */
export function readId(payload: Uint8Array): number {
  let id = 0;
  for (let at = 0; at < payload.length; at++) {
    const digit = payload[at]! - 48;
    if (digit < 0 || digit > 9) return payload[at] === 58 ? id : 0;
    id = id * 10 + digit;
  }
  return 0;
}

const payloadOf = (id: number, bytes: number): string => `${id}:`.padEnd(bytes, '.');

/** A node that does not close behind DISCONNECT is not waited for longer. */
const GOODBYE_MS = 3000;

export class RecordedClient {
  readonly name: string;
  readonly client: MqttClient;
  /** performance.now() of the last packet that came. */
  heardAt = 0;
  /** PUBLISH packets that were given to the application. */
  delivered = 0;
  readonly #history: History;
  readonly #options: RecordedOptions;
  /** Message ids by packet id. */
  readonly #ids = new Map<number, number>();
  readonly #left = new Map<ConnectionRecord, number>();
  #connection = -1;
  #number = 0;
  #isCutting = false;

  constructor(owner: Owner, history: History, options: RecordedOptions) {
    const { will: _, ...rest } = options;
    this.name = options.clientId;
    this.#history = history;
    this.#options = options;
    this.client = new MqttClient(owner, { ...rest, keepsReceived: false });
    this.client.onConnected = (record) => this.#handleConnack(record.sessionPresent, 0);
    this.client.onResent = (packetId) => {
      this.#history.add({ kind: 'resent', ...this.#now(), id: this.#ids.get(packetId)! });
    };
    this.client.onReceived = (message) => this.#handleReceived(message);
    this.client.onPacket = (packet) => this.#handlePacket(packet);
    this.client.onClose = () => this.#handleClose();
    this.client.onLeft = (record, packet) => this.#handleLeft(record, packet);
  }

  get isConnected(): boolean {
    return this.client.isConnected;
  }

  /** Published at QoS 1 or 2 and not finished. */
  get unfinished(): number {
    return this.client.outgoing.size;
  }

  #now(): { at: number; client: string; connection: number } {
    return { at: performance.now(), client: this.name, connection: this.#connection };
  }

  /** Connects; false when nobody answered or the answer was no. */
  async connect(port: number, clean: boolean, withinMs = 5000): Promise<boolean> {
    const version = this.client.version;
    const expirySec = this.#expirySec(clean);
    this.#connection++;
    const will = this.#armWill();
    this.#history.add({ kind: 'connect', ...this.#now(), port, version, clean, expirySec, will });
    try {
      await this.client.connect(port, { clean, withinMs });
      return true;
    } catch (error) {
      if (error instanceof ConnectRefused) this.#handleConnack(false, error.code);
      this.#history.add({ kind: 'closed', ...this.#now(), reason: null, by: 'client' });
      return false;
    }
  }

  #expirySec(clean: boolean): number {
    if (this.client.version !== 5) return clean ? 0 : NEVER_SEC;
    return this.#options.sessionExpirySeconds ?? (this.#options.clean === false ? 3600 : 0);
  }

  /** Each connection has a will of its own, so that it can be told which one came. */
  #armWill(): WillTold | null {
    const wish = this.#options.will;
    if (!wish) return null;
    const id = this.#history.nextId();
    const { topic, qos, retain, delaySec } = wish;
    this.client.options.will = {
      topic,
      payload: Buffer.from(payloadOf(id, 0)),
      qos,
      retain,
      ...(this.client.version === 5 ? { properties: { willDelayInterval: delaySec } } : {}),
    };
    return { id, topic, qos, retain, delaySec: this.client.version === 5 ? delaySec : 0 };
  }

  #handleConnack(sessionPresent: boolean, reason: number): void {
    this.heardAt = performance.now();
    this.#history.add({ kind: 'connack', ...this.#now(), sessionPresent, reason });
  }

  #handlePacket(packet: Packet): undefined {
    this.heardAt = performance.now();
    if (packet.cmd !== 'pubrec' || (packet.reasonCode ?? 0) >= 0x80) return;
    const entry = this.client.outgoing.get(packet.messageId!);
    const id = this.#ids.get(packet.messageId!);
    if (entry?.phase === 'publish' && id !== undefined) {
      this.#history.add({ kind: 'acked', ...this.#now(), id, reason: packet.reasonCode ?? 0 });
    }
  }

  #handleReceived(message: Received): void {
    if (message.isRepeat) return;
    this.delivered++;
    const { topic, qos, retain, dup, packetId } = message;
    const id = readId(message.payload);
    this.#history.add({ kind: 'deliver', ...this.#now(), id, topic, qos, retain, dup, packetId });
  }

  #handleClose(): void {
    const reason = this.client.connections.at(-1)?.disconnectCode ?? null;
    const by = this.#isCutting ? 'client' : 'broker';
    this.#history.add({ kind: 'closed', ...this.#now(), reason, by });
  }

  #handleLeft(record: ConnectionRecord, packet: Packet | undefined): void {
    const connection = this.#left.get(record);
    if (connection === undefined) return;
    const happened = { at: performance.now(), client: this.name, connection };
    if (packet === undefined) {
      this.#left.delete(record);
      this.#history.add({ kind: 'closed', ...happened, reason: record.disconnectCode ?? null, by: 'broker' });
    } else if (packet.cmd === 'publish') {
      const { topic, qos, retain, dup } = packet;
      const id = readId(packet.payload as Buffer);
      const packetId = packet.messageId ?? 0;
      this.#history.add({ kind: 'deliver', ...happened, id, topic, qos, retain, dup, packetId });
    }
  }

  /** Subscribes to one filter; resolves with the code of SUBACK, rejects when the connection ends before. */
  async subscribe(filter: string, options: Subscribing): Promise<number> {
    const { qos, noLocal = false, retainAsPublished = false, retainHandling = 0 } = options;
    const number = ++this.#number;
    const wish = { qos, noLocal, retainAsPublished, retainHandling };
    this.#history.add({ kind: 'subscribe', ...this.#now(), number, filter, ...wish });
    const connection = this.#connection;
    const [reason = 0x80] = await this.client.subscribe(filter, wish);
    this.#history.add({ kind: 'suback', ...this.#now(), connection, number, reason });
    return reason;
  }

  /** As `subscribe`. */
  async unsubscribe(filter: string): Promise<void> {
    const number = ++this.#number;
    this.#history.add({ kind: 'unsubscribe', ...this.#now(), number, filter });
    const connection = this.#connection;
    const [reason = 0] = await this.client.unsubscribe(filter);
    this.#history.add({ kind: 'unsuback', ...this.#now(), connection, number, reason });
  }

  /** Publishes; `done` is called when it is acknowledged or given up, at QoS 0 right away. */
  publish(topic: string, options: Publishing, done?: () => void): void {
    const { qos, retain = false, isEmpty = false, expirySec = 0, bytes = 0 } = options;
    const id = this.#history.nextId();
    this.#history.add({ kind: 'publish', ...this.#now(), id, topic, qos, retain, isEmpty, expirySec });
    const properties = expirySec > 0 ? { properties: { messageExpiryInterval: expirySec } } : {};
    let packetId = 0;
    packetId = this.client.publishThen(
      topic,
      isEmpty ? '' : payloadOf(id, bytes),
      { qos, retain, ...properties },
      (outcome) => {
        this.#handleDone(id, qos, packetId, outcome);
        done?.();
      },
    );
    if (packetId > 0) this.#ids.set(packetId, id);
  }

  #handleDone(id: number, qos: Qos, packetId: number, outcome: number | Error): void {
    if (qos === 0) return;
    this.#ids.delete(packetId);
    if (typeof outcome !== 'number') this.#history.add({ kind: 'gaveup', ...this.#now(), id });
    // At QoS 2 the PUBREC was written down; 0x92 answers a PUBREL that comes again.
    else if (qos === 1 || (outcome >= 0x80 && outcome !== 0x92)) {
      this.#history.add({ kind: 'acked', ...this.#now(), id, reason: outcome });
    }
  }

  /** DISCONNECT (4 asks for the will, MQTT 5) and the end of the connection. */
  async disconnect(reasonCode = 0): Promise<void> {
    if (!this.isConnected) return;
    this.#history.add({ kind: 'disconnect', ...this.#now(), reason: reasonCode, expirySec: null });
    const timer = setTimeout(() => this.cut(), GOODBYE_MS);
    await this.client.disconnect({ reasonCode });
    clearTimeout(timer);
  }

  /** Closes the socket without DISCONNECT. */
  cut(): void {
    this.#isCutting = true;
    this.client.cut();
    this.#isCutting = false;
  }

  /** Walks away from the open connection, to connect somewhere else. */
  leave(): void {
    if (!this.isConnected) return;
    this.#left.set(this.client.leaveOpen(), this.#connection);
    this.#history.add({ kind: 'closed', ...this.#now(), reason: null, by: 'left' });
  }

  /** Writes down that the run is over for it. */
  rest(): void {
    this.#history.add({ kind: 'rest', ...this.#now() });
  }
}
