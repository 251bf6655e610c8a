// What the contract suite asks of a store under test: a world in which several nodes stand on one data set, time can
// pass, and the store can be restarted. And the tools of its cases: operations as promises, nodes that record what they
// are told, names that break careless key building. Knows nothing of either implementation.

import type { Test } from 'tap';
import { decodeRun, INBOX_VERSION, KIND_RUN } from '../../src/store/inbox-run.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import {
  AckOperation,
  EnqueueOperation,
  FinishPayloadOperation,
  ForgetInboundOperation,
  InboxOperation,
  type Mark,
  type Operation,
  type Owner,
  PullOperation,
  RecordInboundOperation,
  type RetainedWriter,
  RetainOperation,
  StorePayloadOperation,
} from '../../src/store/operations.ts';
import type { InboundRecord, Receptions } from '../../src/store/receptions.ts';
import { bodyOffset, encodeEntryHeader, encodeRetained } from '../../src/store/records.ts';
import type {
  ClaimedSession,
  ClaimRequest,
  LogEntry,
  Store,
  StoredWill,
  StoreEvents,
} from '../../src/store/store.ts';
import { entriesOf } from '../helpers/run-entries.ts';

export interface ContractWorld {
  /** A further node's store on the same data, opened. Closed at teardown. */
  connect(events: StoreEvents): Promise<Store>;
  /** Lets `ms` of the store's time pass: a step of an injected clock, or waiting. */
  pass(ms: number): Promise<void>;
  /** Ends the store and starts it on the same data; stores made before are closed, `connect` gives new ones. */
  restart(): Promise<void>;
}

export type OpenWorld = (t: Test, limits: Partial<StoreLimits>) => Promise<ContractWorld>;

/** Limits of a world where a case names none. */
export const DEFAULT_LIMITS: StoreLimits = {
  maxQueuedMessages: 100_000,
  maxQueuedBytes: 256_000_000,
  queueFullPolicy: 'drop-oldest',
  windowMax: 128,
  maxRetainedMessages: 100_000,
  maxRetainedBytes: 256_000_000,
  maxInboxBytes: 16_000_000,
  markLifeMs: 86_400_000,
};

/** Matched at the newest version there can be: never stale. */
export const NEWEST = Number.MAX_SAFE_INTEGER;
const EMPTY = Buffer.alloc(0);

const FIELDS = {
  ...{ retain: false, expiresAt: 0, ownExpiry: false, reference: false, copy: false, subscriptionIds: null },
};
export const HEADER = encodeEntryHeader({ qos: 1, ...FIELDS });
const HEADER_2 = encodeEntryHeader({ qos: 2, ...FIELDS });

/** Names that a client may choose and that break keys, patterns, JSON or prototypes handled without care. */
export const ODD_NAMES = [
  '__proto__',
  'constructor',
  '{x}',
  '{',
  '}{',
  '*[?]\\',
  'a:b',
  ':',
  '0',
  ' ',
  '\'"`;--\r\n',
  '\u0001\u001f',
  'größe/日本/🙂',
  '\uffff\ud83d\ude42',
  'x'.repeat(65_535),
];

/** A node of the world: its store, and what it was told. */
export class ContractNode implements StoreEvents {
  store!: Store;
  incarnation = '';
  readonly inbox: string[] = [];
  /** Of what the store put into it by itself: one line for each message. */
  readonly pushed: string[] = [];
  readonly log: LogEntry[] = [];
  readonly availability: boolean[] = [];
  /** What was said with each of them. */
  readonly reasons: string[] = [];
  gaps = 0;
  histories = 0;

  onInbox(payloads: readonly Buffer[]): void {
    for (const payload of payloads) {
      if (payload[0] === INBOX_VERSION) this.#takeRuns(payload);
      else this.inbox.push(payload.toString());
    }
  }
  #takeRuns(payload: Buffer): void {
    for (let at = 1; at < payload.length; ) {
      if (payload[at] !== KIND_RUN) throw new Error(`item of kind ${payload[at]} from a store`);
      const run = decodeRun(payload, at + 1);
      const { clientId, life, first, end } = run;
      entriesOf(run).forEach((entry, index) => {
        const body = entry.subarray(bodyOffset(entry, 0, entry.length));
        this.pushed.push(`${clientId} ${life} ${first + index} ${body}`);
      });
      at = end;
    }
  }
  onInboxGap(): void {
    this.gaps++;
  }
  onLog(entries: readonly LogEntry[]): void {
    this.log.push(...entries);
  }
  onAvailability(available: boolean, reason: string): void {
    this.availability.push(available);
    this.reasons.push(reason);
  }
  onHistory(): void {
    this.histories++;
  }

  /** Claims `clientId` for this node; fails unless it is granted. */
  async claim(clientId: string, request: Partial<ClaimRequest> = {}): Promise<ClaimedSession> {
    const result = await this.store.claim({
      clientId,
      incarnation: this.incarnation,
      cleanStart: false,
      expirySec: 3600,
      will: null,
      leases: [],
      epochSeen: 0,
      waitedMs: () => 0,
      ...request,
    });
    if (result.status !== 'claimed') throw new Error(`claim of ${clientId}: ${result.status}`);
    return result;
  }

  owner(session: ClaimedSession): Owner {
    return { incarnation: this.incarnation, epoch: session.epoch };
  }

  /** Enqueues `count` messages, submitted in one go; resolves with the operations when all are complete. */
  enqueueMany(clientId: string, life: number, count: number, from = 0): Promise<Enqueue[]> {
    const operations: Promise<Enqueue>[] = [];
    for (let at = from; at < from + count; at++) {
      operations.push(run(this.store, new Enqueue(clientId, life, `m${at}`)));
    }
    return Promise.all(operations);
  }

  enqueue(clientId: string, life: number, text: string, options: EnqueueOptions = {}): Promise<Enqueue> {
    return run(this.store, new Enqueue(clientId, life, text, options));
  }

  pull(clientId: string, owner: Owner, from: number, count = 1000, maxBytes = 1_000_000_000): Promise<Pull> {
    return run(this.store, new Pull(clientId, owner, from, count, maxBytes));
  }

  ack(
    clientId: string,
    owner: Owner,
    head: number,
    done: readonly number[],
    released: readonly number[] = [],
    bytes = 0,
    fields: readonly number[] | null = null,
    releasedFields: readonly number[] | null = null,
  ): Promise<Ack> {
    const ack = new Ack(clientId, owner);
    ack.fields = fields;
    ack.releasedFields = releasedFields;
    ack.bytes = bytes;
    ack.head = head;
    ack.done.push(...done);
    ack.released.push(...released);
    return run(this.store, ack);
  }

  /** Records it, or other choices of one that is known. */
  recordInbound(
    clientId: string,
    owner: Owner,
    receptions: Receptions,
    packetId: number,
    choices = '',
  ): Promise<RecordInbound> {
    const reception = receptions.get(packetId) ?? receptions.add(packetId, choices);
    reception.choices = choices;
    return run(this.store, new RecordInbound(clientId, owner, receptions, reception));
  }

  async forgetInbound(
    clientId: string,
    owner: Owner,
    receptions: Receptions,
    packetId: number,
  ): Promise<ForgetInbound> {
    const reception = receptions.get(packetId) ?? receptions.add(packetId, '');
    reception.state = 'over';
    const forget = await run(this.store, new ForgetInbound(clientId, owner, receptions, reception));
    receptions.remove(reception);
    return forget;
  }

  retain(topic: string, text: string | null, options: RetainOptions = {}): Promise<Retain> {
    return run(this.store, new Retain(topic, text, options));
  }

  sendInbox(incarnation: string, text: string): Promise<Inbox> {
    return run(this.store, new Inbox(incarnation, text));
  }

  /** All retained messages that match, page after page; the texts by topic. */
  async readRetained(filter: string, limit = 100, version = 0): Promise<{ topics: string[]; pages: number }> {
    const topics: string[] = [];
    let cursor: string | null = '';
    let pages = 0;
    while (cursor !== null) {
      const page = await this.store.readRetained(filter, cursor, limit, version);
      if (page.records.length > limit) throw new Error(`a page of ${page.records.length} for ${limit}`);
      for (const { topic } of page.records) topics.push(topic);
      cursor = page.cursor;
      if (++pages > 100_000) throw new Error('the reading does not end');
    }
    return { topics, pages };
  }
}

let nodeCount = 0;

/** A node that is registered. */
export async function makeNode(world: ContractWorld, leaseMs = 60_000): Promise<ContractNode> {
  const node = new ContractNode();
  node.store = await world.connect(node);
  node.incarnation = `i${++nodeCount}-${process.pid}`;
  await node.store.register(node.incarnation, `node${nodeCount}`, leaseMs);
  return node;
}

/** Submits and resolves when the store completes it. Rejects when it failed. */
export function run<T extends Operation & Settled>(store: Store, operation: T): Promise<T> {
  return new Promise((resolve, reject) => {
    operation.settle = () =>
      operation.failed ? reject(new Error(`${operation.kind} failed`)) : resolve(operation);
    store.submit(operation);
  });
}

export interface Settled {
  settle: () => void;
}
const nothing = (): void => {};

export interface EnqueueOptions {
  version?: number;
  mark?: Mark | null;
  notedTopic?: string | null;
  /** By a shared subscription. */
  isOfGroup?: boolean;
  by?: string;
  /** Granted; default 1. */
  qos?: 1 | 2;
}

export class Enqueue extends EnqueueOperation implements Settled {
  settle = nothing;
  constructor(clientId: string, life: number, text: string, options: EnqueueOptions = {}) {
    const { version = NEWEST, mark = null, notedTopic = null } = options;
    super(
      clientId,
      life,
      version,
      options.qos === 2 ? HEADER_2 : HEADER,
      Buffer.from(text),
      mark,
      notedTopic,
    );
    this.isOfGroup = options.isOfGroup ?? false;
    this.by = options.by ?? '';
  }
  complete(): void {
    this.settle();
  }
}

export class Ack extends AckOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
}

export class RecordInbound extends RecordInboundOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
}

export class ForgetInbound extends ForgetInboundOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
}

export class Pull extends PullOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
  /** Texts of the entries behind HEADER, null for holes. */
  get texts(): (string | null)[] {
    return this.entries.map((entry) => (entry === null ? null : entry.subarray(HEADER.length).toString()));
  }
}

export class Inbox extends InboxOperation implements Settled {
  settle = nothing;
  readonly text: string;
  constructor(incarnation: string, text: string) {
    super(incarnation);
    this.text = text;
  }
  payload(): Buffer {
    return Buffer.from(this.text);
  }
  complete(): void {
    this.settle();
  }
}

export interface RetainOptions {
  version?: number;
  expiresAt?: number;
  writer?: RetainedWriter | null;
  mark?: Mark | null;
}

export class Retain extends RetainOperation implements Settled {
  settle = nothing;
  /** `text` null clears. */
  constructor(topic: string, text: string | null, options: RetainOptions = {}) {
    const { version = NEWEST, expiresAt = 0, writer = null, mark = null } = options;
    super(topic, text === null ? null : retainedRecord(text, expiresAt), expiresAt, version, writer, mark);
  }
  complete(): void {
    this.settle();
  }
}

export const retainedRecord = (text: string, expiresAt = 0): Buffer =>
  encodeRetained({ qos: 1, expiresAt, ownExpiry: false, publisher: 'p', body: Buffer.from(text) });

export class StorePayload extends StorePayloadOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
}

export class FinishPayload extends FinishPayloadOperation implements Settled {
  settle = nothing;
  complete(): void {
    this.settle();
  }
}

export const willOf = (text: string, delaySec = 0): StoredWill => ({
  qos: 1,
  retain: false,
  delaySec,
  body: text === '' ? EMPTY : Buffer.from(text),
});

/** As plain objects, by packet identifier. */
export function sortedRecords(records: readonly InboundRecord[]): InboundRecord[] {
  return records
    .map(({ packetId, slot, mid, choices }) => ({ packetId, slot, mid, choices }))
    .sort((one, other) => one.packetId - other.packetId);
}
