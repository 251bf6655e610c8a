// The record of one session in the embedded store: who holds it, its deadlines, its row, its queue. Plain data; the rules
// are in claims, queues, rows and receptions. Parts that most sessions do not have are null until they are needed.

import type { Owner } from '../operations.ts';
import type { StoredWill } from '../store.ts';

/** Numbers that were never given out: the store had lost its tail, and what was given there must not come again. */
export interface Hole {
  readonly from: number;
  readonly to: number;
}

/** The highest message id taken of one (publisher, slot); see marks.ts. */
export interface MarkRecord {
  /** 's' and a client id, or 'r' and a topic. */
  readonly holder: string;
  readonly key: string;
  readonly home: Map<string, MarkRecord>;
  mid: number;
  usedAt: number;
}

/** What is kept of an unfinished QoS 2 reception under its packet identifier; no choices where there are none. */
export interface StoredReception {
  readonly slot: number;
  readonly mid: number;
  readonly choices?: string;
}

/** What is kept of a session under its own key. */
export interface SessionFields {
  life: number;
  epoch: number;
  incarnation: string;
  expirySec: number;
  expiresAt: number;
  willDue: number;
  rev: number;
  rowPending: boolean;
  rowVersion: number;
  cut: number;
  head: number;
  tail: number;
  sent: number;
  history: number;
  holes: Hole[];
  /** Messages of shared subscriptions came: the queue is left to the other members. */
  hasOfGroup?: boolean;
}

export class Session implements SessionFields {
  readonly clientId: string;
  life = 0;
  epoch = 0;
  /** Incarnation that holds it, '' for none. */
  incarnation = '';
  expirySec = 0;
  /** Store ms at which the CONNECT of the last claim came. Not written: no CONNECT waits over a restart. */
  cameAt = 0;
  /** Store ms at which the last claim ran again, since its answer was lost. Not written: an answer outlives no restart. */
  repeatedAt = 0;
  /** Store ms of its end; 0 while it is held and for one that never expires. */
  expiresAt = 0;
  will: StoredWill | null = null;
  /** Store ms from which the will is due; 0 while the session is held and without a will. */
  willDue = 0;
  /** Under which it stands in the index of deadlines, 0 for none. */
  deadline = 0;
  row: Buffer | null = null;
  rev = 0;
  rowPending = false;
  rowVersion = 0;
  cut = 0;
  head = 1;
  tail = 0;
  sent = -1;
  /** History of the store in which a number was last given out. */
  history = 0;
  holes: Hole[] = [];
  hasOfGroup = false;
  queue: Map<number, Buffer> | null = null;
  queueBytes = 0;
  /** From here on the oldest entry that a limit may drop is looked for. */
  dropFrom = 0;
  inbound: Map<number, StoredReception> | null = null;
  reading: Buffer | null = null;
  noted: Set<string> | null = null;
  marks: Map<string, MarkRecord> | null = null;

  constructor(clientId: string) {
    this.clientId = clientId;
  }

  isOwner(owner: Owner): boolean {
    return this.incarnation === owner.incarnation && this.epoch === owner.epoch && owner.incarnation !== '';
  }

  isHeld(): boolean {
    return this.incarnation !== '';
  }

  /** When its owner was last heard of: by a renewal, or by its claim, which stands also where that node was dead by then. */
  lastHeardMs(renewedAt: number, nowMs: number): number {
    const claimedAt = Math.max(Math.floor(this.epoch / 1000), this.repeatedAt);
    return Math.max(renewedAt, Math.min(claimedAt, nowMs));
  }

  isExpired(nowMs: number): boolean {
    return this.expiresAt > 0 && this.expiresAt <= nowMs;
  }

  /** First number that may not have been sent: from the head, the window is kept whatever the limits say. */
  windowEnd(windowMax: number): number {
    return this.head + windowMax;
  }

  fields(): SessionFields {
    const { life, epoch, incarnation, expirySec, expiresAt, willDue, rev, rowPending } = this;
    const { rowVersion, cut, head, tail, sent, history, holes, hasOfGroup } = this;
    return {
      ...{ life, epoch, incarnation, expirySec, expiresAt, willDue, rev, rowPending },
      ...{ rowVersion, cut, head, tail, sent, history, holes, hasOfGroup },
    };
  }
}
