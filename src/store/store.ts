// The contract of a store: what the broker needs kept outside its nodes, said without Redis. Two implementations stand
// behind it (redis/ and embedded/), held equal by one test suite (test/integration/store-contract.ts). A Store object
// belongs to one node process. Everything here is fenced: what an owner sends names its claim and is refused for
// another one; what others send names the session's life. All times are the store's time, in milliseconds; numbers that
// order things (versions, lives, epochs, mids) are max(last + 1, store time in microseconds), so that they rise also
// when the store has lost its tail.

import type { Operation, Owner } from './operations.ts';
import type { InboundRecord, Receptions } from './receptions.ts';

/** The session's will as it lies in the store. `body` is a message body of mqtt/message.ts. */
export interface StoredWill {
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly delaySec: number;
  readonly body: Buffer;
}

/** Names a process's incarnation, and the node that it is. */
export interface NodeName {
  readonly incarnation: string;
  readonly name: string;
}

/** A will that was taken for publishing and is not done yet. `mid` marks it: mark key `markKey(clientId, 'will')`. */
export interface TakenWill {
  readonly clientId: string;
  /** Names it in the index of taken wills. */
  readonly id: string;
  readonly mid: number;
  readonly will: StoredWill;
  /**
   * Taken by a claim from a connection of another node that lives. That connection may have ended with DISCONNECT, and
   * its release be on the way: then the will must not be published [MQTT-3.14.4-3]. Ask settleWill() first.
   */
  readonly isInDoubt: boolean;
}

/** 'waits': it is in doubt still. 'due': it is to be published. 'gone': it was called off, or published by another node. */
export type WillState = 'waits' | 'due' | 'gone';

/** Expiry value of a session that never expires [MQTT-3.1.2.11.2: 0xFFFFFFFF]. */
export const NEVER_EXPIRES = 0xffffffff;

/**
 * CONNECTs that come within so many ms count as come at the same time: whichever is executed last has the session
 * [MQTT-3.1.4-3]. A later one keeps out what came before it and had to wait.
 */
export const SAME_TIME_MS = 100;

export interface ClaimRequest {
  readonly clientId: string;
  readonly incarnation: string;
  readonly cleanStart: boolean;
  /** Seconds the session outlives its connection; 0: ends with it; NEVER_EXPIRES. */
  readonly expirySec: number;
  readonly will: StoredWill | null;
  /** What this node knows of the lives of nodes, by which expiry of a session whose owner died is judged. */
  readonly leases: readonly LeaseState[];
  /** The highest epoch and life this node has seen of the session (0 when none). */
  readonly epochSeen: number;
  /** For how long its CONNECT has waited, in ms of the monotonic clock. Asked each time the claim is sent. */
  waitedMs(): number;
}

export interface LeaseState {
  readonly incarnation: string;
  /** Store ms of the last renewal. A claim that it made later is when the owner of that session was last heard of. */
  readonly renewedAt: number;
  readonly state: 'live' | 'over' | 'dead';
}

export interface ClaimedSession {
  readonly status: 'claimed';
  /** Whether an earlier session goes on [MQTT-3.2.2-2]. */
  readonly present: boolean;
  readonly life: number;
  readonly epoch: number;
  readonly rev: number;
  /** Incarnation that held it until now, '' when nobody did. Told by its inbox to let go. */
  readonly previousOwner: string;
  /** Its row of subscriptions (records.encodeRow) or null. */
  readonly row: Buffer | null;
  /** A log entry of that row may be missing: append it again before the session is served. */
  readonly rowPending: boolean;
  /** Version of the row's last log entry, 0 when none. */
  readonly rowVersion: number;
  readonly head: number;
  readonly tail: number;
  /** Highest seq sent at a clean release, -1 when unknown: then the whole window may have been sent. */
  readonly sent: number;
  /** Unfinished QoS 2 receptions from the client. */
  readonly inbound: readonly InboundRecord[];
  /** A reading of retained messages that another node left unfinished, as it was stored. */
  readonly reading: Buffer | null;
  /** Taken wills of this client that are not done, in their order: published before what the client says next. */
  readonly wills: readonly TakenWill[];
  /** Set when an older life ended by this claim: its routes must be removed by a log entry. */
  readonly endedLife: number;
  /** Messages that waited in the queue of that life and went with it. */
  readonly discarded: number;
  /** Store time of the claim, ms. */
  readonly nowMs: number;
}

/**
 * 'wait': whether the session has expired depends on a node whose death is not certain yet; ask again later. 'overtaken':
 * the claim was made and its answer lost, and others have claimed the session since; or it was not made, because the
 * CONNECT of the session's last claim came later than this one.
 */
export type ClaimResult =
  | ClaimedSession
  | { readonly status: 'wait'; readonly owner: string }
  | { readonly status: 'overtaken' };

/** What the owner of a session knows of it. */
export interface Restoration {
  readonly clientId: string;
  readonly owner: Owner;
  readonly life: number;
  readonly rev: number;
  readonly row: Buffer | null;
  readonly expirySec: number;
  /** QoS 2 receptions that are not finished: no record of another one is right. As they are when the call is sent. */
  readonly receptions: Receptions | null;
}

export interface ReleaseRequest {
  readonly clientId: string;
  readonly owner: Owner;
  /** True after a DISCONNECT that drops the will [MQTT-3.14.4-3]. */
  readonly dropWill: boolean;
  readonly expirySec: number;
  /** Highest seq sent to the client, so that the next claim knows what DUP is for. */
  readonly sent: number;
}

/** What became of a session that was let go of. */
export interface SessionEnding {
  /** Not 0 when the session ended now: its routes must be removed by a log entry. */
  readonly endedLife: number;
  /** Where a will was taken: all of this client that are not done, in their order, it being the last. */
  readonly wills: readonly TakenWill[];
  /** Messages that waited in its queue and went with it. */
  readonly discarded: number;
}

export type ReleaseResult = ({ readonly status: 'ok' } & SessionEnding) | { readonly status: 'fenced' };

export interface RowWrite {
  readonly clientId: string;
  readonly owner: Owner;
  /** Must be higher than the stored one. */
  readonly rev: number;
  readonly row: Buffer;
  /** State of a reading of retained messages that begins with this row, or null to leave it as it is. */
  readonly reading: Buffer | null;
}

export interface RowSettle {
  readonly clientId: string;
  readonly owner: Owner;
  readonly rev: number;
  /** Version of the log entry that announced it. */
  readonly version: number;
  /** Whether it removed or changed a subscription: messages matched below `version` are refused from now on. */
  readonly cut: boolean;
}

export type Fenced = 'ok' | 'fenced';

/** One step of the reading of retained messages: enqueue these copies, drop those whose topic was noted, keep `reading`. */
export interface RetainedCopies {
  readonly clientId: string;
  readonly owner: Owner;
  readonly copies: readonly { topic: string; entry: Buffer }[];
  /** New state, null when the reading is over (the noted topics are forgotten with it). */
  readonly reading: Buffer | null;
}

export interface LogEntry {
  readonly version: number;
  /** Version of the entry before; another one than the last read means that entries are missing. */
  readonly previous: number;
  /** Incarnation that appended it. */
  readonly from: string;
  /** Encoded by routing/log-codec. */
  readonly payload: Buffer;
}

export interface LogAppend {
  readonly payload: Buffer;
  /** Changes of the appender's own node routes, kept for snapshots: filter to flags, '' flags removes. */
  readonly routes: readonly { filter: string; flags: string }[];
}

export interface Lease {
  readonly incarnation: string;
  readonly name: string;
  readonly createdAt: number;
  readonly renewedAt: number;
  readonly deadline: number;
  /** Store ms at which it was declared dead, 0 while it is not. */
  readonly deadAt: number;
  /** Everything of a dead node has been cleaned up. */
  readonly cleaned: boolean;
}

export interface Renewal {
  readonly nowMs: number;
  /** The lease was over when this renewal came. */
  readonly lapsed: boolean;
  readonly leases: readonly Lease[];
}

export interface SessionState {
  readonly clientId: string;
  readonly incarnation: string;
  readonly epoch: number;
  readonly life: number;
  readonly tail: number;
}

export interface RetainedPage {
  readonly records: readonly { topic: string; record: Buffer }[];
  /** Where to go on, null at the end. */
  readonly cursor: string | null;
}

/** Messages that a session with shared subscriptions left in its queue when it ended, in order. */
export interface OrphanPage {
  readonly life: number;
  /** `wasSent`: the client may have seen it. `member`: who gets it, as `assignOrphans` wrote it down, or ''. */
  readonly entries: readonly {
    readonly seq: number;
    readonly entry: Buffer;
    readonly wasSent: boolean;
    readonly member: string;
  }[];
}

/** Who is to get a message that an ended session left, and who stood there before ('' for nobody). */
export interface OrphanTurn {
  readonly seq: number;
  readonly instead: string;
  readonly member: string;
}

export interface StoreTotals {
  readonly sessions: number;
  readonly retainedMessages: number;
  readonly retainedBytes: number;
  readonly queuedMessages: number;
  readonly queuedBytes: number;
}

/** What a store tells its node. Set once, before open(). */
export interface StoreEvents {
  /** Entries of this node's inbox in order. */
  onInbox(payloads: readonly Buffer[]): void;
  /** Inbox entries may have been lost (trimmed unread, the stream was gone): sessions must be looked at. */
  onInboxGap(): void;
  /** Entries of the route log in order; previous of the first continues the last one read, or there was a gap. */
  onLog(entries: readonly LogEntry[]): void;
  /** The store can be written and read (true) or not (false), with a reason for people. */
  onAvailability(available: boolean, reason: string): void;
  /** The store is older than what was seen of it (restart on a cut file, failover): reload everything cached. */
  onHistory(): void;
}

export interface Store {
  readonly kind: 'redis' | 'embedded';
  /** Connects and checks that the store fits (version, eviction policy). Throws SWARMQ_ERR_STORE_UNFIT / _UNREACHABLE. */
  open(events: StoreEvents): Promise<void>;
  /** Ends connections and timers; operations that are not answered complete with `failed` set. */
  close(): Promise<void>;
  isAvailable(): boolean;
  /** Estimate of the store's time in ms: last told time plus what passed on the monotonic clock. */
  nowMs(): number;

  /** Takes an operation; never blocks. See operations.ts for order and repetition. */
  submit(operation: Operation): void;
  /** Somebody waits for an operation now that was submitted as a patient one. */
  hurry(operation: Operation): void;
  /** Independent lanes (one per Redis master) and the operations waiting or under way in each: for bounds and metrics. */
  readonly laneCount: number;
  laneOf(receiver: string): number;
  lanePending(lane: number): number;

  // Sessions. Each stands in the session's list, behind what was submitted for it before.
  claim(request: ClaimRequest): Promise<ClaimResult>;
  /**
   * Gives a session up. 'fenced' when its claim is over; a will that the claim behind it has taken in doubt is called off
   * then (`dropWill`) or becomes due all the same: so the node that had the connection says how it ended.
   */
  release(request: ReleaseRequest): Promise<ReleaseResult>;
  /** Changes what a connected client may change: its will is taken over from claim, its expiry by DISCONNECT. */
  writeRow(write: RowWrite): Promise<Fenced>;
  settleRow(settle: RowSettle): Promise<Fenced>;
  /**
   * Enqueues retained copies; answers the seqs given (0 for a dropped copy) and the tail. A step that ran before is known
   * by the state it leaves: when the stored reading equals the given one (both null, or the same bytes), nothing is added
   * and all seqs are 0. So a reading begins with writeRow, and each step changes its state. Queue limits do not apply.
   */
  enqueueCopies(copies: RetainedCopies): Promise<{ status: Fenced; seqs: number[]; tail: number }>;
  /**
   * Writes claim and row back after the store lost them, if what is stored is older (epoch, life, rev), and makes the
   * records of receptions what the owner knows of them.
   */
  restore(restored: Restoration): Promise<Fenced>;
  /** Present owner, life and tail of sessions; absent ones are left out. */
  inspect(clientIds: readonly string[]): Promise<SessionState[]>;
  readPayloads(payloadIds: readonly string[]): Promise<(Buffer | null)[]>;

  // Deadlines and cleaning, by any node, each step idempotent.
  /** Sessions of an incarnation, by pages; cursor '' begins, null ends. */
  sessionsOf(incarnation: string, cursor: string): Promise<{ clientIds: string[]; cursor: string | null }>;
  /** Lets go of a dead node's session: expiry and will delay count from `renewedAt`, or from its claim if that came later. */
  disown(clientId: string, incarnation: string, renewedAt: number): Promise<SessionEnding>;
  /** Client ids whose deadline (session expiry, will) has passed, at most `limit`. */
  dueSessions(limit: number): Promise<string[]>;
  /** Takes a due will, ends an expired session; judged in the store. */
  expire(clientId: string): Promise<SessionEnding>;
  /** Taken wills that are older than `olderThanMs` and not done (their taker died), at most `limit`. */
  leftWills(olderThanMs: number, limit: number): Promise<TakenWill[]>;
  /** What has become of a taken will that was in doubt. `isLast`: it is due, unless it was called off by now. */
  settleWill(clientId: string, id: string, isLast: boolean): Promise<WillState>;
  finishWill(clientId: string, id: string): Promise<void>;
  /** Clients whose ended sessions left messages of shared subscriptions, and that nobody is at, at most `limit`. */
  orphanedClients(limit: number): Promise<string[]>;
  /**
   * The next messages that an ended session of this client left behind, for `by`, who has `holdMs` to move them on. Null
   * when there are none, or somebody else is at it. They count as queued until they are removed.
   */
  readOrphans(clientId: string, by: string, holdMs: number, limit: number): Promise<OrphanPage | null>;
  /**
   * Writes down who gets which message, before it is given; where somebody else stands there meanwhile, that one stays.
   * Answers who stands there now, of each, and '' where the message is gone.
   */
  assignOrphans(clientId: string, life: number, turns: readonly OrphanTurn[]): Promise<string[]>;
  /** They lie in other queues now, or were given up. Removing absent ones changes nothing. */
  removeOrphans(clientId: string, life: number, seqs: readonly number[]): Promise<void>;
  /** Frees retained messages, shared payloads and marks whose deadline has passed; answers how many, per kind. */
  sweep(limit: number): Promise<{ retained: number; payloads: number; marks: number }>;

  // Routes.
  /** Appends in order; answers one version per entry. Node routes of a dead incarnation are refused (version 0). */
  appendLog(incarnation: string, entries: readonly LogAppend[], versionSeen: number): Promise<number[]>;
  /** Highest version of the log now. */
  logVersion(): Promise<number>;
  /** Begins to deliver onLog from behind `version`. */
  followLog(version: number): void;
  /** All rows of all sessions, by pages. */
  readRows(cursor: string): Promise<{ rows: { clientId: string; row: Buffer }[]; cursor: string | null }>;
  /** Node routes of an incarnation, by pages. */
  readRoutes(
    incarnation: string,
    cursor: string,
  ): Promise<{ routes: { filter: string; flags: string }[]; cursor: string | null }>;

  // Nodes.
  /** Makes lease and inbox of a new incarnation and begins to read the inbox. */
  register(incarnation: string, name: string, leaseMs: number): Promise<Renewal>;
  /**
   * `others`: nodes that lived when this one last knew. A store that has lost their leases makes them new ones, which run
   * out unless they renew: so nobody forgets a node before it is dead.
   */
  renew(incarnation: string, leaseMs: number, others?: readonly NodeName[]): Promise<Renewal>;
  /** Declares a node dead: refused unless its lease is over and the writer has stood for two leases (DESIGN, Membership). */
  bury(incarnation: string, by: string, leaseMs: number): Promise<'buried' | 'refused'>;
  /** A node that stops cleanly writes its own tombstone. */
  resign(incarnation: string): Promise<void>;
  /** True for one node at a time: who may clean up after `incarnation` for the next `holdMs`. */
  lockCleanup(incarnation: string, by: string, holdMs: number): Promise<boolean>;
  /** Removes routes and inbox of a dead node and notes that it is cleaned; the lease itself goes later. */
  removeNode(incarnation: string): Promise<void>;
  /** Position behind the last entry of this node's inbox now; see waitInbox. */
  inboxEnd(): Promise<string>;
  /** Resolves when the inbox has been delivered to `position`. */
  waitInbox(position: string): Promise<void>;

  // Retained.
  /**
   * One page of retained messages that match `filter` (cost follows the matches), raising the fence of what it reads to
   * `version`. Expired ones are left out. `cursor` '' begins.
   */
  readRetained(filter: string, cursor: string, limit: number, version: number): Promise<RetainedPage>;
  totals(): Promise<StoreTotals>;
}
