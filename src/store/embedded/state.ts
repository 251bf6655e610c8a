// The state of the embedded store: one deterministic machine in memory. Every operation and call is applied to it at a
// time of the store that is given from outside, and what it changes is noted in the write set; nothing here waits, reads
// a clock or knows a disk. The simulation and a broker with a data directory run this very code.

import { assert } from '../../util/assert.ts';
import { encodeRun } from '../inbox-run.ts';
import type { StoreLimits } from '../limits.ts';
import type {
  AckOperation,
  EnqueueOperation,
  FinishPayloadOperation,
  ForgetInboundOperation,
  InboxOperation,
  Operation,
  PullOperation,
  RecordInboundOperation,
  RetainOperation,
  StorePayloadOperation,
} from '../operations.ts';
import type { StoreTotals } from '../store.ts';
import { Claims } from './claims.ts';
import { Inboxes } from './inboxes.ts';
import { Leases } from './leases.ts';
import { Ledger } from './ledger.ts';
import { Marks } from './marks.ts';
import { Orphans } from './orphans.ts';
import { Payloads } from './payloads.ts';
import { Queues } from './queues.ts';
import { RetainedMessages } from './retained.ts';
import { RouteLog } from './route-log.ts';
import { Rows } from './rows.ts';
import { Sessions } from './sessions.ts';
import { decodeStored, KIND, STAMPS_KEY } from './stored.ts';
import { TakenWills } from './wills.ts';
import type { Batch } from './write-set.ts';

export class StoreState {
  readonly #ledger: Ledger;
  readonly marks: Marks;
  readonly sessions: Sessions;
  readonly payloads: Payloads;
  readonly queues: Queues;
  readonly wills: TakenWills;
  readonly orphans: Orphans;
  readonly claims: Claims;
  readonly rows: Rows;
  readonly retained: RetainedMessages;
  readonly leases: Leases;
  readonly log: RouteLog;
  readonly inboxes: Inboxes;
  /** Bits of payloads, which are read at start before all payloads may be there. */
  readonly #loadedBits: [key: string, value: Buffer][] = [];

  /** `isKept`: changes are noted for a journal. */
  constructor(limits: StoreLimits, isKept: boolean) {
    const ledger = new Ledger(limits, isKept);
    this.#ledger = ledger;
    this.marks = new Marks(ledger);
    this.sessions = new Sessions(ledger, this.marks);
    this.payloads = new Payloads(ledger);
    this.queues = new Queues(ledger, this.sessions, this.marks, this.payloads);
    this.wills = new TakenWills(ledger);
    this.orphans = new Orphans(ledger, this.sessions);
    this.claims = new Claims(ledger, this.sessions, this.queues, this.wills, this.orphans);
    this.rows = new Rows(ledger, this.sessions, this.queues);
    this.retained = new RetainedMessages(ledger, this.marks);
    this.leases = new Leases(ledger);
    this.log = new RouteLog(ledger, this.leases);
    this.inboxes = new Inboxes(ledger);
    this.marks.onFreed = (holder) => {
      if (holder.startsWith('r')) this.retained.tidy(holder.slice(1));
      if (holder.startsWith('g')) this.queues.tidyGroupMarks(holder.slice(1));
    };
  }

  /** Sets the operation's results. */
  apply(operation: Operation, nowMs: number): void {
    switch (operation.kind) {
      case 'enqueue':
        this.queues.enqueue(operation as EnqueueOperation, nowMs);
        this.#push(operation as EnqueueOperation);
        return;
      case 'ack':
        this.queues.ack(operation as AckOperation);
        return;
      case 'pull':
        this.queues.pull(operation as PullOperation);
        return;
      case 'record-inbound':
        this.rows.recordInbound(operation as RecordInboundOperation, nowMs);
        return;
      case 'forget-inbound':
        this.rows.forgetInbound(operation as ForgetInboundOperation);
        return;
      case 'inbox': {
        const inbox = operation as InboxOperation;
        const isThere = this.inboxes.has(inbox.incarnation);
        inbox.status = isThere ? this.inboxes.add(inbox.incarnation, inbox.payload()) : 'gone';
        return;
      }
      case 'retain':
        this.retained.write(operation as RetainOperation, nowMs);
        return;
      case 'store-payload': {
        const { payloadId, body, receivers, expiresAt } = operation as StorePayloadOperation;
        this.payloads.store(payloadId, body, receivers, expiresAt);
        return;
      }
      case 'finish-payload': {
        const { payloadId, indexes } = operation as FinishPayloadOperation;
        this.payloads.finish(payloadId, indexes);
        return;
      }
      case 'control':
        assert(false, 'a control operation applies itself');
    }
  }

  /** As on Redis: what is queued in the ordinary way goes into the inbox of an owner that is another node. */
  #push(operation: EnqueueOperation): void {
    const { by, owner, status, isOfGroup, dropped, notedTopic } = operation;
    operation.isPushed = false;
    if (status !== 'queued' || isOfGroup || notedTopic !== null || dropped > 0) return;
    if (by === '' || owner === '' || owner === by) return;
    if (this.inboxes.has(owner)) this.inboxes.add(owner, encodeRun(operation));
    operation.isPushed = true;
  }

  sweep(nowMs: number, limit: number): { retained: number; payloads: number; marks: number } {
    this.leases.sweep(nowMs);
    return {
      retained: this.retained.sweep(nowMs, limit),
      payloads: this.payloads.sweep(nowMs, limit),
      marks: this.marks.sweep(nowMs, limit),
    };
  }

  totals(): StoreTotals {
    return {
      sessions: this.sessions.size,
      retainedMessages: this.retained.count,
      retainedBytes: this.retained.bytes,
      queuedMessages: this.sessions.queuedMessages,
      queuedBytes: this.sessions.queuedBytes,
    };
  }

  /** A new history: numbers given out before it may be lost. */
  beginHistory(history: number, nowMs: number): void {
    this.#ledger.history = history;
    this.#ledger.historyAt = nowMs;
  }

  get history(): number {
    return this.#ledger.history;
  }

  /** What the operations since the last call have changed. */
  takeChanges(): Batch {
    const { stamps, writes } = this.#ledger;
    if (stamps.isUsed) writes.stamps(stamps.last, this.log.last);
    stamps.isUsed = false;
    return writes.take();
  }

  /** Something is left to be written without any operation. */
  get hasLeftovers(): boolean {
    return this.#ledger.writes.hasLeftovers;
  }

  /** Reads one record at start, in any order; `finishLoading` follows the last one. */
  load(key: string, value: Buffer): void {
    switch (key[0]) {
      case STAMPS_KEY: {
        const { fields } = decodeStored<{ last: number; logLast: number }>(key, value);
        this.#ledger.stamps.load(fields.last);
        this.log.last = fields.logLast;
        return;
      }
      case KIND.mark:
        this.marks.load(key, value, (holder) => {
          const name = holder.slice(1);
          if (holder.startsWith('r')) return this.retained.marksOf(name);
          return holder.startsWith('g') ? this.queues.groupMarksOf(name) : this.sessions.marksOf(name);
        });
        return;
      case KIND.orphans:
        this.orphans.load(key, value);
        return;
      case KIND.orphanTurn:
        this.orphans.loadTurn(key, value);
        return;
      case KIND.retained:
        this.retained.load(key, value);
        return;
      case KIND.payload:
        this.payloads.load(key, value);
        return;
      case KIND.payloadDone:
        this.#loadedBits.push([key, value]);
        return;
      case KIND.takenWill:
        this.wills.load(key, value);
        return;
      case KIND.route:
        this.log.load(key, value);
        return;
      case KIND.lease:
        this.leases.load(key, value);
        return;
      default:
        this.sessions.loadPart(key, value);
    }
  }

  finishLoading(): void {
    for (const [key, value] of this.#loadedBits.splice(0)) this.payloads.loadDone(key, value);
    this.marks.sortLoaded();
    this.wills.sortLoaded();
    this.retained.sortLoaded();
    this.sessions.finishLoading((clientId, life, seq, entry) =>
      this.orphans.adopt(clientId, life, seq, entry),
    );
  }
}
