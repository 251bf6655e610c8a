// Group commit, as a message sees it. Each message passes three phases: its own prerequisites (the QoS 2 record, the
// shared payload), then its enqueues and the inbox entries of nodes with live receivers, then the retained write. The
// messages of one connection stand in a line and enter each phase in order; nobody else waits for them. The batching
// itself is the store's: what is submitted while a batch is under way is the next batch.
// Invariant: what a line releases (the ack, the live delivery on this node) leaves in the order of its PUBLISHes, when
// all parts are committed and the gate is open, for live receivers here also behind what the inbox held. So a message is
// a small counter of parts, without promise or closure.

import type { Match } from '../routing/router.ts';
import type { Mark, RetainedWriter } from '../store/operations.ts';
import type { Gate, Waiter } from './gate.ts';
import type { GroupChoice, GroupMessage } from './group-message.ts';
import { type FenceWaiter, hasLive, type InboxFence } from './inbox-fence.ts';
import type { LiveParts } from './local.ts';

const WAITS = 0;
const FANNED = 1;
const RETAINED = 2;

/** Writes into the record of a commit's packet that a member of a group gets the message. */
export interface ChoiceRecorder {
  recordChoice(commit: Commit, choice: GroupChoice, then: (clientId: string) => void): void;
}

/** One message between its PUBLISH and its ack. */
export class Commit implements LiveParts, GroupMessage {
  readonly line: Line;
  readonly publisher: string;
  readonly topic: string;
  readonly body: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly expiresAt: number;
  readonly ownExpiry: boolean;
  /** 0 where nobody is to be answered. */
  readonly packetId: number;
  /** Set for QoS 2 when its record is there, and for wills. */
  mark: Mark | null = null;
  /** Who writes the retained record at QoS 0 and 1. */
  writer: RetainedWriter | null = null;
  /** Where it goes; filled when it enters the second phase, or before its payload is stored. */
  match: Match | null = null;
  version = 0;
  /** Who was given it as a retained copy, when a fence has refused it. */
  copied: Match | null = null;
  /** The members of shared groups that it goes to, once they are in the record of its packet. */
  choices: GroupChoice[] | null = null;
  /** Its packet was recorded before: it may have gone to those members. */
  isRepetition = false;
  readonly isCounted = false;
  /** Set where its packet is recorded: knows how to write a member down there. */
  recorder: ChoiceRecorder | null = null;
  /** Until when queues keep it, store ms; 0 where that has not been settled. */
  queuedUntil = 0;
  /** Shared payload, where it is stored once for many. */
  payloadId: string | null = null;
  /** Only the retained write is left to do: a QoS 0 message is delivered before. */
  retainOnly = false;
  /** The publisher's claim was lost: nothing is written or answered. */
  cancelled = false;
  /** The publisher's claim was lost on the way: it goes where it went, for the sake of order, and is answered to nobody. */
  isFenced = false;
  /** When its PUBLISH was read, by the monotonic clock; 0 where nobody is to be answered. */
  takenAtMs = 0;
  /** Reason code of the answer. */
  reasonCode = 0;
  next: Commit | null = null;
  stage = WAITS;
  prerequisites = 0;
  parts = 0;
  /** Its enqueues are being submitted over several turns: the next of its line waits, for the sake of order. */
  submission: { answered(): void } | null = null;

  constructor(
    line: Line,
    publisher: string,
    topic: string,
    body: Buffer,
    qos: 0 | 1 | 2,
    retain: boolean,
    expiresAt: number,
    ownExpiry: boolean,
    packetId: number,
  ) {
    this.line = line;
    this.publisher = publisher;
    this.topic = topic;
    this.body = body;
    this.qos = qos;
    this.retain = retain;
    this.expiresAt = expiresAt;
    this.ownExpiry = ownExpiry;
    this.packetId = packetId;
  }

  get isRecorded(): boolean {
    return this.recorder !== null;
  }

  recordChoice(choice: GroupChoice, then: (clientId: string) => void): void {
    this.recorder?.recordChoice(this, choice, then);
  }

  /** One part of the phase under way is committed. */
  done(): void {
    this.parts--;
    if (this.submission !== null) this.submission.answered();
    else if (this.parts === 0) this.line.advance();
  }

  noMember(): void {
    this.done();
  }

  /** One prerequisite is committed. */
  ready(): void {
    this.prerequisites--;
    if (this.prerequisites === 0) this.line.advance();
  }
}

/** The steps of the phases, done by delivery/fan-out.ts and delivery/retained.ts, and what happens at the end. */
export interface CommitSteps {
  /** Submits enqueues and inbox entries; sets `parts` to their number before any can be done. */
  fanOut(commit: Commit): void;
  /** The message goes nowhere after all: what was stored for it is let go of. */
  drop(commit: Commit): void;
  /** Submits the retained write as the one part. */
  retain(commit: Commit): void;
}

/** Whoever a line belongs to: a connection, or a will being published. */
export interface LineOwner {
  /** All parts of this message are committed, and those of all before it: deliver here, answer, forget. */
  release(commit: Commit): void;
}

export class Line implements Waiter, FenceWaiter {
  readonly #steps: CommitSteps;
  readonly #gate: Gate;
  readonly #owner: LineOwner;
  /** In front of live receivers here; null when the line is behind it. */
  #fence: InboxFence | null;
  #isFenceAsked = false;
  #first: Commit | null = null;
  #last: Commit | null = null;
  /** Next to enter the second and the third phase. */
  #fanNext: Commit | null = null;
  #retainNext: Commit | null = null;
  #fanned: Commit | null = null;
  /** The publisher's claim was not known when one was recorded: its next connection repeats that and all behind it. */
  #isCut = false;
  #advancing = false;
  /** Messages in the line. */
  length = 0;

  constructor(steps: CommitSteps, gate: Gate, owner: LineOwner, fence: InboxFence) {
    this.#steps = steps;
    this.#gate = gate;
    this.#owner = owner;
    this.#fence = fence;
  }

  /** Puts a message at the end; its prerequisites are under way or none. */
  push(commit: Commit): void {
    if (this.#last === null) this.#first = commit;
    else this.#last.next = commit;
    this.#last = commit;
    this.#fanNext ??= commit;
    this.#retainNext ??= commit;
    this.length++;
    this.advance();
  }

  goOn(): void {
    this.advance();
  }

  passFence(): void {
    this.#fence = null;
    this.advance();
  }

  advance(): void {
    // A step may be done at once and come back here: the loop below goes on with it anyway.
    if (this.#advancing) return;
    this.#advancing = true;
    let moved = true;
    while (moved) {
      moved = this.#fan();
      moved = this.#retain() || moved;
      moved = this.#release() || moved;
    }
    this.#advancing = false;
  }

  #fan(): boolean {
    const commit = this.#fanNext;
    if (
      commit === null ||
      commit.prerequisites > 0 ||
      (this.#fanned !== null && this.#fanned.submission !== null)
    )
      return false;
    this.#fanNext = commit.next;
    this.#fanned = commit;
    commit.stage = FANNED;
    // The claim may be known again by now (it was written back into a store that had lost it).
    if (this.#isCut && commit.qos === 2) commit.cancelled = true;
    this.#isCut ||= commit.cancelled;
    if (commit.cancelled) this.#steps.drop(commit);
    else if (!commit.retainOnly) this.#steps.fanOut(commit);
    if (this.#fence !== null) this.#askFence(this.#fence, commit);
    return true;
  }

  /** With the first message that anybody here may get, so that it is neither waited for behind the parts nor looked for long. */
  #askFence(fence: InboxFence, { match }: Commit): void {
    if (this.#isFenceAsked || match === null || match.local.length === 0) return;
    this.#isFenceAsked = true;
    fence.ask(this);
  }

  #retain(): boolean {
    const commit = this.#retainNext;
    if (commit === null || commit.stage < FANNED || commit.parts > 0) return false;
    this.#retainNext = commit.next;
    commit.stage = RETAINED;
    if (commit.retain && !commit.cancelled && !commit.isFenced) this.#steps.retain(commit);
    return true;
  }

  #release(): boolean {
    const commit = this.#first;
    if (commit === null || commit.stage < RETAINED || commit.parts > 0) return false;
    if (this.#fence !== null && waitsForInbox(commit)) return false;
    if (!this.#gate.isOpen) {
      this.#gate.wait(this);
      return false;
    }
    this.#first = commit.next;
    if (this.#first === null) this.#last = null;
    // One that is dead, but old, would keep all behind it from the collector of the young.
    commit.next = null;
    this.length--;
    this.#owner.release(commit);
    return true;
  }
}

/** It is delivered to live receivers here when it is released. */
function waitsForInbox({ cancelled, retainOnly, match, publisher }: Commit): boolean {
  return !cancelled && !retainOnly && match !== null && hasLive(match.local, publisher);
}
