// Where a message goes once its prerequisites are there: one enqueue per matching session, one inbox entry per other node
// with live receivers, all parts of one commit. A write matched too long ago is refused by the store; then the log is
// read to there and the receiver matched again. What was queued is pushed to the session's owner, as a hint that may be
// lost. Invariant: a commit's part is done exactly once, whatever becomes of it.

import type { LiveMessage } from '../cluster/inbox-codec.ts';
import type { Peers } from '../cluster/peers.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Drop, Limit, type NodeStats } from '../observability/node-stats.ts';
import type { Grant, LocalTarget, Match, Router, SessionTarget } from '../routing/router.ts';
import type { Sessions } from '../session/sessions.ts';
import type { SharedPayloads } from '../session/shared-payloads.ts';
import {
  EnqueueOperation,
  FinishPayloadOperation,
  type RetainedWriter,
  StorePayloadOperation,
} from '../store/operations.ts';
import { encodeEntryHeader, encodeReference } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { Commit, CommitSteps } from './commit.ts';
import type { GroupFanOut } from './group-fan-out.ts';
import type { LiveParts } from './local.ts';
import { type RetainedPort, RetainedWrite } from './retained.ts';
import { AT_ONCE, Submission, type Submitter } from './submission.ts';

/** Enqueues of one message from which others go before them. */
const MANY = 256;

const NO_BODY = Buffer.alloc(0);

export interface FanOutOptions {
  readonly incarnation: string;
  readonly store: Store;
  readonly router: Router;
  readonly peers: Peers;
  readonly sessions: Sessions;
  readonly payloads: SharedPayloads;
  readonly stats: NodeStats;
  readonly limits: FanOutLimits;
  readonly groups: GroupFanOut;
  readonly clock: Submitter['clock'];
  /** Delivers a retained copy to receivers on this node. */
  deliverCopy(targets: readonly LocalTarget[], message: LiveParts): void;
}

export interface FanOutLimits {
  /** Queued receivers from which a body is stored once for all. */
  readonly minSharedReceivers: number;
  /** Bytes from which a body with more than one queued receiver is stored once. */
  readonly minSharedBytes: number;
  /** Deadline of a queued message without an expiry of its own. */
  readonly maxQueueTimeMs: number;
}

export class FanOut implements CommitSteps, Submitter {
  readonly #options: FanOutOptions;
  readonly #retained: RetainedPort;
  #payloads = 0;
  /** What the last receiver got in front of its message, since most get the same: of which kind, until when it is kept. */
  #headerKind = -1;
  #headerExpiresAt = 0;
  #headerBytes: Buffer = NO_BODY;

  constructor(options: FanOutOptions) {
    this.#options = options;
    const { router, stats } = options;
    this.#retained = {
      stats,
      version: () => router.version,
      copy: (commit) => this.#copies(commit),
      isSentAgain: (writer) => this.#isSentAgain(writer),
    };
  }

  /**
   * Matches a message before its second phase where something of the match is a prerequisite: a body that is stored once,
   * and at QoS 2 the members of groups that its record names. A group that begins behind the record is not asked.
   */
  prepare(commit: Commit): void {
    const { router, limits, store, payloads, incarnation } = this.#options;
    const match = router.match(commit.topic);
    if (commit.qos === 2) {
      commit.match = match;
      commit.version = router.version;
      if (match.groups.length > 0) this.#options.groups.choose(commit);
    }
    const count = match.sessions.length;
    const isLarge = count > 1 && commit.body.length >= limits.minSharedBytes;
    if (count < limits.minSharedReceivers && !isLarge) return;
    // Without a deadline a payload whose session never comes back would stay for ever: then each queue has its own.
    if (limits.maxQueueTimeMs === Number.POSITIVE_INFINITY && commit.expiresAt === 0) return;
    commit.match = match;
    commit.version = router.version;
    this.#payloads++;
    commit.payloadId = `${incarnation}-${this.#payloads.toString(36)}`;
    commit.prerequisites++;
    payloads.keep(commit.payloadId, commit.body);
    store.submit(new SharedPayload(commit, count, this.#queueDeadline(commit)));
  }

  fanOut(commit: Commit): void {
    const { router } = this.#options;
    if (commit.match === null) {
      commit.match = router.match(commit.topic);
      commit.version = router.version;
    }
    const match = commit.match;
    const isUnmatched =
      match.sessions.length === 0 && match.local.length === 0 && match.nodesAll.length === 0;
    if (isUnmatched && commit.qos > 0 && match.groups.length === 0) {
      commit.reasonCode = ReasonCode.NO_MATCHING_SUBSCRIBERS;
      return;
    }
    // A part is held back for this step itself, so that the commit cannot be over before all are submitted.
    commit.parts++;
    this.#toNodes(commit, match, commit.qos === 0);
    if (match.groups.length > 0) this.#toGroups(commit, match, isUnmatched);
    const count = commit.qos === 0 ? 0 : match.sessions.length;
    if (count > AT_ONCE) new Submission(this, commit, count);
    else this.submit(commit, 0, count);
    commit.parts--;
  }

  get clock(): FanOutOptions['clock'] {
    return this.#options.clock;
  }

  /** Submits the enqueues of the receivers `from` to `until`, without that one. */
  submit(commit: Commit, from: number, until: number): void {
    const { store } = this.#options;
    const { sessions } = commit.match as Match;
    for (let index = from; index < until; index++) {
      const target = sessions[index];
      const grant = target.clientId === commit.publisher ? target.grantOthers : target.grant;
      if (grant === null || grant.qos === 0) {
        if (commit.payloadId !== null) this.#finishPayload(commit.payloadId, index);
        continue;
      }
      commit.parts++;
      const enqueue = this.#enqueue(commit, target, grant, index);
      enqueue.isBulk = sessions.length > MANY;
      store.submit(enqueue);
    }
  }

  drop(commit: Commit): void {
    if (commit.payloadId === null) return;
    const { length } = (commit.match as Match).sessions;
    const indexes = Array.from({ length }, (_, index) => index);
    this.#options.store.submit(new PayloadFinish(commit.payloadId, indexes));
  }

  retain(commit: Commit): void {
    stopPoint('publish/before-retain');
    commit.parts++;
    this.#options.store.submit(new RetainedWrite(commit, this.#retained));
  }

  /**
   * A message was not queued, so its share of the payload is done. That of a repeated enqueue is left to the payload's
   * deadline: its first run may have queued the message, and what refused the second was its own mark.
   */
  #finishUnqueued({ commit, index, isRepeated }: SessionEnqueue): void {
    if (commit.payloadId !== null && !isRepeated) this.#finishPayload(commit.payloadId, index);
  }

  #finishPayload(payloadId: string, index: number): void {
    this.#options.store.submit(new PayloadFinish(payloadId, [index]));
  }

  /** The answer to an enqueue. */
  answered(enqueue: SessionEnqueue): void {
    const { stats, incarnation, sessions, peers } = this.#options;
    const { commit } = enqueue;
    if (enqueue.failed) return;
    stopPoint('publish/enqueued');
    if (enqueue.status === 'stale') {
      this.#rematch(enqueue);
      return;
    }
    if (enqueue.status === 'queued') {
      stats.messagesMatched++;
      stats.messagesQueued++;
      if (enqueue.dropped > 0) stats.messagesDropped[Drop.QUEUE_FULL] += enqueue.dropped;
      const { owner, clientId, life, seq, header, body, isPushed } = enqueue;
      // What is pushed the store has told the owner itself.
      if (owner === incarnation) sessions.push(clientId, life, seq, header, body);
      else if (owner !== '' && !isPushed) peers.push(owner, clientId, life, seq, header, body);
    } else {
      this.#notQueued(enqueue);
    }
    commit.done();
  }

  #notQueued(enqueue: SessionEnqueue): void {
    const { stats, router } = this.#options;
    const { commit, status } = enqueue;
    this.#finishUnqueued(enqueue);
    if (status === 'duplicate') {
      stats.messagesRepeated++;
      this.#poke(enqueue);
    } else if (status === 'gone') {
      router.dropSession(enqueue.clientId, enqueue.life);
    } else {
      stats.messagesMatched++;
      stats.messagesDropped[Drop.QUEUE_REJECTED]++;
      stats.limitRejections[Limit.QUEUED_MESSAGES]++;
      commit.reasonCode = ReasonCode.QUOTA_EXCEEDED;
    }
  }

  /**
   * A repetition that the queue knew may be our own, of a call whose answer was lost, and with it the push: the owner
   * looks at the queue.
   */
  #poke(enqueue: SessionEnqueue): void {
    const { incarnation, sessions, peers } = this.#options;
    const { owner, clientId, life, header } = enqueue;
    if (owner === incarnation) sessions.push(clientId, life, 0, header, NO_BODY);
    else if (owner !== '') peers.push(owner, clientId, life, 0, header, NO_BODY);
  }

  /**
   * Matches a refused message again. It keeps its place before those submitted since, and waits there until the log has
   * been read as far as the refusal says.
   */
  #rematch(enqueue: SessionEnqueue): void {
    const { router } = this.#options;
    const { commit } = enqueue;
    if (router.version < enqueue.cut) {
      enqueue.again = true;
      enqueue.againLater = true;
      return;
    }
    enqueue.againLater = false;
    const target = router.matchSession(enqueue.clientId, commit.topic);
    const grant =
      target === null || target.clientId !== commit.publisher ? target?.grant : target.grantOthers;
    if (target === null || !grant || grant.qos === 0) {
      this.#finishUnqueued(enqueue);
      commit.done();
      return;
    }
    enqueue.life = target.life;
    // Of this receiver alone: for all others, the retained record among them, the message stays matched when it was.
    enqueue.version = router.version;
    enqueue.header = this.#header(commit, grant, false);
    enqueue.again = true;
  }

  #enqueue(
    commit: Commit,
    target: SessionTarget,
    grant: Grant,
    index: number,
    isCopy = false,
  ): SessionEnqueue {
    const { payloadId, body } = commit;
    const stored = payloadId === null || isCopy ? body : encodeReference(payloadId, index);
    const enqueue = new SessionEnqueue(
      this,
      commit,
      target,
      this.#header(commit, grant, isCopy),
      stored,
      index,
    );
    enqueue.by = this.#options.incarnation;
    return enqueue;
  }

  #header(commit: Commit, grant: Grant, isCopy: boolean): Buffer {
    const qos = Math.min(grant.qos, commit.qos) as 1 | 2;
    const retain = isCopy || (commit.retain && grant.retainAsPublished);
    const isReference = commit.payloadId !== null && !isCopy;
    const expiresAt = this.#queueDeadline(commit);
    const kind =
      qos |
      (retain ? 4 : 0) |
      (commit.ownExpiry ? 8 : 0) |
      (isReference ? 16 : 0) |
      (isCopy ? 32 : 0) |
      (commit.retain ? 64 : 0);
    const isShared = grant.subscriptionIds === null;
    if (isShared && this.#headerKind === kind && this.#headerExpiresAt === expiresAt)
      return this.#headerBytes;
    const bytes = encodeEntryHeader({
      qos,
      retain,
      expiresAt,
      ownExpiry: commit.ownExpiry,
      reference: isReference,
      copy: isCopy,
      writesRetained: commit.retain,
      subscriptionIds: grant.subscriptionIds,
    });
    if (isShared) {
      this.#headerKind = kind;
      this.#headerExpiresAt = expiresAt;
      this.#headerBytes = bytes;
    }
    return bytes;
  }

  /** The same for the message's payload and all its entries. */
  #queueDeadline(commit: Commit): number {
    if (commit.expiresAt > 0) return commit.expiresAt;
    const { store, limits } = this.#options;
    commit.queuedUntil ||= queueDeadline(store, limits.maxQueueTimeMs);
    return commit.queuedUntil;
  }

  #toGroups(commit: Commit, match: Match, isUnmatched: boolean): void {
    const { groups } = this.#options;
    if (commit.qos === 0) groups.live(match.groups, commit.topic, liveMessage(commit, false));
    else if (groups.fanOut(commit) === 0 && isUnmatched) {
      commit.reasonCode = ReasonCode.NO_MATCHING_SUBSCRIBERS;
    }
  }

  #toNodes(commit: Commit, match: Match, isQos0: boolean): void {
    const { peers } = this.#options;
    const { nodesAll, nodesQos0 } = match;
    if (nodesAll.length === 0 && (!isQos0 || nodesQos0.length === 0)) return;
    const message = liveMessage(commit, false);
    for (let index = 0; index < nodesAll.length; index++) {
      commit.parts++;
      peers.live(nodesAll[index], message, commit);
    }
    if (!isQos0) return;
    for (let index = 0; index < nodesQos0.length; index++) {
      commit.parts++;
      peers.live(nodesQos0[index], message, commit);
    }
  }

  /** A session that is younger than the claim has nothing of the life before it to send again. */
  async #isSentAgain({ clientId, epoch }: RetainedWriter): Promise<boolean> {
    const [state] = await this.#options.store.inspect([clientId]);
    return state !== undefined && state.epoch > epoch && state.life <= epoch;
  }

  /** The fence of a retained shard refused a write: those who subscribed since get the message as a retained copy. */
  #copies(commit: Commit): void {
    const { router, store, peers, deliverCopy } = this.#options;
    const before = commit.copied ?? (commit.match as Match);
    const match = router.match(commit.topic);
    commit.copied = match;
    const known = new Set(before.sessions.map((target) => `${target.life} ${target.clientId}`));
    for (const target of match.sessions) {
      const grant = target.clientId === commit.publisher ? target.grantOthers : target.grant;
      if (commit.qos === 0 || grant === null || grant.qos === 0) continue;
      if (known.has(`${target.life} ${target.clientId}`)) continue;
      commit.parts++;
      store.submit(this.#enqueue(commit, target, grant, 0, true));
    }
    const message = liveMessage(commit, true);
    for (const incarnation of [...match.nodesAll, ...match.nodesQos0]) {
      commit.parts++;
      peers.live(incarnation, message, commit);
    }
    // Who was matched here is served when the message is released.
    const served = new Set((commit.match as Match).local.map(({ receiver }) => receiver));
    const fresh = match.local.filter(({ receiver }) => !served.has(receiver));
    if (fresh.length > 0) deliverCopy(fresh, commit);
  }
}

/**
 * Deadline of a queued message without an expiry of its own, store ms; 0 for none. Up to a thousandth later than asked
 * for, and a second at most, so that messages of the same time have the same header.
 */
export function queueDeadline(store: Pick<Store, 'nowMs'>, maxQueueTimeMs: number): number {
  if (maxQueueTimeMs === Number.POSITIVE_INFINITY) return 0;
  const stepMs = Math.min(1000, Math.max(1, Math.floor(maxQueueTimeMs / 1000)));
  return Math.ceil(store.nowMs() / stepMs) * stepMs + maxQueueTimeMs;
}

/** What another node needs to deliver a message to its live receivers. */
export function liveMessage(commit: Commit, copy: boolean): LiveMessage {
  return {
    publisher: commit.publisher,
    qos: commit.qos,
    retain: commit.retain,
    expiresAt: commit.expiresAt,
    ownExpiry: commit.ownExpiry,
    mark: copy ? null : commit.mark,
    copy,
    body: commit.body,
  };
}

class SessionEnqueue extends EnqueueOperation {
  readonly commit: Commit;
  /** The receiver's index in a shared payload. */
  readonly index: number;
  readonly #fanOut: FanOut;

  constructor(
    fanOut: FanOut,
    commit: Commit,
    target: SessionTarget,
    header: Buffer,
    body: Buffer,
    index: number,
  ) {
    super(
      target.clientId,
      target.life,
      commit.version,
      header,
      body,
      commit.mark,
      commit.retain ? commit.topic : null,
    );
    this.#fanOut = fanOut;
    this.commit = commit;
    this.index = index;
  }

  override complete(): void {
    this.#fanOut.answered(this);
  }
}

class SharedPayload extends StorePayloadOperation {
  readonly #commit: Commit;

  constructor(commit: Commit, receivers: number, expiresAt: number) {
    super(commit.payloadId as string, commit.body, receivers, expiresAt);
    this.#commit = commit;
  }

  override complete(): void {
    if (this.failed) return;
    stopPoint('publish/payload-stored');
    this.#commit.ready();
  }
}

class PayloadFinish extends FinishPayloadOperation {
  override complete(): void {}
}
