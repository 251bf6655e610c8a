// The operations of the delivery path. Each is a plain object that the delivery path fills in, hands to
// Store.submit() and is told of by complete(); no promise stands behind one. The store owns when and with what others
// an operation travels: operations with the same receiver run in the order of their submission, at most one call
// for a receiver is under way, and a call that was cut off or refused for a passing reason (LOADING, MOVED, full
// memory) is repeated by the store at the head of the receiver's list. So an operation may run twice, and each is
// written to be harmless then.

import type { Reception, Receptions } from './receptions.ts';

/** Who holds a session: the node process (its incarnation) and the claim's number. Compared for equality. */
export interface Owner {
  readonly incarnation: string;
  readonly epoch: number;
}

/** The mark by which a repetition of a QoS 2 message (or a will) is known: the highest `mid` of `key` wins. */
export interface Mark {
  /** Publisher's client id and slot, as made by `markKey` of records.ts. */
  readonly key: string;
  readonly mid: number;
}

export type OperationKind =
  | 'enqueue'
  | 'ack'
  | 'record-inbound'
  | 'forget-inbound'
  | 'pull'
  | 'inbox'
  | 'retain'
  | 'store-payload'
  | 'finish-payload'
  | 'claim'
  | 'control';

export abstract class Operation {
  abstract readonly kind: OperationKind;
  /** The list this operation stands in: see receiverOf* below. */
  readonly receiver: string;
  /** Set with 'closed' when the store was closed before an answer came; then the results mean nothing. */
  failed = false;

  constructor(receiver: string) {
    this.receiver = receiver;
  }

  /**
   * Set by complete() to have the operation, as changed by it, run again at the head of its receiver's list, before
   * anything that was submitted later: a refused write keeps its place. Ignored when `failed`.
   */
  again = false;
  /** One of very many that belong to one message: others do not wait for them. Its receiver's order holds. */
  isBulk = false;
  /** Nobody waits for its result, so the store may keep it for a few milliseconds, to go with others. */
  isPatient = false;
  /** It had been sent and no answer came: what is answered now may be what its own first run has done. */
  isRepeated = false;
  /** With `again`: only after a few milliseconds, because what it waits for (the route log) is not there yet. */
  againLater = false;

  /** Called by the store once, when the operation leaves for the store the first time. What is collected is fixed now. */
  seal(): void {}

  /** False when nobody waits for the result any more: the store may then drop it instead of repeating it. */
  isWanted(): boolean {
    return true;
  }

  /** Called by the store once per run, when the result fields are set and, as configured, the write is durable. */
  abstract complete(): void;
}

let lastClientId = '';
let lastReceiver = 's';

/** Messages come in bursts: that of the last client is remembered, and with it its hash. */
export function sessionReceiver(clientId: string): string {
  if (clientId === lastClientId) return lastReceiver;
  lastClientId = clientId;
  lastReceiver = `s${clientId}`;
  return lastReceiver;
}

export const inboxReceiver = (incarnation: string): string => `n${incarnation}`;
export const retainedReceiver = (topic: string): string => `r${topic}`;
export const payloadReceiver = (payloadId: string): string => `p${payloadId}`;

/**
 * Appends one message to one session's queue.
 * Refused ('gone') when the session has another life or none; ('stale') when `version` is below the session's `cut`:
 * the caller reads the log to `cut` and matches again. 'duplicate' when `mark` is not above the session's mark of that
 * key. 'rejected' when the queue is full and the policy is to reject. With the policy drop-oldest, `dropped` counts
 * messages removed to make room; nothing that may have been sent (the window from the head) is ever removed.
 */
export abstract class EnqueueOperation extends Operation {
  readonly kind = 'enqueue';
  readonly clientId: string;
  life: number;
  /** Log version at which the message was matched. */
  version: number;
  /** Encoded by records.encodeEntryHeader; the entry stored is header followed by body. */
  header: Buffer;
  /** Message body (shared by the operations of one fan-out), or the payload reference. */
  readonly body: Buffer;
  readonly mark: Mark | null;
  /** The topic, when the message carried the retain flag: a reading of retained messages under way notes it. */
  readonly notedTopic: string | null;

  status: 'queued' | 'duplicate' | 'gone' | 'stale' | 'rejected' = 'gone';
  seq = 0;
  /** Present owner, '' when nobody holds the session. */
  owner = '';
  cut = 0;
  dropped = 0;
  /**
   * It comes by a shared subscription. Its mark stands apart from the session's own and outlives the session: 'duplicate'
   * is answered for an ended life too, and not 'gone', when that life had taken the message. The queue is left to the
   * other members when the session ends (Store.readOrphans).
   */
  isOfGroup = false;
  /** Of such a message: entries of the queue that are not done, this one included. */
  waiting = 0;
  /**
   * Incarnation of the node that submits it, '' where its owner is not to be told by the store. A store may put a message
   * that it queues into the inbox of another owner in the same step (inbox-run.ts): then `isPushed`.
   */
  by = '';
  /** The owner's inbox has it, or is gone. */
  isPushed = false;

  constructor(
    clientId: string,
    life: number,
    version: number,
    header: Buffer,
    body: Buffer,
    mark: Mark | null,
    notedTopic: string | null,
  ) {
    super(sessionReceiver(clientId));
    this.clientId = clientId;
    this.life = life;
    this.version = version;
    this.header = header;
    this.body = body;
    this.mark = mark;
    this.notedTopic = notedTopic;
  }
}

/** Whether each seq is the one behind the one before, as most are acknowledged. */
export function isRow(seqs: readonly number[]): boolean {
  for (let index = 1; index < seqs.length; index++) if (seqs[index] !== seqs[index - 1]! + 1) return false;
  return true;
}

/**
 * What the owner's client acknowledged since the last one of these: entries that are done are removed, those whose
 * PUBREC was seen are read as the PUBREL marker from now on (QoS 2), and the head moves to `head` if that is higher.
 * Refused ('fenced') for anyone but the present owner. A head beyond the tail (the store has lost that) moves nothing.
 * Filled until seal(); one stands per session at a time.
 */
export abstract class AckOperation extends Operation {
  readonly kind = 'ack';
  readonly clientId: string;
  readonly owner: Owner;
  /** Oldest seq that is not done. */
  head = 0;
  readonly done: number[] = [];
  readonly released: number[] = [];
  /** By how many bytes the queue gets smaller: those of `done`, and of `released` without their markers. */
  bytes = 0;
  /**
   * How the messages of `done`, all from the oldest to `head`, lie in the queue, where the owner knows it: the first seq of
   * the value that the oldest is in, then of each value its number of messages and its bytes. A store may look by itself.
   */
  fields: readonly number[] | null = null;
  /**
   * The same of `released`, where those are in a row: the first seq of the value that the first one is in, the bytes of
   * `bytes` that are theirs, then of each value its number of messages and its bytes. Only with it do `fields` count
   * where some are released.
   */
  releasedFields: readonly number[] | null = null;

  status: 'ok' | 'fenced' = 'fenced';
  tail = 0;

  constructor(clientId: string, owner: Owner) {
    super(sessionReceiver(clientId));
    this.clientId = clientId;
    this.owner = owner;
  }
}

/**
 * Records a QoS 2 reception before any enqueue: its `mid` becomes max(last mid + 1, store time in microseconds). One that
 * has a mid is recorded already, and its choices become what they are now. A repetition of the call whose answer was
 * lost gives another mid; nothing was queued under the one before.
 */
export abstract class RecordInboundOperation extends Operation {
  readonly kind = 'record-inbound';
  readonly clientId: string;
  readonly owner: Owner;
  /** All receptions of the session: claimed and added since by the same owner. A store may write others of them again. */
  readonly receptions: Receptions;
  readonly reception: Reception;
  status: 'ok' | 'fenced' = 'fenced';

  constructor(clientId: string, owner: Owner, receptions: Receptions, reception: Reception) {
    super(sessionReceiver(clientId));
    this.clientId = clientId;
    this.owner = owner;
    this.receptions = receptions;
    this.reception = reception;
  }
}

/** Removes the record of a QoS 2 reception that is over. Removing an absent one succeeds. */
export abstract class ForgetInboundOperation extends Operation {
  readonly kind = 'forget-inbound';
  readonly clientId: string;
  readonly owner: Owner;
  readonly receptions: Receptions;
  readonly reception: Reception;
  status: 'ok' | 'fenced' = 'fenced';

  constructor(clientId: string, owner: Owner, receptions: Receptions, reception: Reception) {
    super(sessionReceiver(clientId));
    this.clientId = clientId;
    this.owner = owner;
    this.receptions = receptions;
    this.reception = reception;
  }
}

/**
 * Reads the queue from `from` on: at most `count` seqs and about `maxBytes` bytes. `entries[i]` belongs to seq
 * `first + i`, null where there is none (a hole). `first` is `from`, or where a recorded hole ends. `tail` is the highest
 * seq given out, by which the owner knows whether more waits.
 */
export abstract class PullOperation extends Operation {
  readonly kind = 'pull';
  readonly clientId: string;
  readonly owner: Owner;
  readonly from: number;
  readonly count: number;
  readonly maxBytes: number;

  status: 'ok' | 'fenced' = 'fenced';
  first = 0;
  entries: (Buffer | null)[] = [];
  tail = 0;

  constructor(clientId: string, owner: Owner, from: number, count: number, maxBytes: number) {
    super(sessionReceiver(clientId));
    this.clientId = clientId;
    this.owner = owner;
    this.from = from;
    this.count = count;
    this.maxBytes = maxBytes;
  }
}

/** Adds one entry (many messages, encoded by cluster/inbox-codec.ts at seal()) to a node's inbox, unless that is gone. */
export abstract class InboxOperation extends Operation {
  readonly kind = 'inbox';
  readonly incarnation: string;
  status: 'ok' | 'gone' = 'gone';

  constructor(incarnation: string) {
    super(inboxReceiver(incarnation));
    this.incarnation = incarnation;
  }

  /** The bytes to add; asked for after seal(), again for each repetition. */
  abstract payload(): Buffer;
}

/** Who wrote a retained value at QoS 1, by which an older write of the same client is known. */
export interface RetainedWriter {
  readonly clientId: string;
  readonly epoch: number;
  /** Number of the PUBLISH on its connection. */
  readonly number: number;
}

/**
 * Writes or (empty payload) clears the retained message of a topic. 'older': a newer write of the same writer, or of the
 * same mark, stands there; counts as done, whenever it was matched. 'stale': `version` is below the shard's fence, given
 * back in `fence`.
 * 'full': the limit of retained messages or bytes is reached and the topic is new (or grows).
 */
export abstract class RetainOperation extends Operation {
  readonly kind = 'retain';
  readonly topic: string;
  /** Record as of records.encodeRetained, or null to clear. */
  readonly record: Buffer | null;
  /** Store time in ms from which the record counts as absent; 0 never. */
  readonly expiresAt: number;
  version: number;
  readonly writer: RetainedWriter | null;
  readonly mark: Mark | null;

  status: 'ok' | 'older' | 'stale' | 'full' = 'ok';
  fence = 0;

  constructor(
    topic: string,
    record: Buffer | null,
    expiresAt: number,
    version: number,
    writer: RetainedWriter | null,
    mark: Mark | null,
  ) {
    super(retainedReceiver(topic));
    this.topic = topic;
    this.record = record;
    this.expiresAt = expiresAt;
    this.version = version;
    this.writer = writer;
    this.mark = mark;
  }
}

/** Stores a body once for `receivers` queue entries that refer to it, until all are done or `expiresAt` (store ms) passed. */
export abstract class StorePayloadOperation extends Operation {
  readonly kind = 'store-payload';
  readonly payloadId: string;
  readonly body: Buffer;
  readonly receivers: number;
  readonly expiresAt: number;

  constructor(payloadId: string, body: Buffer, receivers: number, expiresAt: number) {
    super(payloadReceiver(payloadId));
    this.payloadId = payloadId;
    this.body = body;
    this.receivers = receivers;
    this.expiresAt = expiresAt;
  }
}

/** Marks the given receivers' entries of a shared payload as done; the last one frees it. Repeating it changes nothing. */
export abstract class FinishPayloadOperation extends Operation {
  readonly kind = 'finish-payload';
  readonly payloadId: string;
  readonly indexes: number[];

  constructor(payloadId: string, indexes: number[]) {
    super(payloadReceiver(payloadId));
    this.payloadId = payloadId;
    this.indexes = indexes;
  }
}
