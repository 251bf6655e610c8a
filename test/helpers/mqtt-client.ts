// A lean MQTT client for tests (3.1, 3.1.1, 5) on a raw socket. It keeps the client's half of a session (packet ids, what
// is unacknowledged, QoS 2 ids seen) over reconnects as the norm asks, and records what came in, on which connection and
// when. Nothing is automatic that a test may want to hold back: acknowledgements, reading and reconnecting are choices.

import { connect as openSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import mqtt, {
  type IConnackPacket,
  type IConnectPacket,
  type IPublishPacket,
  type Packet,
} from 'mqtt-packet';
import type { Owner } from './owner.ts';

export type Qos = 0 | 1 | 2;

export interface ClientOptions {
  clientId: string;
  /** 3 is MQTT 3.1, 4 is 3.1.1 (default), 5. */
  version?: 3 | 4 | 5;
  /** Default true. */
  clean?: boolean;
  /** Default 0 (off); the client sends PINGREQ at half of it. */
  keepAliveSeconds?: number;
  /** MQTT 5; with `clean: false` and nothing given: an hour. */
  sessionExpirySeconds?: number;
  /** MQTT 5 CONNECT properties beside that. */
  properties?: IConnectPacket['properties'];
  will?: IConnectPacket['will'];
  username?: string;
  password?: string;
  /** auto (default): PUBACK, PUBREC, PUBCOMP at once. manual: `ack` sends PUBACK and PUBREC. never: nothing, PUBCOMP neither. */
  acks?: 'auto' | 'manual' | 'never';
  /** Unacknowledged messages are sent anew when the broker has lost the session; default: they are given up. */
  resendsWithoutSession?: boolean;
  /** Another transport than TCP to 127.0.0.1. */
  open?: (port: number) => Duplex;
  /** false: `received` stays empty, for runs whose messages fill the memory. */
  keepsReceived?: boolean;
}

/** One PUBLISH as it came from the wire. */
export interface Received {
  /** performance.now() */
  at: number;
  topic: string;
  payload: Buffer;
  qos: Qos;
  dup: boolean;
  retain: boolean;
  /** 0 at QoS 0. */
  packetId: number;
  /** Index into `connections`. */
  connection: number;
  /** QoS 2 with an id that is not released yet: not given to the application again. */
  isRepeat: boolean;
  properties: IPublishPacket['properties'];
}

export interface ConnectionRecord {
  port: number;
  /** When CONNECT left; times are performance.now(). */
  connectAt: number;
  connackAt: number;
  firstPublishAt: number | undefined;
  closedAt: number | undefined;
  /** As CONNACK says; MQTT 3.1 has no word for it: then, that this CONNECT and the one before asked for a session. */
  sessionPresent: boolean;
  /** Reason code of a DISCONNECT from the broker. */
  disconnectCode: number | undefined;
}

/** A CONNACK that refuses. */
export class ConnectRefused extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`CONNACK ${code}`);
    this.code = code;
  }
}

export interface PublishOptions {
  qos?: Qos;
  retain?: boolean;
  properties?: IPublishPacket['properties'];
}

/** Reason code of the last acknowledgement (0 before MQTT 5), or an error when the message was given up. */
export type PublishDone = (outcome: number | Error) => void;

interface Outgoing {
  packet: IPublishPacket;
  phase: 'publish' | 'pubrel';
  done: PublishDone;
}

export interface SubscribeOptions {
  qos?: Qos;
  noLocal?: boolean;
  retainAsPublished?: boolean;
  retainHandling?: number;
  identifier?: number;
}

export class MqttClient {
  readonly options: ClientOptions;
  readonly received: Received[] = [];
  readonly connections: ConnectionRecord[] = [];
  /** Sent and not finished, oldest first, by packet id. */
  readonly outgoing = new Map<number, Outgoing>();
  /** Every packet after CONNACK, before the client handles it; true keeps the client from handling it. */
  onPacket: ((packet: Packet) => boolean | undefined) | undefined;
  onReceived: ((message: Received) => void) | undefined;
  onClose: (() => void) | undefined;
  /** An accepting CONNACK came; called before anything is sent on the connection or handled from it. */
  onConnected: ((record: ConnectionRecord) => void) | undefined;
  /** A PUBLISH is sent again on another connection. */
  onResent: ((packetId: number) => void) | undefined;
  /** A packet came on a connection that was left open; undefined when the broker closed that. */
  onLeft: ((record: ConnectionRecord, packet: Packet | undefined) => void) | undefined;
  /** Its test is over. */
  isRetired = false;
  /** Receive Maximum of the broker (MQTT 5), 65535 otherwise. */
  serverReceiveMaximum = 65535;
  connack: IConnackPacket | undefined;
  #stream: Duplex | undefined;
  #isOpen = false;
  #lastId = 0;
  #record: ConnectionRecord | undefined;
  #hasSession: boolean | undefined;
  #pinger: NodeJS.Timeout | undefined;
  readonly #left = new Set<Duplex>();
  readonly #incoming = new Set<number>();
  readonly #controls = new Map<
    number,
    { resolve: (codes: number[]) => void; reject: (error: Error) => void }
  >();

  constructor(owner: Owner, options: ClientOptions) {
    this.options = options;
    owner.teardown(() => {
      this.isRetired = true;
      this.onClose = undefined;
      this.cut();
      for (const stream of this.#left) stream.destroy();
    });
  }

  get isConnected(): boolean {
    return this.#isOpen;
  }

  get version(): 3 | 4 | 5 {
    return this.options.version ?? 4;
  }

  /** Connects to 127.0.0.1:`port` and resolves at an accepting CONNACK; unfinished messages have been sent again then. */
  async connect(
    port: number,
    options: { clean?: boolean; withinMs?: number } = {},
  ): Promise<ConnectionRecord> {
    if (this.#stream) throw new Error(`${this.options.clientId} is connected already`);
    const stream = this.options.open
      ? this.options.open(port)
      : openSocket({ port, host: '127.0.0.1', noDelay: true });
    this.#stream = stream;
    const record: ConnectionRecord = {
      port,
      connectAt: performance.now(),
      connackAt: 0,
      firstPublishAt: undefined,
      closedAt: undefined,
      sessionPresent: false,
      disconnectCode: undefined,
    };
    this.#record = record;
    const parser = mqtt.parser({ protocolVersion: this.version });
    stream.on('data', (chunk: Buffer) => parser.parse(chunk));
    stream.on('error', () => {});
    this.send(this.#connectPacket(options.clean));
    const answer = await new Promise<IConnackPacket>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no CONNACK')), options.withinMs ?? 10_000);
      parser.on('error', (error: Error) => {
        reject(error);
        stream.destroy();
      });
      stream.once('close', () => {
        clearTimeout(timer);
        reject(new Error('closed before CONNACK'));
        if (this.#stream === stream) this.#handleClose();
        record.closedAt ??= performance.now();
      });
      parser.on('packet', (packet) => {
        if (packet.cmd === 'connack' && record.connackAt === 0) {
          clearTimeout(timer);
          this.#handleConnack(packet, record);
          resolve(packet);
        } else if (this.#stream !== stream) {
          if (packet.cmd === 'disconnect') record.disconnectCode = packet.reasonCode;
          if (this.#left.has(stream)) this.onLeft?.(record, packet);
        } else if (!this.onPacket?.(packet)) this.#handle(packet, record);
      });
    }).catch((error: unknown) => {
      this.cut();
      throw error;
    });
    const code = (this.version === 5 ? answer.reasonCode : answer.returnCode) ?? 0;
    if (code !== 0) {
      this.cut();
      throw new ConnectRefused(code);
    }
    return record;
  }

  #connectPacket(clean: boolean | undefined): IConnectPacket {
    const { clientId, will, username, password, keepAliveSeconds, sessionExpirySeconds, properties } =
      this.options;
    const isClean = clean ?? this.options.clean ?? true;
    this.#hasSession = isClean ? undefined : (this.#hasSession ?? false);
    const expiry = sessionExpirySeconds ?? (this.options.clean === false ? 3600 : undefined);
    return {
      cmd: 'connect',
      protocolId: this.version === 3 ? 'MQIsdp' : 'MQTT',
      protocolVersion: this.version,
      clientId,
      clean: isClean,
      keepalive: keepAliveSeconds ?? 0,
      ...(will ? { will } : {}),
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password: Buffer.from(password) }),
      ...(this.version === 5
        ? {
            properties: { ...(expiry === undefined ? {} : { sessionExpiryInterval: expiry }), ...properties },
          }
        : {}),
    };
  }

  #handleConnack(packet: IConnackPacket, record: ConnectionRecord): void {
    record.connackAt = performance.now();
    record.sessionPresent = this.version === 3 ? this.#hasSession === true : packet.sessionPresent;
    this.connack = packet;
    if (((this.version === 5 ? packet.reasonCode : packet.returnCode) ?? 0) !== 0) return;
    if (this.#hasSession === false) this.#hasSession = true;
    this.connections.push(record);
    this.#isOpen = true;
    this.onConnected?.(record);
    this.serverReceiveMaximum = packet.properties?.receiveMaximum ?? 65535;
    const keepAlive = this.options.keepAliveSeconds ?? 0;
    if (keepAlive > 0) {
      this.#pinger = setInterval(() => this.send({ cmd: 'pingreq' }), keepAlive * 500);
    }
    if (record.sessionPresent) this.#resend(true);
    else {
      this.#incoming.clear();
      if (this.options.resendsWithoutSession) this.#resend(false);
      else this.#giveUp();
    }
  }

  /** Sends what is unfinished again, in the order of the first sending [MQTT-4.4.0-1] [MQTT-4.6.0-1]. */
  #resend(isSameSession: boolean): void {
    for (const entry of this.outgoing.values()) {
      if (!isSameSession) entry.phase = 'publish';
      if (entry.phase === 'publish') {
        this.onResent?.(entry.packet.messageId!);
        this.send({ ...entry.packet, dup: isSameSession });
      } else this.send({ cmd: 'pubrel', messageId: entry.packet.messageId! });
    }
  }

  #giveUp(): void {
    const entries = [...this.outgoing.values()];
    this.outgoing.clear();
    for (const entry of entries) entry.done(new Error('the broker lost the session'));
  }

  #handleClose(): void {
    const wasOpen = this.#isOpen;
    if (this.#record) this.#record.closedAt ??= performance.now();
    this.#detach();
    // A connection that never was is told by `connect` alone.
    if (wasOpen) this.onClose?.();
  }

  #detach(): void {
    this.#stream = undefined;
    this.#isOpen = false;
    clearInterval(this.#pinger);
    for (const waiter of this.#controls.values()) waiter.reject(new Error('closed'));
    this.#controls.clear();
  }

  /**
   * Walks away from the connection without closing it, as a device that changes its network does: the client may connect
   * anew, and what still comes on the old socket goes nowhere. The record tells when the broker closed it.
   */
  leaveOpen(): ConnectionRecord {
    const record = this.#record;
    const stream = this.#stream;
    if (!record || !stream) throw new Error('not connected');
    this.#left.add(stream);
    stream.once('close', () => {
      record.closedAt ??= performance.now();
      if (this.#left.delete(stream)) this.onLeft?.(record, undefined);
    });
    this.#detach();
    return record;
  }

  #handle(packet: Packet, record: ConnectionRecord): void {
    switch (packet.cmd) {
      case 'publish':
        this.#handlePublish(packet, record);
        break;
      case 'puback':
      case 'pubcomp':
        this.#finish(packet.messageId!, packet.reasonCode ?? 0);
        break;
      case 'pubrec':
        this.#handlePubrec(packet.messageId!, packet.reasonCode ?? 0);
        break;
      case 'pubrel':
        this.#incoming.delete(packet.messageId!);
        if (this.options.acks !== 'never') this.send({ cmd: 'pubcomp', messageId: packet.messageId! });
        break;
      case 'suback':
      case 'unsuback':
        this.#controls.get(packet.messageId!)?.resolve((packet.granted ?? []) as number[]);
        this.#controls.delete(packet.messageId!);
        break;
      case 'disconnect':
        record.disconnectCode = packet.reasonCode;
        break;
    }
  }

  #handlePublish(packet: IPublishPacket, record: ConnectionRecord): void {
    const at = performance.now();
    record.firstPublishAt ??= at;
    const message: Received = {
      at,
      topic: packet.topic,
      payload: Buffer.from(packet.payload as Buffer),
      qos: packet.qos,
      dup: packet.dup,
      retain: packet.retain,
      packetId: packet.qos === 0 ? 0 : packet.messageId!,
      connection: this.connections.length - 1,
      isRepeat: packet.qos === 2 && this.#incoming.has(packet.messageId!),
      properties: packet.properties,
    };
    if (this.options.keepsReceived ?? true) this.received.push(message);
    if ((this.options.acks ?? 'auto') === 'auto') this.ack(message);
    this.onReceived?.(message);
  }

  /** Sends PUBACK or PUBREC; nothing for QoS 0 or when the connection is gone. */
  ack(message: Received): void {
    if (message.qos === 1) this.send({ cmd: 'puback', messageId: message.packetId });
    if (message.qos === 2) {
      this.#incoming.add(message.packetId);
      this.send({ cmd: 'pubrec', messageId: message.packetId });
    }
  }

  #handlePubrec(id: number, reasonCode: number): void {
    const entry = this.outgoing.get(id);
    if (reasonCode >= 0x80) this.#finish(id, reasonCode);
    else {
      if (entry) entry.phase = 'pubrel';
      this.send({ cmd: 'pubrel', messageId: id });
    }
  }

  #finish(id: number, reasonCode: number): void {
    const entry = this.outgoing.get(id);
    this.outgoing.delete(id);
    entry?.done(reasonCode);
  }

  /** Sends one packet as it is; dropped when there is no connection. */
  send(packet: Packet): void {
    const stream = this.#stream;
    if (!stream || stream.destroyed) return;
    if (stream.writableCorked === 0) {
      stream.cork();
      process.nextTick(() => stream.uncork());
    }
    stream.write(mqtt.generate(packet, { protocolVersion: this.version }));
  }

  /** Sends bytes as they are. */
  sendBytes(bytes: Buffer): void {
    this.#stream?.write(bytes);
  }

  #nextId(): number {
    do {
      this.#lastId = (this.#lastId % 65535) + 1;
    } while (this.outgoing.has(this.#lastId) || this.#controls.has(this.#lastId));
    return this.#lastId;
  }

  /**
   * Publishes; `done` is called once, at QoS 0 right away. Unfinished messages outlive the connection. Returns the packet
   * id, 0 at QoS 0.
   */
  publishThen(topic: string, payload: string | Buffer, options: PublishOptions, done: PublishDone): number {
    const { qos = 0, retain = false, properties } = options;
    const packet: IPublishPacket = { cmd: 'publish', topic, payload, qos, retain, dup: false };
    if (properties) packet.properties = properties;
    if (qos === 0) {
      this.send(packet);
      done(0);
      return 0;
    }
    packet.messageId = this.#nextId();
    this.outgoing.set(packet.messageId, { packet, phase: 'publish', done });
    if (this.#isOpen) this.send(packet);
    return packet.messageId;
  }

  /** Publishes and resolves with the reason code of PUBACK or PUBCOMP, maybe connections later. */
  publish(topic: string, payload: string | Buffer, options: PublishOptions = {}): Promise<number> {
    return new Promise((resolve, reject) => {
      this.publishThen(topic, payload, options, (outcome) => {
        if (typeof outcome === 'number') resolve(outcome);
        else reject(outcome);
      });
    });
  }

  /** Subscribes and resolves with the codes of SUBACK. */
  subscribe(filters: string | string[], options: SubscribeOptions | Qos = {}): Promise<number[]> {
    const {
      qos = 0,
      noLocal,
      retainAsPublished,
      retainHandling,
      identifier,
    } = typeof options === 'number' ? { qos: options } : options;
    const extras = { nl: noLocal ?? false, rap: retainAsPublished ?? false, rh: retainHandling ?? 0 };
    const subscriptions = [filters]
      .flat()
      .map((topic) => ({ topic, qos, ...(this.version === 5 ? extras : {}) }));
    const properties = identifier === undefined ? {} : { properties: { subscriptionIdentifier: identifier } };
    return this.#control((messageId) => ({ cmd: 'subscribe', messageId, subscriptions, ...properties }));
  }

  /** Unsubscribes and resolves with the codes of UNSUBACK (none before MQTT 5). */
  unsubscribe(filters: string | string[]): Promise<number[]> {
    const unsubscriptions = [filters].flat();
    return this.#control((messageId) => ({ cmd: 'unsubscribe', messageId, unsubscriptions }));
  }

  #control(build: (messageId: number) => Packet): Promise<number[]> {
    if (!this.#isOpen) return Promise.reject(new Error('not connected'));
    const messageId = this.#nextId();
    return new Promise((resolve, reject) => {
      this.#controls.set(messageId, { resolve, reject });
      this.send(build(messageId));
    });
  }

  /** Stops taking bytes off the socket: a stuck client. */
  stopReading(): void {
    this.#stream?.pause();
  }

  startReading(): void {
    this.#stream?.resume();
  }

  /** DISCONNECT and close; resolves when closed. */
  async disconnect(options: { reasonCode?: number; sessionExpirySeconds?: number } = {}): Promise<void> {
    const stream = this.#stream;
    if (!stream) return;
    const { reasonCode = 0, sessionExpirySeconds } = options;
    const properties =
      sessionExpirySeconds === undefined
        ? {}
        : { properties: { sessionExpiryInterval: sessionExpirySeconds } };
    this.send({ cmd: 'disconnect', reasonCode, ...properties });
    await new Promise<void>((resolve) => {
      stream.once('close', () => resolve());
      stream.end();
      stream.resume();
    });
  }

  /** Closes the socket without DISCONNECT. */
  cut(): void {
    const stream = this.#stream;
    if (!stream) return;
    stream.destroy();
    this.#handleClose();
  }
}
