// What clients did and saw in a run, as one append-only list of plain events: the only thing that the checker reads. The
// order of the list is the order in which one process did and saw things, and so says what was before what; `at` says how
// long before. A long run has millions of messages: the events of messages lie in columns of numbers (about 30 bytes
// each) and become objects when they are asked for; all others are kept as they were given.

import { closeSync, openSync, readSync, writeSync } from 'node:fs';

export type Qos = 0 | 1 | 2;

/** A session that never expires (the largest Session Expiry Interval of MQTT 5). */
export const NEVER_SEC = 0xffffffff;

interface Happened {
  /** performance.now() of the recording process. */
  at: number;
  client: string;
  /** Counts the CONNECTs of a client from 0, answered or not. */
  connection: number;
}

export interface WillTold {
  /** Of the run's messages: what the will's payload carries. */
  id: number;
  topic: string;
  qos: Qos;
  retain: boolean;
  delaySec: number;
}

export interface ConnectEvent extends Happened {
  kind: 'connect';
  port: number;
  version: 3 | 4 | 5;
  clean: boolean;
  /** Seconds that the session lives on: 0 for one that ends with its connection, NEVER_SEC for one without an end. */
  expirySec: number;
  will: WillTold | null;
}

export interface ConnackEvent extends Happened {
  kind: 'connack';
  /** At MQTT 3.1, which does not tell it, what the client has to take it for. */
  sessionPresent: boolean;
  /** 0 is success. */
  reason: number;
}

/** One filter per SUBSCRIBE, so that a number pairs it with its answer. */
export interface SubscribeEvent extends Happened {
  kind: 'subscribe';
  /** Pairs it with SUBACK; unique within a client. */
  number: number;
  filter: string;
  qos: Qos;
  noLocal: boolean;
  retainAsPublished: boolean;
  retainHandling: 0 | 1 | 2;
}

export interface SubackEvent extends Happened {
  kind: 'suback';
  number: number;
  /** Granted QoS, or 0x80 and above. */
  reason: number;
}

export interface UnsubscribeEvent extends Happened {
  kind: 'unsubscribe';
  number: number;
  filter: string;
}

export interface UnsubackEvent extends Happened {
  kind: 'unsuback';
  number: number;
  /** 0 before MQTT 5. */
  reason: number;
}

/** The first sending of a message; what is sent again on a later connection is `resent`. */
export interface PublishEvent extends Happened {
  kind: 'publish';
  /** From 1, unique in the run; what the payload carries. */
  id: number;
  topic: string;
  qos: Qos;
  retain: boolean;
  /** An empty payload: it clears a retained value, and carries no id to those who get it. */
  isEmpty: boolean;
  /** 0 for none. */
  expirySec: number;
}

export interface ResentEvent extends Happened {
  kind: 'resent';
  id: number;
}

/** PUBACK or PUBREC; from 0x80 on the broker did not take the message. */
export interface AckedEvent extends Happened {
  kind: 'acked';
  id: number;
  reason: number;
}

/** The publisher gave a message up, which it sent and which was not acknowledged: its session was lost. */
export interface GaveUpEvent extends Happened {
  kind: 'gaveup';
  id: number;
}

/** A PUBLISH that was given to the application: not one with the packet id of a QoS 2 flow that is not released yet. */
export interface DeliverEvent extends Happened {
  kind: 'deliver';
  /** 0 for an empty payload. */
  id: number;
  topic: string;
  qos: Qos;
  retain: boolean;
  dup: boolean;
  /** 0 at QoS 0. */
  packetId: number;
}

export interface DisconnectEvent extends Happened {
  kind: 'disconnect';
  /** 0 drops the will, 4 publishes it. */
  reason: number;
  /** A new session expiry in DISCONNECT, or null. */
  expirySec: number | null;
}

/** The end of a connection as its client knows it. */
export interface ClosedEvent extends Happened {
  kind: 'closed';
  /** Reason code of a DISCONNECT from the broker, or null. */
  reason: number | null;
  /** by: who ended it. A connection that was walked away from is `left` then, and `broker` when it is closed. */
  by: 'client' | 'broker' | 'left';
}

/**
 * The run is over for this client: nothing more is published, all that was published is acknowledged or given up, it is
 * connected, has acknowledged what it got, and nothing came for a while. Only of such clients is "never" said.
 */
export interface RestEvent extends Happened {
  kind: 'rest';
}

export interface FaultEvent {
  kind: 'fault';
  at: number;
  /** For people. */
  what: string;
  /** `moment` has no length; `end` names the same `what` as its `begin`. */
  phase: 'begin' | 'end' | 'moment';
  /** recorder: the clients' own process did not run. */
  scope: 'node' | 'store' | 'network' | 'clock' | 'recorder';
  /** The MQTT port of the one node that it concerns; null for all. */
  port: number | null;
  /** What was committed after this (performance.now()) may be gone again; null for nothing. */
  lossFrom: number | null;
}

export type HistoryEvent =
  | ConnectEvent
  | ConnackEvent
  | SubscribeEvent
  | SubackEvent
  | UnsubscribeEvent
  | UnsubackEvent
  | PublishEvent
  | ResentEvent
  | AckedEvent
  | GaveUpEvent
  | DeliverEvent
  | DisconnectEvent
  | ClosedEvent
  | RestEvent
  | FaultEvent;

const KIND_OTHER = 0;
const KIND_PUBLISH = 1;
const KIND_RESENT = 2;
const KIND_ACKED = 3;
const KIND_DELIVER = 4;

const BLOCK_SHIFT = 16;
const BLOCK_MASK = (1 << BLOCK_SHIFT) - 1;

const FLAG_RETAIN = 4;
const FLAG_DUP = 8;
const FLAG_EMPTY = 16;

/** 65,536 events in columns; what a column means depends on the kind. */
class Block {
  readonly kind = new Uint8Array(1 << BLOCK_SHIFT);
  readonly at = new Float64Array(1 << BLOCK_SHIFT);
  readonly client = new Uint16Array(1 << BLOCK_SHIFT);
  readonly connection = new Uint32Array(1 << BLOCK_SHIFT);
  readonly id = new Uint32Array(1 << BLOCK_SHIFT);
  readonly topic = new Uint32Array(1 << BLOCK_SHIFT);
  readonly flags = new Uint8Array(1 << BLOCK_SHIFT);
  /** Packet id, reason code or expiry. */
  readonly number = new Uint32Array(1 << BLOCK_SHIFT);
}

/** Numbers for strings that come again and again. */
class Names {
  readonly list: string[] = [];
  readonly #numbers = new Map<string, number>();

  numberOf(name: string): number {
    let number = this.#numbers.get(name);
    if (number === undefined) {
      number = this.list.push(name) - 1;
      this.#numbers.set(name, number);
    }
    return number;
  }
}

export class History {
  readonly #blocks: Block[] = [];
  readonly #others: HistoryEvent[] = [];
  readonly #clients = new Names();
  readonly #topics = new Names();
  #length = 0;
  #lastId = 0;

  /** The id for the next message, from 1. */
  nextId(): number {
    return ++this.#lastId;
  }

  /** Number of events. */
  get length(): number {
    return this.#length;
  }

  add(event: HistoryEvent): void {
    const at = this.#length & BLOCK_MASK;
    if (at === 0) this.#blocks.push(new Block());
    const block = this.#blocks.at(-1)!;
    this.#length++;
    block.at[at] = event.at;
    switch (event.kind) {
      case 'publish': {
        const { qos, retain, isEmpty } = event;
        this.#put(block, at, KIND_PUBLISH, event);
        block.topic[at] = this.#topics.numberOf(event.topic);
        block.flags[at] = qos | (retain ? FLAG_RETAIN : 0) | (isEmpty ? FLAG_EMPTY : 0);
        block.number[at] = event.expirySec;
        break;
      }
      case 'deliver': {
        const { qos, retain, dup } = event;
        this.#put(block, at, KIND_DELIVER, event);
        block.topic[at] = this.#topics.numberOf(event.topic);
        block.flags[at] = qos | (retain ? FLAG_RETAIN : 0) | (dup ? FLAG_DUP : 0);
        block.number[at] = event.packetId;
        break;
      }
      case 'resent':
        this.#put(block, at, KIND_RESENT, event);
        break;
      case 'acked':
        this.#put(block, at, KIND_ACKED, event);
        block.number[at] = event.reason;
        break;
      default:
        block.kind[at] = KIND_OTHER;
        block.id[at] = this.#others.push(event) - 1;
    }
  }

  #put(
    block: Block,
    at: number,
    kind: number,
    event: PublishEvent | DeliverEvent | ResentEvent | AckedEvent,
  ): void {
    block.kind[at] = kind;
    block.client[at] = this.#clients.numberOf(event.client);
    block.connection[at] = event.connection;
    block.id[at] = event.id;
  }

  /** The event at `index`, from 0. Throws where there is none. */
  event(index: number): HistoryEvent {
    if (index < 0 || index >= this.#length) throw new RangeError(`no event ${index}`);
    const block = this.#blocks[index >> BLOCK_SHIFT]!;
    const slot = index & BLOCK_MASK;
    const kind = block.kind[slot]!;
    const id = block.id[slot]!;
    if (kind === KIND_OTHER) return this.#others[id]!;
    const at = block.at[slot]!;
    const client = this.#clients.list[block.client[slot]!]!;
    const connection = block.connection[slot]!;
    const number = block.number[slot]!;
    if (kind === KIND_RESENT) return { kind: 'resent', at, client, connection, id };
    if (kind === KIND_ACKED) return { kind: 'acked', at, client, connection, id, reason: number };
    const flags = block.flags[slot]!;
    const topic = this.#topics.list[block.topic[slot]!]!;
    const qos = (flags & 3) as Qos;
    const retain = (flags & FLAG_RETAIN) !== 0;
    if (kind === KIND_PUBLISH) {
      const isEmpty = (flags & FLAG_EMPTY) !== 0;
      return { kind: 'publish', at, client, connection, id, topic, qos, retain, isEmpty, expirySec: number };
    }
    const dup = (flags & FLAG_DUP) !== 0;
    return { kind: 'deliver', at, client, connection, id, topic, qos, retain, dup, packetId: number };
  }

  *[Symbol.iterator](): IterableIterator<HistoryEvent> {
    for (let index = 0; index < this.#length; index++) yield this.event(index);
  }

  /** Writes one line of JSON per event. */
  write(path: string): void {
    const file = openSync(path, 'w');
    let text = '';
    for (const event of this) {
      text += `${JSON.stringify(event)}\n`;
      if (text.length > 1 << 20) {
        writeSync(file, text);
        text = '';
      }
    }
    writeSync(file, text);
    closeSync(file);
  }

  /** Reads what `write` wrote. Throws on a line that is no JSON. */
  static read(path: string): History {
    const history = new History();
    const file = openSync(path, 'r');
    const chunk = Buffer.alloc(1 << 20);
    const decoder = new TextDecoder();
    let rest = '';
    for (let bytes = readSync(file, chunk); bytes > 0; bytes = readSync(file, chunk)) {
      const lines = (rest + decoder.decode(chunk.subarray(0, bytes), { stream: true })).split('\n');
      rest = lines.pop()!;
      for (const line of lines) history.add(JSON.parse(line) as HistoryEvent);
    }
    closeSync(file);
    return history;
  }
}
