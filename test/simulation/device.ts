// A client as the standard wants it: it keeps its half of the session over connections, sends again what was not
// acknowledged, and takes a QoS 2 message once. It writes down what it did and saw. Its packets go through mqtt-packet,
// which shares no code with the broker's framer and writers.

import mqtt, { type Packet } from 'mqtt-packet';
import {
  Call,
  type CallOwner,
  type ConnectPlan,
  connectPacket,
  type DeviceOptions,
  type SubscriptionWish,
} from './call.ts';
import type { Attempt, Era, Message, SubscriptionRecord } from './history.ts';
import type { SimNode } from './sim-node.ts';

interface Outgoing {
  readonly message: Message;
  readonly payload: Buffer;
  isReceived: boolean;
}

interface Asked {
  readonly records: SubscriptionRecord[];
  readonly kind: 'subscribe' | 'unsubscribe';
}

export class Device implements CallOwner {
  readonly id: string;
  readonly options: DeviceOptions;
  era: Era | null = null;
  /** Unfinished messages to the broker, in the order of their first sending. */
  readonly outgoing = new Map<number, Outgoing>();
  /** The last CONNECT with a clean start has not been answered: nobody knows which session there is. */
  mustCleanStart = false;
  /** Acks are written down and sent when it is unmuted. */
  isMuted = false;
  onLost: () => void = () => {};
  /** Comes with CONNACK, before anything unfinished is sent again. */
  beforeRepeating: () => void = () => {};
  /** Sees each packet before the device does; false loses the packet. */
  onPacket: (packet: Packet) => boolean = () => true;
  #call: Call | null = null;
  #nextId = 1;
  #messages = 0;
  #connections = 0;
  #attempt: Attempt | null = null;
  /** Packet identifiers of QoS 2 messages that were received and not released, with the message. */
  readonly #received = new Map<number, string>();
  #asked = new Map<number, Asked>();
  #held: Packet[] = [];

  constructor(options: DeviceOptions) {
    this.options = options;
    this.id = options.id;
  }

  get isConnected(): boolean {
    return this.#call?.isAccepted === true;
  }

  get isCalling(): boolean {
    return this.#call !== null;
  }

  get attempt(): Attempt | null {
    return this.#attempt;
  }

  /** Unfinished receptions: what a next connection will be asked about. */
  get receivedCount(): number {
    return this.#received.size;
  }

  // ---- calling

  /** Calls a node; answers false when nobody listens. An earlier connection is left behind, open or closed. */
  connect(node: SimNode, plan: ConnectPlan, leaveOpen = false): boolean {
    const call = new Call(this);
    const wire = node.accept(call);
    if (wire === null) return false;
    if (this.#call !== null) this.#leave(this.#call, leaveOpen);
    const { history, time, expirySec, version } = this.options;
    const cleanStart = plan.cleanStart || this.mustCleanStart || (version === 4 && expirySec === 0);
    if (cleanStart && version === 5) this.mustCleanStart = true;
    if (cleanStart && version === 4 && expirySec > 0) throw new Error('such a session would end at once');
    if (cleanStart) this.#forget('clean start');
    call.wire = wire;
    call.connection = ++this.#connections;
    this.#call = call;
    const attempt: Attempt = {
      ...{ device: this.id, connection: call.connection, cleanStart, expirySec },
      ...{ will: plan.will, willDelaySec: plan.willDelaySec, sentMs: time.nowMs, connackMs: 0 },
      ...{ isPresent: false, closedMs: 0, isGoodbye: false, isGoodbyeHeard: false, isSilent: false },
    };
    call.attempt = attempt;
    this.#attempt = attempt;
    history.attempts.push(attempt);
    this.#trace(
      `CONNECT to ${node.name}${cleanStart ? ' clean' : ''}${plan.will ? ` will ${plan.will.id}` : ''}`,
    );
    if (plan.will) plan.will.sentAt = history.next();
    wire.send(connectPacket(this.options, cleanStart, plan));
    return true;
  }

  /** Ends the connection without DISCONNECT; silently, so that the node does not hear of it, or not. */
  drop(isSilent = false): void {
    const call = this.#call;
    if (call === null) return;
    this.#trace(isSilent ? 'vanishes' : 'drops');
    this.#call = null;
    call.attempt!.isSilent = isSilent;
    if (isSilent) call.wire!.vanish();
    else call.wire!.close();
    this.#closed(call);
  }

  /** DISCONNECT; the will goes or, with 0x04 of MQTT 5, stays. */
  disconnect(keepsWill: boolean): void {
    const call = this.#call;
    if (call === null || !call.isAccepted) return;
    const { version } = this.options;
    const isKeeping = keepsWill && version === 5;
    this.#trace(isKeeping ? 'DISCONNECT 0x04' : 'DISCONNECT');
    this.#send({ cmd: 'disconnect', ...(isKeeping && { reasonCode: 4 }) } as Packet);
    call.attempt!.isGoodbye = !isKeeping;
    this.#call = null;
    this.#closed(call);
  }

  #leave(call: Call, leaveOpen: boolean): void {
    this.#call = null;
    call.attempt!.isSilent = leaveOpen;
    if (!leaveOpen) call.wire!.close();
    this.#closed(call);
  }

  /** The node has closed a connection. */
  lost(call: Call): void {
    call.attempt!.isGoodbyeHeard = call.attempt!.isGoodbye && !call.wire!.hasNodeDied;
    if (this.#call !== call) return;
    this.#trace('closed by the node');
    this.#call = null;
    this.#closed(call);
    this.onLost();
  }

  #closed(call: Call): void {
    call.attempt!.closedMs ||= this.options.time.nowMs;
    this.#asked = new Map();
    this.#held = [];
    // Such a session ends with its connection.
    if (this.options.expirySec === 0) this.#forget('end of the connection');
  }

  /** The session is over, as the device knows. */
  #forget(_why: string): void {
    const { history } = this.options;
    if (this.era !== null) this.era.endedAt = Math.min(this.era.endedAt, history.next());
    this.era = null;
    for (const { message, isReceived } of this.outgoing.values()) if (!isReceived) message.isGivenUp = true;
    this.outgoing.clear();
    this.#received.clear();
  }

  // ---- asking

  newMessage(
    values: Pick<Message, 'topic' | 'qos' | 'retain' | 'isEmpty' | 'expirySec' | 'isWill'>,
  ): Message {
    const message: Message = {
      ...values,
      ...{ id: `${this.id}.${++this.#messages}`, publisher: this.id, order: this.#messages },
      ...{ connection: 0, sentAt: 0, sentMs: 0, sends: 0, ackedAt: 0, ackedMs: 0 },
      ...{ isRefused: false, isGivenUp: false },
    };
    this.options.history.messages.set(message.id, message);
    return message;
  }

  publish(message: Message, bytes: number): boolean {
    const call = this.#call;
    if (call === null || !call.isAccepted || this.outgoing.size >= 20) return false;
    const { history, time } = this.options;
    const payload = message.isEmpty ? Buffer.alloc(0) : Buffer.from(message.id.padEnd(bytes, '.'));
    message.sentAt = history.next();
    message.sentMs = time.nowMs;
    message.connection = call.connection;
    let packetId = 0;
    if (message.qos > 0) {
      packetId = this.#freeId();
      this.outgoing.set(packetId, { message, payload, isReceived: false });
    }
    this.#sendMessage(message, payload, packetId, false);
    return true;
  }

  subscribe(wishes: readonly SubscriptionWish[]): void {
    const { era } = this;
    if (!this.isConnected || era === null) return;
    const { history, time } = this.options;
    const sentAt = history.next();
    const records: SubscriptionRecord[] = [];
    for (const wish of wishes) {
      const before = era.subscriptions.filter(
        (one) => one.filter === wish.filter && one.endAckedAt === Infinity,
      );
      for (const one of before) {
        one.endSentAt = Math.min(one.endSentAt, sentAt);
        one.isReplaced = true;
      }
      const record: SubscriptionRecord = {
        ...wish,
        ...{ isNew: before.length === 0, sentAt, sentMs: time.nowMs, ackedAt: 0, ackedMs: 0 },
        ...{ endSentAt: Infinity, endAckedAt: Infinity, endAckedMs: 0, isReplaced: false },
      };
      era.subscriptions.push(record);
      records.push(record);
    }
    const messageId = this.#freeId();
    this.#asked.set(messageId, { records, kind: 'subscribe' });
    this.#trace(`SUBSCRIBE ${wishes.map((one) => `${one.filter}:${one.qos}`).join(' ')}`);
    const subscriptions = wishes.map((one) => ({
      topic: one.filter,
      qos: one.qos,
      ...(this.options.version === 5 && {
        nl: one.noLocal,
        rap: one.retainAsPublished,
        rh: one.retainHandling,
      }),
    }));
    this.#send({ cmd: 'subscribe', messageId, subscriptions } as Packet);
  }

  unsubscribe(filters: readonly string[]): void {
    const { era } = this;
    if (!this.isConnected || era === null) return;
    const sentAt = this.options.history.next();
    const records = era.subscriptions.filter(
      (one) => filters.includes(one.filter) && one.endAckedAt === Infinity,
    );
    for (const one of records) {
      one.endSentAt = Math.min(one.endSentAt, sentAt);
      one.isReplaced = false;
    }
    const messageId = this.#freeId();
    this.#asked.set(messageId, { records, kind: 'unsubscribe' });
    this.#trace(`UNSUBSCRIBE ${filters.join(' ')}`);
    this.#send({ cmd: 'unsubscribe', messageId, unsubscriptions: [...filters] });
  }

  ping(): void {
    this.#send({ cmd: 'pingreq' });
  }

  /** Sends the acks that were held. */
  unmute(): void {
    this.isMuted = false;
    for (const packet of this.#held.splice(0)) this.#send(packet);
  }

  #freeId(): number {
    while (this.outgoing.has(this.#nextId) || this.#asked.has(this.#nextId))
      this.#nextId = (this.#nextId % 50) + 1;
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 50) + 1;
    return id;
  }

  #sendMessage(message: Message, payload: Buffer, messageId: number, dup: boolean): void {
    message.sends++;
    const { topic, qos, retain, expirySec } = message;
    this.#trace(`PUBLISH ${message.id} ${topic} q${qos}${retain ? ' retain' : ''}${dup ? ' dup' : ''}`);
    const hasExpiry = this.options.version === 5 && expirySec > 0;
    const properties = hasExpiry ? { properties: { messageExpiryInterval: expirySec } } : {};
    const id = qos > 0 ? { messageId } : {};
    this.#send({ cmd: 'publish', topic, payload, qos, retain, dup, ...id, ...properties } as Packet);
  }

  #send(packet: Packet): void {
    this.#call?.wire?.send(mqtt.generate(packet, { protocolVersion: this.options.version }));
  }

  /** An ack, after a moment by chance. */
  #answer(packet: Packet): void {
    const call = this.#call;
    const { time, random } = this.options;
    if (this.isMuted) {
      this.#held.push(packet);
      return;
    }
    if (random.below(3) > 0) this.#send(packet);
    else time.post(random.below(30), () => this.#call === call && this.#send(packet));
  }

  // ---- hearing

  heard(call: Call, packet: Packet): void {
    if (this.#call !== call || !this.onPacket(packet)) return;
    switch (packet.cmd) {
      case 'connack':
        this.#connected(call, packet.sessionPresent, packet.returnCode ?? packet.reasonCode ?? 0);
        return;
      case 'publish':
        this.#received1(call, packet);
        return;
      case 'puback':
      case 'pubrec':
        this.#acknowledged(packet.cmd, packet.messageId!, packet.reasonCode ?? 0);
        return;
      case 'pubcomp':
        this.outgoing.delete(packet.messageId!);
        return;
      case 'pubrel':
        this.#received.delete(packet.messageId!);
        this.#answer({ cmd: 'pubcomp', messageId: packet.messageId! });
        return;
      case 'suback':
      case 'unsuback':
        this.#granted(packet.cmd, packet.messageId!, packet.granted as number[]);
        return;
      case 'pingresp':
        return;
      case 'disconnect':
        this.#trace(`told DISCONNECT 0x${(packet.reasonCode ?? 0).toString(16)}`);
        return;
      default:
        this.#breach(`a ${packet.cmd}`);
    }
  }

  #connected(call: Call, isPresent: boolean, code: number): void {
    const { history, time } = this.options;
    this.#trace(`CONNACK ${code === 0 ? (isPresent ? 'present' : 'new') : `refused 0x${code.toString(16)}`}`);
    if (code !== 0) return;
    call.isAccepted = true;
    call.attempt!.connackMs = time.nowMs;
    call.attempt!.isPresent = isPresent;
    this.mustCleanStart = false;
    if (!isPresent) this.#forget('no session');
    if (this.era === null) {
      this.era = {
        ...{ device: this.id, index: history.eras.length, isPersistent: this.options.expirySec > 0 },
        ...{ beganAt: history.next(), beganMs: time.nowMs, endedAt: Infinity, subscriptions: [] },
      };
      history.eras.push(this.era);
    }
    const unfinished = [...this.outgoing];
    this.beforeRepeating();
    for (const [messageId, { message, payload, isReceived }] of unfinished) {
      if (isReceived) this.#send({ cmd: 'pubrel', messageId });
      else this.#sendMessage(message, payload, messageId, true);
    }
  }

  #received1(call: Call, packet: Packet & { cmd: 'publish' }): void {
    const { history, time } = this.options;
    const { qos, messageId, topic } = packet;
    const id = packet.payload.toString().replace(/\.+$/, '');
    const message = history.messages.get(id);
    const text = `got ${id || '(empty)'} ${topic} q${qos}${packet.retain ? ' retained' : ''}${packet.dup ? ' dup' : ''}`;
    if (qos === 2) {
      const known = this.#received.get(messageId!);
      this.#answer({ cmd: 'pubrec', messageId: messageId! });
      if (known !== undefined) {
        this.#trace(`${text} again`);
        if (known !== id)
          this.#breach(`packet id ${messageId} of ${known}, which is not released, used for ${id}`);
        return;
      }
      this.#received.set(messageId!, id);
    } else if (qos === 1) {
      this.#answer({ cmd: 'puback', messageId: messageId! });
    }
    this.#trace(text);
    if (message === undefined) {
      if (id !== '') this.#breach(`a message that nobody sent: ${id}`);
      return;
    }
    if (message.topic !== topic) this.#breach(`${id} on topic ${topic}, sent to ${message.topic}`);
    history.deliveries.push({
      ...{ era: this.era!, connection: call.connection, message, qos: qos as 0 | 1 | 2 },
      ...{ isDup: packet.dup, isRetained: packet.retain, at: history.next(), ms: time.nowMs },
    });
  }

  #acknowledged(cmd: 'puback' | 'pubrec', packetId: number, code: number): void {
    const outgoing = this.outgoing.get(packetId);
    if (outgoing === undefined) {
      // Late, for a message that was finished: only PUBREC is answered.
      if (cmd === 'pubrec') this.#send({ cmd: 'pubrel', messageId: packetId });
      return;
    }
    const { message } = outgoing;
    const { history, time } = this.options;
    this.#trace(`${cmd} ${message.id}${code ? ` 0x${code.toString(16)}` : ''}`);
    if ((cmd === 'puback') !== (message.qos === 1))
      this.#breach(`${cmd} for ${message.id} of QoS ${message.qos}`);
    if (code >= 0x80) message.isRefused = true;
    else if (message.ackedAt === 0) {
      message.ackedAt = history.next();
      message.ackedMs = time.nowMs;
    }
    if (cmd === 'puback' || code >= 0x80) {
      this.outgoing.delete(packetId);
      return;
    }
    outgoing.isReceived = true;
    this.#send({ cmd: 'pubrel', messageId: packetId });
  }

  #granted(cmd: 'suback' | 'unsuback', packetId: number, codes: readonly number[]): void {
    const asked = this.#asked.get(packetId);
    this.#asked.delete(packetId);
    if (asked === undefined || cmd !== (asked.kind === 'subscribe' ? 'suback' : 'unsuback')) {
      this.#breach(`${cmd} ${packetId} that was not asked for`);
      return;
    }
    const { history, time } = this.options;
    const at = history.next();
    this.#trace(`${cmd} ${asked.records.map((one) => one.filter).join(' ')}`);
    for (const [index, record] of asked.records.entries()) {
      if (asked.kind === 'unsubscribe') {
        record.endAckedAt = Math.min(record.endAckedAt, at);
        record.endAckedMs = time.nowMs;
      } else if ((codes[index] ?? 0x80) >= 0x80) this.#breach(`SUBSCRIBE to ${record.filter} refused`);
      else {
        record.ackedAt = at;
        record.ackedMs = time.nowMs;
        this.#endReplaced(record, at);
      }
    }
  }

  #endReplaced(by: SubscriptionRecord, at: number): void {
    for (const one of this.era?.subscriptions ?? []) {
      if (one !== by && one.filter === by.filter && one.sentAt < by.sentAt) {
        one.endAckedAt = Math.min(one.endAckedAt, at);
        one.endAckedMs = this.options.time.nowMs;
      }
    }
  }

  #breach(what: string): void {
    const { history, time } = this.options;
    this.#trace(`BREACH ${what}`);
    history.breaches.push(`${time.sinceStartMs.toFixed(1)} ${this.id}: ${what}`);
  }

  #trace(line: string): void {
    const { history, trace } = this.options;
    history.note(line);
    trace(`${this.id} ${line}`);
  }
}
