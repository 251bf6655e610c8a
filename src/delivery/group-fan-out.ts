// The way of a message to the groups of shared subscriptions that match it: in each of them one member is chosen and gets
// it as any session does, by its queue, or at QoS 0 live. A member that turns out to be gone, or in the group no more,
// is replaced by another one. At QoS 2 the choice lies in the record of the publisher's packet before anything is queued,
// and the mark of each member's messages outlives its session; so a repetition, on any node, asks the same member first
// and another one only when that one has not taken the message and never will. Whoever was chosen is given it only while
// it has been a member ever since (memberStill): behind that the record may name another one.
// Invariant: a commit's part is done when one member has the message, or when there is no member left.

import type { LiveMessage } from '../cluster/inbox-codec.ts';
import type { Peers } from '../cluster/peers.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Drop, Limit, type NodeStats } from '../observability/node-stats.ts';
import type { Router } from '../routing/router.ts';
import type { GroupMember, SharedGroup } from '../routing/shared-groups.ts';
import type { Sessions } from '../session/sessions.ts';
import { EnqueueOperation } from '../store/operations.ts';
import { encodeEntryHeader, groupMarkKey } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import type { Commit } from './commit.ts';
import {
  choiceOf,
  choiceOfClient,
  type GroupChoice,
  type GroupMessage,
  memberStill,
} from './group-message.ts';
import type { NodeMarks } from './marks.ts';

const NO_BODY = Buffer.alloc(0);
/** No session has this life: the store answers only whether the client has taken the message. */
const NO_LIFE = 0;

export interface GroupFanOutOptions {
  readonly incarnation: string;
  readonly store: Store;
  readonly router: Router;
  readonly peers: Peers;
  readonly sessions: Sessions;
  readonly marks: NodeMarks;
  readonly stats: NodeStats;
  /** Deadline in its queue of a message without an expiry of its own (store ms, 0 none). */
  queueDeadline(): number;
}

export class GroupFanOut {
  readonly #options: GroupFanOutOptions;

  constructor(options: GroupFanOutOptions) {
    this.#options = options;
  }

  /** A QoS 0 message: to one connected member of each group, if there is one. */
  live(groups: readonly SharedGroup[], topic: string, message: LiveMessage): void {
    for (const group of groups) {
      const member = this.#options.router.groups.choose(group, message.publisher, topic, true);
      if (member !== null) this.#deliver(member, message);
    }
  }

  /** A QoS 2 message is about to be recorded: chooses its members, so that the record can name them. */
  choose(commit: Commit): void {
    // A will has no record: whoever publishes it finds the same member by its mark.
    if (commit.mark !== null) return;
    const { groups } = this.#options.router;
    const choices: GroupChoice[] = [];
    for (const group of commit.match?.groups ?? []) {
      const member = groups.choose(group, commit.publisher, commit.topic, false);
      if (member !== null) choices.push(choiceOf(member));
    }
    commit.choices = choices;
  }

  /** Gives a commit of QoS 1 or 2 to one member of each group that it matched; answers to how many. */
  fanOut(commit: Commit): number {
    const groups = commit.match?.groups ?? [];
    let given = 0;
    for (const group of groups) if (this.#begin(commit, group)) given++;
    return given;
  }

  #begin(commit: Commit, group: SharedGroup): boolean {
    const { groups } = this.#options.router;
    const choice = commit.choices?.find(({ filter }) => filter === group.filter);
    if (choice === undefined) {
      // The group had no member when the packet was recorded: what comes before SUBACK is not asked for.
      if (commit.isRecorded) return false;
      // Without a record (a will) the same message goes to the same member again while that is there.
      const seed = commit.mark === null ? '' : `${commit.mark.mid}`;
      const member = groups.choose(group, commit.publisher, commit.topic, false, seed);
      if (member === null) return false;
      commit.parts++;
      this.#give(commit, member);
      return true;
    }
    commit.parts++;
    const member = memberStill(choice);
    if (member !== null) this.#give(commit, member);
    else if (commit.isRepetition) this.#probe(commit, choice);
    else this.replace(commit, group.filter);
    return true;
  }

  /** Any member of the group that can take a message; null where there is none. */
  candidate(filter: string, publisher: string, topic: string): GroupChoice | null {
    const { groups } = this.#options.router;
    const group = groups.get(filter);
    const member = group === undefined ? null : groups.choose(group, publisher, topic, false);
    return member === null ? null : choiceOf(member);
  }

  /** The member that a client is now, as a choice that has to be confirmed where it is written down. */
  choiceOfClient(filter: string, clientId: string): GroupChoice {
    return choiceOfClient(this.#options.router.groups, filter, clientId);
  }

  /** Gives a message to the member that is written down, who may have it already; to another one only if it never will. */
  placeAt(message: GroupMessage, choice: GroupChoice): void {
    const member = memberStill(choice);
    if (member === null) this.#probe(message, choice);
    else this.#give(message, member);
  }

  /** Gives a message to any member of the group: to another one, where somebody is written down. */
  replace(message: GroupMessage, filter: string): void {
    const { groups } = this.#options.router;
    const { publisher, topic, mark, isRecorded } = message;
    const group = groups.get(filter);
    const seed = mark === null || isRecorded ? '' : `${mark.key} ${mark.mid}`;
    const member = group === undefined ? null : groups.choose(group, publisher, topic, false, seed);
    if (member === null) message.noMember();
    else if (!isRecorded) this.#give(message, member);
    else this.#record(message, choiceOf(member));
  }

  /** Writes a choice down and goes on with it; where another client stands there, that one is confirmed first. */
  #record(message: GroupMessage, choice: GroupChoice): void {
    message.recordChoice(choice, (clientId) => {
      if (clientId === choice.clientId) this.placeAt(message, choice);
      else this.#record(message, this.choiceOfClient(choice.filter, clientId));
    });
  }

  #give(message: GroupMessage, member: GroupMember): void {
    const { store, router, stats } = this.#options;
    if (member.grant.qos === 0) {
      const { publisher, retain, expiresAt, ownExpiry, body, mark } = message;
      // What an ended session had is given up with it, and matched anew: nothing is owed twice.
      if (message.isCounted) stats.messagesDropped[Drop.SESSION_ENDED]++;
      const key = mark === null ? null : { ...mark, key: groupMarkKey(member.group.filter, mark.key) };
      this.#deliver(member, {
        ...{ publisher, qos: 0, retain, expiresAt, ownExpiry, body },
        ...{ mark: key, copy: false },
      });
      message.done();
      return;
    }
    member.load.pending++;
    stats.messagesShared++;
    store.submit(
      new GroupEnqueue(this, message, member, member.life, router.version, this.#header(message, member)),
    );
  }

  /** Asks whether a client that is in the group no more has taken the message before. */
  #probe(message: GroupMessage, { filter, clientId }: GroupChoice): void {
    const { store, router } = this.#options;
    const member = { group: { filter }, clientId };
    store.submit(new GroupEnqueue(this, message, member, NO_LIFE, router.version, NO_BODY));
  }

  #header(message: GroupMessage, { grant, group }: GroupMember): Buffer {
    const { expiresAt } = message;
    return encodeEntryHeader({
      qos: Math.min(grant.qos, message.qos) as 1 | 2,
      retain: message.retain && grant.retainAsPublished,
      expiresAt: expiresAt === 0 ? this.#options.queueDeadline() : expiresAt,
      ownExpiry: message.ownExpiry,
      reference: false,
      copy: false,
      writesRetained: message.retain,
      subscriptionIds: grant.subscriptionIds,
      group: group.filter,
    });
  }

  /** At QoS 0, live: here, or at the node of the member. */
  #deliver(member: GroupMember, message: LiveMessage): void {
    const { incarnation, peers, stats } = this.#options;
    const { node, clientId, group } = member;
    if (node === '') return;
    stats.messagesShared++;
    if (node === incarnation) this.arrived(clientId, group.filter, message);
    else peers.member(node, clientId, group.filter, message, null);
  }

  /** A message for one member that is connected here, from this node or another one. */
  arrived(clientId: string, filter: string, message: LiveMessage): void {
    const { sessions, stats, marks } = this.#options;
    const session = sessions.get(clientId);
    const subscription = session?.subscription(filter);
    if (message.mark !== null && !marks.take(message.mark)) {
      stats.messagesRepeated++;
      return;
    }
    stats.messagesMatched++;
    if (session === undefined || subscription === undefined) {
      stats.messagesDropped[Drop.SESSION_ENDED]++;
      return;
    }
    const { retainAsPublished, subscriptionId } = subscription;
    const ids = subscriptionId === 0 ? null : [subscriptionId];
    const { body, retain, expiresAt, ownExpiry } = message;
    session.deliverLive(body, 0, retain && retainAsPublished, ids, expiresAt, ownExpiry);
  }

  /** The answer to an enqueue, or to a probe. */
  answered(enqueue: GroupEnqueue): void {
    const { router } = this.#options;
    const { message, member, status } = enqueue;
    if (enqueue.failed) return;
    const known = 'load' in member ? member : null;
    if (status === 'stale') {
      this.#again(enqueue, known);
      return;
    }
    if (known !== null) router.groups.answered(known, status === 'queued' ? enqueue.waiting : -1);
    if (status === 'gone') {
      if (enqueue.life !== NO_LIFE) router.dropSession(member.clientId, enqueue.life);
      this.replace(message, member.group.filter);
      return;
    }
    this.#count(enqueue);
    message.done();
  }

  #count(enqueue: GroupEnqueue): void {
    const { incarnation, sessions, peers, stats } = this.#options;
    const { message, status, owner, clientId, life, seq, header } = enqueue;
    if (status === 'rejected') {
      if (!message.isCounted) stats.messagesMatched++;
      stats.messagesDropped[Drop.QUEUE_REJECTED]++;
      stats.limitRejections[Limit.QUEUED_MESSAGES]++;
      message.reasonCode = ReasonCode.QUOTA_EXCEEDED;
      return;
    }
    const isQueued = status === 'queued';
    if (isQueued) {
      if (!message.isCounted) {
        stats.messagesMatched++;
        stats.messagesQueued++;
      }
      if (enqueue.dropped > 0) stats.messagesDropped[Drop.QUEUE_FULL] += enqueue.dropped;
    } else {
      stats.messagesRepeated++;
    }
    // A repetition that the queue knew may be our own, of a call whose answer was lost, and with it the push.
    const body = isQueued ? enqueue.body : NO_BODY;
    if (owner === incarnation) sessions.push(clientId, life, seq, header, body);
    else if (owner !== '') peers.push(owner, clientId, life, seq, header, body);
  }

  /** Matched too long ago: the log is read to there, then the member takes it, if it is one still. */
  #again(enqueue: GroupEnqueue, member: GroupMember | null): void {
    const { router } = this.#options;
    if (router.version < enqueue.cut) {
      enqueue.again = true;
      enqueue.againLater = true;
      return;
    }
    enqueue.againLater = false;
    const isMember = member?.group.members.includes(member) === true;
    if (enqueue.message.isRecorded && (!isMember || member.life !== enqueue.life)) {
      // It never will take it; an earlier attempt, or this one when its answer was lost, may have given it.
      enqueue.life = NO_LIFE;
      enqueue.again = true;
      return;
    }
    if (isMember) {
      enqueue.life = member.life;
      enqueue.version = router.version;
      enqueue.header = this.#header(enqueue.message, member);
      enqueue.again = true;
      return;
    }
    if (member !== null) router.groups.answered(member, -1);
    this.replace(enqueue.message, enqueue.member.group.filter);
  }
}

type Asked = GroupMember | { readonly group: { readonly filter: string }; readonly clientId: string };

export class GroupEnqueue extends EnqueueOperation {
  readonly message: GroupMessage;
  readonly member: Asked;
  readonly #fanOut: GroupFanOut;

  constructor(
    fanOut: GroupFanOut,
    message: GroupMessage,
    member: Asked,
    life: number,
    version: number,
    header: Buffer,
  ) {
    const { mark } = message;
    const key = mark === null ? null : { key: groupMarkKey(member.group.filter, mark.key), mid: mark.mid };
    super(member.clientId, life, version, header, message.body, key, null);
    this.isOfGroup = true;
    this.message = message;
    this.member = member;
    this.#fanOut = fanOut;
  }

  override complete(): void {
    this.#fanOut.answered(this);
  }
}
