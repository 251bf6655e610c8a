// One call of commit-sessions.lua: what is in line for up to 32 sessions. Each session's operations become parts in the
// order of their submission, consecutive messages of the same life and version one part. Writing and reading the reply
// walk over the same parts; both are hot and make no object per message.

import { Buffer } from 'node:buffer';
import type { Clock } from '../../util/clock.ts';
import { encodeLengths, encodeRunHead } from '../inbox-run.ts';
import type { StoreLimits } from '../limits.ts';
import type {
  AckOperation,
  EnqueueOperation,
  ForgetInboundOperation,
  Operation,
  PullOperation,
  RecordInboundOperation,
} from '../operations.ts';
import { type Call, NONE_STAYING, type Settled } from './call.ts';
import { bucketOf, type Keyspace } from './keyspace.ts';
import { writeMarks } from './mark-runs.ts';
import { PART_ENQUEUE, type Part, writeOwned } from './owner-parts.ts';
import { PackedNumbers } from './packed-numbers.ts';
import type { ReceiverList } from './receiver-list.ts';
import { ReceptionChanges } from './reception-changes.ts';
import { asList, asText, type CommandWriter, encodeArguments, type Reply } from './resp.ts';
import { defineScript } from './script.ts';

const COMMIT_SESSIONS = defineScript('commit-sessions', ['counts'], ['history']);

/** Sessions of one call. */
export const SESSIONS_OF_CALL = 32;
/**
 * What a session adds to the cost of a batch beside its messages. Heavier than its work, so that a fan-out goes in batches
 * of a millisecond or two, between which others' messages go.
 */
const COST_OF_SESSION = 16;
/** Operations of one session in one call, so that a busy session does not make a batch long. */
const OPERATIONS_OF_SESSION = 512;
const BYTES_OF_SESSION = 1 << 20;
/** Bodies from this size on are written once for all sessions of a call that get the same. */
const SHARED_BYTES = 32;
/** What a call puts into inboxes at most: a larger one would keep its readers busy for too long. */
const PUSHED_BYTES = 256 * 1024;
/** Entries of a run at most, and their bytes: one is read as a whole. As queue-runs.lua knows them. */
const RUN_MESSAGES = 32;
const RUN_BYTES = 4096;

const SHAPE_SHARED = 1;
const SHAPE_MARKED = 2;
const SHAPE_OF_GROUP = 4;
const SHAPE_NOTED = 8;
/** To be acknowledged: several that come together lie in the queue as runs (queue-runs.lua). */
const SHAPE_RUN = 16;
const FLAG_MARKS = 1;
const FLAG_INBOUND = 2;
const FLAG_GROUP_MARKS = 4;

const NO_HEAD = Buffer.alloc(0);

/** The numbers of the call that is being written. */
const numbers = new PackedNumbers();

type OwnedOperation = AckOperation | PullOperation | RecordInboundOperation | ForgetInboundOperation;

class Session {
  readonly list: ReceiverList;
  readonly clientId: string;
  readonly parts: Part[] = [];
  receptions: ReceptionChanges | null = null;
  count = 0;
  flags = 0;
  /** The owner that the call expects. */
  owner: string;
  /**
   * Its number among the nodes of the call if that tells it: messages of no special shape, and those with a mark alone, go
   * into its inbox as well.
   */
  node = 0;

  constructor(list: ReceiverList, clientId: string) {
    this.list = list;
    this.clientId = clientId;
    this.owner = list.owner;
  }
}

export interface SessionCallOptions {
  readonly keyspace: Keyspace;
  readonly limits: StoreLimits;
  readonly clock: Clock;
  /** Inboxes lie on the same server as the sessions: a call can write both. */
  readonly pushes: boolean;
  /** What is written is complete: nothing is waited for behind a call, after which a marked message would be sent on. */
  readonly pushesMarked: boolean;
}

export const isSessionOperation = (operation: Operation): boolean => {
  const kind = operation.kind;
  return (
    kind === 'enqueue' ||
    kind === 'ack' ||
    kind === 'pull' ||
    kind === 'record-inbound' ||
    kind === 'forget-inbound'
  );
};

export class SessionCall implements Call {
  readonly lists: ReceiverList[] = [];
  readonly slot: number;
  readonly #options: SessionCallOptions;
  readonly #sessions: Session[] = [];
  /** Incarnations of the owners that are told by the call. */
  readonly #nodes: string[] = [];
  /** Incarnations of those for whom the call acknowledges, pulls, records and forgets: one, but for a node's new one. */
  readonly #owners: string[] = [];
  #pushedBytes = 0;
  /** Bodies that several messages of this call share, with their numbers; null when nobody looked for any. */
  readonly #bodies: Map<Buffer, number> | null;
  /** Messages and sessions, weighed as what they cost Redis. */
  cost = 0;
  bytes = 0;

  constructor(slot: number, options: SessionCallOptions, looksForShared: boolean) {
    this.slot = slot;
    this.#options = options;
    this.#bodies = looksForShared ? new Map() : null;
  }

  get isFull(): boolean {
    return this.#sessions.length === SESSIONS_OF_CALL;
  }

  /** Takes the head of a list: all operations up to one that needs a script of its own, within bounds. */
  add(list: ReceiverList): void {
    const operations = list.operations;
    const session = new Session(list, (operations[0] as AckOperation).clientId);
    const most = Math.min(operations.length, OPERATIONS_OF_SESSION);
    let bytes = 0;
    let index = 0;
    while (index < most && bytes < BYTES_OF_SESSION) {
      const operation = operations[index] as Operation;
      if (!isSessionOperation(operation)) break;
      if (operation.kind === 'enqueue') {
        const enqueue = operation as EnqueueOperation;
        bytes += enqueue.header.length + enqueue.body.length;
        this.#addEnqueue(session, enqueue, index);
      } else if (operation.kind === 'ack' || operation.kind === 'pull') {
        const kind = operation.kind === 'ack' ? 'A' : 'P';
        session.parts.push({ kind, from: index, to: index + 1, shape: 0 });
        this.#noteOwner(operation as OwnedOperation);
      } else {
        session.receptions ??= new ReceptionChanges();
        session.flags |= FLAG_INBOUND;
        if (!session.receptions.add(operation as RecordInboundOperation | ForgetInboundOperation)) break;
        this.#noteOwner(operation as OwnedOperation);
      }
      index++;
    }
    session.count = index;
    for (const part of session.parts) if (part.to - part.from === 1) part.shape &= ~SHAPE_RUN;
    list.seal(index);
    if (list.owner !== '' && this.#options.pushes && this.#pushedBytes < PUSHED_BYTES) {
      this.#push(session, bytes);
    }
    this.lists.push(list);
    this.#sessions.push(session);
    this.cost += index + COST_OF_SESSION;
    this.bytes += bytes;
  }

  #noteOwner({ owner }: OwnedOperation): void {
    if (!this.#owners.includes(owner.incarnation)) this.#owners.push(owner.incarnation);
  }

  /** Has the call tell the owner, where the session's messages allow it and the owner is another node. */
  #push(session: Session, bytes: number): void {
    const part = session.parts.find((part) => this.#isPushable(part));
    if (part === undefined) return;
    const { by } = session.list.operations[part.from] as EnqueueOperation;
    if (by === '' || by === session.owner) return;
    const known = this.#nodes.indexOf(session.owner);
    session.node = known >= 0 ? known + 1 : this.#nodes.push(session.owner);
    this.#pushedBytes += bytes;
  }

  #isPushable({ kind, shape }: Part): boolean {
    if (kind !== 'E') return false;
    const form = shape & ~SHAPE_RUN;
    return form === 0 || (form === SHAPE_MARKED && this.#options.pushesMarked);
  }

  #addEnqueue(session: Session, enqueue: EnqueueOperation, index: number): void {
    let shape = enqueue.mark === null ? 0 : SHAPE_MARKED;
    if (enqueue.notedTopic !== null) shape |= SHAPE_NOTED;
    if (shape !== 0) session.flags |= FLAG_MARKS;
    if (enqueue.isOfGroup) {
      if (shape !== 0) session.flags |= FLAG_GROUP_MARKS;
      shape |= SHAPE_OF_GROUP;
    }
    const bodies = this.#bodies;
    if (bodies && enqueue.body.length >= SHARED_BYTES) {
      shape |= SHAPE_SHARED;
      if (!bodies.has(enqueue.body)) bodies.set(enqueue.body, bodies.size + 1);
    }
    if ((shape & ~SHAPE_MARKED) === 0 && qosOf(enqueue) > 0) shape |= SHAPE_RUN;
    const last = session.parts.at(-1);
    // Receptions are no parts, and may stand between.
    if (last?.kind === 'E' && last.shape === shape && last.to === index) {
      const before = session.list.operations[last.from] as EnqueueOperation;
      if (before.life === enqueue.life && before.version === enqueue.version) {
        last.to = index + 1;
        return;
      }
    }
    session.parts.push({ kind: 'E', from: index, to: index + 1, shape });
  }

  write(writer: CommandWriter, history: string): void {
    const { keyspace, limits } = this.#options;
    let keys = 1 + 2 * this.#nodes.length;
    for (const { flags } of this.#sessions)
      keys +=
        2 +
        (flags & FLAG_MARKS ? 3 : 0) +
        (flags & FLAG_INBOUND ? 1 : 0) +
        (flags & FLAG_GROUP_MARKS ? 1 : 0);
    COMMIT_SESSIONS.open(writer, keys);
    writer.ascii(keyspace.counts(bucketOf(this.#sessions[0]!.clientId)));
    for (const node of this.#nodes) {
      writer.text(keyspace.inbox(node));
      writer.text(keyspace.inboxState(node));
    }
    for (const session of this.#sessions) this.#writeKeys(writer, session);
    writer.ascii(history);
    numbers.begin();
    numbers.f64(Math.floor(this.#options.clock.monotonicMs()));
    numbers.f64(limits.maxQueuedMessages);
    numbers.f64(limits.maxQueuedBytes);
    numbers.f64(limits.maxInboxBytes);
    numbers.f64(limits.markLifeMs);
    numbers.i32(limits.windowMax);
    numbers.u8(limits.queueFullPolicy === 'reject' ? 1 : 0);
    numbers.u16(this.#bodies?.size ?? 0);
    numbers.u8(this.#nodes.length);
    numbers.u8(this.#owners.length);
    numbers.u8(this.#sessions.length);
    if (this.#bodies) for (const body of this.#bodies.keys()) writer.bytes(body);
    for (const node of this.#nodes) writer.text(node);
    for (const owner of this.#owners) writer.text(owner);
    for (const session of this.#sessions) {
      const { flags, parts, node } = session;
      numbers.u8(flags);
      numbers.u16(parts.length);
      numbers.u8(node);
      if (flags & FLAG_MARKS) writer.text(session.clientId);
      session.receptions?.write(writer, numbers, this.#owners);
      for (const part of parts) this.#writePart(writer, session, part);
    }
    writer.bytes(numbers.taken());
    writer.end();
  }

  #writeKeys(writer: CommandWriter, { list, clientId, flags }: Session): void {
    const { keyspace } = this.#options;
    list.keys ??= encodeArguments([keyspace.meta(clientId), keyspace.queue(clientId)]);
    writer.arguments(list.keys, 2);
    if (flags & FLAG_MARKS) {
      writer.text(keyspace.marks(clientId));
      writer.text(keyspace.notes(clientId));
      writer.ascii(keyspace.marked(bucketOf(clientId)));
    }
    if (flags & FLAG_INBOUND) writer.text(keyspace.inbound(clientId));
    if (flags & FLAG_GROUP_MARKS) writer.text(keyspace.groupMarks(clientId));
  }

  #writePart(writer: CommandWriter, { list, node }: Session, part: Part): void {
    if (part.kind === 'E') {
      this.#writeEnqueues(writer, list.operations as EnqueueOperation[], part, node > 0);
    } else {
      writeOwned(writer, numbers, this.#owners, list.operations, part);
    }
  }

  #writeEnqueues(
    writer: CommandWriter,
    operations: readonly EnqueueOperation[],
    part: Part,
    isPushed: boolean,
  ): void {
    const { from, to, shape } = part;
    const first = operations[from]!;
    numbers.u8(PART_ENQUEUE);
    numbers.u16(to - from);
    numbers.f64(first.life);
    numbers.f64(first.version);
    numbers.u8(shape);
    if (isPushed && (shape & ~SHAPE_MARKED & ~SHAPE_RUN) === 0) {
      if (!this.#isPushable(part)) writer.bytes(NO_HEAD);
      else writer.bytes(shape & SHAPE_RUN ? encodeRunHead(first) : headOfRun(operations, from, to));
    }
    if (shape & SHAPE_RUN) writeRuns(writer, numbers, operations, from, to);
    else for (let index = from; index < to; index++) this.#writeMessage(writer, operations[index]!, shape);
    if (shape & SHAPE_MARKED) writeMarks(writer, numbers, operations, from, to);
    if (!(shape & SHAPE_NOTED)) return;
    for (let index = from; index < to; index++) writer.text(operations[index]!.notedTopic as string);
  }

  #writeMessage(writer: CommandWriter, enqueue: EnqueueOperation, shape: number): void {
    if (shape & SHAPE_SHARED) {
      writer.bytes(enqueue.header);
      numbers.u16(this.#bodies!.get(enqueue.body)!);
    } else {
      writer.joined(enqueue.header, enqueue.body);
    }
  }

  settle(reply: Reply): readonly Settled[] {
    const cursor: Cursor = { values: asList(reply), at: 0 };
    const settled = this.#sessions.map(({ list, parts, receptions, count, owner }) => {
      let staying: Operation[] | null = receptions ? settleReceptions(cursor, receptions) : null;
      let isMemoryFull = staying !== null;
      for (const part of parts) {
        const status = cursor.values[cursor.at++] as number;
        if (status !== MEMORY_FULL && status !== BEHIND_STALE) {
          if (part.kind === 'E') settleEnqueues(cursor, list, part, status, owner);
          else if (part.kind === 'A') settleAck(cursor, list.operations[part.from] as AckOperation, status);
          else settlePull(cursor, list.operations[part.from] as PullOperation, status);
          continue;
        }
        if (status === MEMORY_FULL) isMemoryFull = true;
        staying ??= [];
        for (let index = part.from; index < part.to; index++) staying.push(list.operations[index]!);
      }
      return { list, count, staying: staying ?? NONE_STAYING, isMemoryFull };
    });
    // A dead array may be an old one: what it holds would survive the collector of the young.
    this.#sessions.length = 0;
    return settled;
  }

  reject(): boolean {
    return false;
  }
}

/** The granted QoS of an entry. */
const qosOf = ({ header }: EnqueueOperation): number => header[1]! & 3;

/** Head and lengths of a run whose entries are put behind them by the script. */
function headOfRun(operations: readonly EnqueueOperation[], from: number, to: number): Buffer {
  return Buffer.concat([encodeRunHead(operations[from]!), encodeLengths(operations, from, to)]);
}

/** Numbers: the number of values, of each its number of messages. Values: each a run, or an entry that stands alone. */
function writeRuns(
  writer: CommandWriter,
  numbers: PackedNumbers,
  operations: readonly EnqueueOperation[],
  from: number,
  to: number,
): void {
  const starts: number[] = [];
  let bytes = 0;
  for (let index = from; index < to; index++) {
    const { header, body } = operations[index]!;
    const size = header.length + body.length;
    const isOther = index === from || (header[1]! & 3) !== qosOf(operations[index - 1]!);
    if (isOther || index - starts.at(-1)! === RUN_MESSAGES || bytes + size > RUN_BYTES) {
      starts.push(index);
      bytes = 0;
    }
    bytes += size;
  }
  numbers.u16(starts.length);
  for (const [place, start] of starts.entries()) {
    const end = starts[place + 1] ?? to;
    numbers.u16(end - start);
    if (end - start === 1) {
      writer.joined(operations[start]!.header, operations[start]!.body);
      continue;
    }
    const lengths = encodeLengths(operations, start, end);
    let length = lengths.length;
    for (let index = start; index < end; index++) {
      const { header, body } = operations[index]!;
      length += header.length + body.length;
    }
    writer.beginParts(length);
    writer.part(lengths);
    for (let index = start; index < end; index++) {
      writer.part(operations[index]!.header);
      writer.part(operations[index]!.body);
    }
    writer.endParts();
  }
}

// ---- reading the reply

interface Cursor {
  readonly values: readonly Reply[];
  at: number;
}

const MEMORY_FULL = 6;
const BEHIND_STALE = 7;
const PUSHED = 8;

function settleAck(cursor: Cursor, ack: AckOperation, status: number): void {
  ack.status = status === 0 ? 'ok' : 'fenced';
  if (status === 0) ack.tail = cursor.values[cursor.at++] as number;
}

/** Those that have to stay because memory is full, or null. */
function settleReceptions(cursor: Cursor, receptions: ReceptionChanges): Operation[] | null {
  if (cursor.values[cursor.at++] !== 0) {
    receptions.fence();
    return null;
  }
  const staying = receptions.settle(cursor.values[cursor.at++] as number);
  return staying.length > 0 ? staying : null;
}

/** `expected`: the owner that the call was made for. */
function settleEnqueues(
  cursor: Cursor,
  list: ReceiverList,
  { from, to }: Part,
  status: number,
  expected: string,
): void {
  const operations = list.operations as EnqueueOperation[];
  const values = cursor.values;
  if (status === 0 || status === PUSHED) {
    const first = values[cursor.at++] as number;
    const owner = status === PUSHED ? expected : asText(values[cursor.at++]);
    list.owner = owner;
    for (let index = from; index < to; index++) {
      const enqueue = operations[index]!;
      enqueue.status = 'queued';
      enqueue.seq = first + index - from;
      enqueue.owner = owner;
      enqueue.isPushed = status === PUSHED;
    }
    settleWaiting(cursor, operations, from, to);
    return;
  }
  if (status === 4) {
    const owner = asText(values[cursor.at++]);
    list.owner = owner;
    const dropped = values[cursor.at++] as number;
    for (let index = from; index < to; index++) {
      const enqueue = operations[index]!;
      const seq = values[cursor.at++] as number;
      enqueue.status = seq > 0 ? 'queued' : seq === 0 ? 'duplicate' : seq === -1 ? 'rejected' : 'gone';
      enqueue.seq = Math.max(seq, 0);
      enqueue.owner = owner;
      enqueue.isPushed = false;
    }
    for (let index = from; index < to; index++) {
      operations[index]!.dropped = dropped === 0 ? 0 : (values[cursor.at++] as number);
    }
    settleWaiting(cursor, operations, from, to);
    return;
  }
  const cut = status === 3 ? (values[cursor.at++] as number) : 0;
  for (let index = from; index < to; index++) {
    const enqueue = operations[index]!;
    enqueue.status = status === 3 ? 'stale' : 'gone';
    enqueue.cut = cut;
  }
}

/** A part of shared subscriptions is answered with the queue's length. */
function settleWaiting(
  cursor: Cursor,
  operations: readonly EnqueueOperation[],
  from: number,
  to: number,
): void {
  if (!operations[from]!.isOfGroup) return;
  const waiting = cursor.values[cursor.at++] as number;
  for (let index = from; index < to; index++) operations[index]!.waiting = waiting;
}

function settlePull(cursor: Cursor, pull: PullOperation, status: number): void {
  pull.status = status === 0 ? 'ok' : 'fenced';
  if (status !== 0) return;
  pull.first = cursor.values[cursor.at++] as number;
  pull.tail = cursor.values[cursor.at++] as number;
  const count = cursor.values[cursor.at++] as number;
  pull.entries = cursor.values.slice(cursor.at, cursor.at + count) as (Buffer | null)[];
  cursor.at += count;
}
