// The receiving half of QoS 2 for one connection [MQTT-4.3.3]. A packet identifier is recorded in the publisher's session
// before any enqueue; the record's mid and slot mark the message, so that a repetition, on any node, redoes the whole
// fan-out and reaches nobody twice. A slot holds one unfinished message. The write that removes a record puts the next
// message's ahead into its slot, so that one whose identifier was expected is recorded when it comes.
// Members of shared groups that a repetition finds in the record are confirmed there first: only while this connection
// may still write the record, what it knows of them counts.
// Invariant: PUBREC leaves when everything is committed; what ends the exchange, PUBCOMP or a PUBREC that refuses, leaves
// when the removal of the record is, because the client may use the identifier for another message then.

import { PacketType } from '../mqtt/packet-type.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import type { SharedGroups } from '../routing/shared-groups.ts';
import type { Link } from '../session/link.ts';
import { sendAnswer } from '../session/sending.ts';
import type { Session } from '../session/session.ts';
import { ForgetInboundOperation, type Owner, RecordInboundOperation } from '../store/operations.ts';
import { type Reception, Receptions, UNCHOSEN } from '../store/receptions.ts';
import { markKey } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { Commit } from './commit.ts';
import { ExpectedIds } from './expected-ids.ts';
import type { Gate, Waiter } from './gate.ts';
import { decodeChoices, encodeChoices, type GroupChoice } from './group-message.ts';

type AnswerType = typeof PacketType.PUBREC | typeof PacketType.PUBCOMP;

export class InboundQos2 {
  readonly #store: Store;
  readonly #gate: Gate;
  readonly #session: Session;
  readonly #groups: SharedGroups;
  readonly #link: Link;
  readonly #onFinished: () => void;
  readonly #receptions: Receptions;
  /** Keys of the marks, by slot: each serves many messages. */
  readonly #markKeys: string[] = [];
  readonly #expected = new ExpectedIds();
  /** Messages that came before the write was done that records them ahead. */
  readonly #early = new Map<Reception, Commit>();

  /** `onFinished` is called for each reception whose exchange ends: it does not count against Receive Maximum any more. */
  constructor(
    store: Store,
    gate: Gate,
    groups: SharedGroups,
    session: Session,
    link: Link,
    onFinished: () => void,
  ) {
    this.#store = store;
    this.#gate = gate;
    this.#groups = groups;
    this.#session = session;
    this.#link = link;
    this.#onFinished = onFinished;
    session.receptions ??= new Receptions([]);
    this.#receptions = session.receptions;
  }

  /**
   * What a PUBLISH with this packet identifier is: 'new' or 'again' have to go the whole way (the commit is given its
   * mark by begin()); 'known' needs nothing more.
   */
  sight(packetId: number): 'new' | 'again' | 'known' {
    const reception = this.#receptions.get(packetId);
    if (reception === undefined || reception.state === 'ahead') return 'new';
    if (reception.state === 'open') return 'again';
    if (reception.state === 'received') this.#answer(PacketType.PUBREC, packetId, 0);
    return 'known';
  }

  /** Records the packet identifier, as a prerequisite of the commit, or gives it the mark recorded before. */
  begin(commit: Commit): void {
    const { packetId } = commit;
    commit.recorder = this;
    const reception = this.#receptions.get(packetId);
    if (reception === undefined) {
      this.#expected.learn(packetId);
      this.#record(commit, this.#receptions.add(packetId, encodeChoices(commit.choices)));
      return;
    }
    if (reception.state === 'ahead') this.#expected.confirm(packetId);
    else this.#expected.learn(packetId);
    reception.state = 'busy';
    if (reception.choices === UNCHOSEN) {
      reception.choices = encodeChoices(commit.choices);
    } else {
      commit.isRepetition = true;
      commit.choices = decodeChoices(reception.choices, this.#groups);
    }
    if (reception.mid > 0) {
      this.#take(commit, reception);
      return;
    }
    commit.prerequisites++;
    this.#early.set(reception, commit);
  }

  #record(commit: Commit, reception: Reception): void {
    commit.prerequisites++;
    const { clientId, owner } = this.#session;
    this.#store.submit(new Record(this, commit, clientId, owner, this.#receptions, reception));
  }

  /**
   * It is recorded. The members of groups that it goes to are written down, or confirmed; and one to be retained is written
   * again as it is, because that alone tells whether this connection may still replace what the client has retained since.
   */
  #take(commit: Commit, reception: Reception): void {
    this.#mark(commit, reception);
    if (reception.choices === '' && !commit.retain) return;
    commit.prerequisites++;
    this.#write(reception, (isOurs) => {
      commit.cancelled ||= !isOurs;
      commit.ready();
    });
  }

  #mark(commit: Commit, { slot, mid }: Reception): void {
    const key = this.#markKeys[slot] ?? markKey(commit.publisher, slot);
    if (slot <= this.#markKeys.length) this.#markKeys[slot] = key;
    commit.mark = { key, mid };
  }

  /** Writes down that this member gets it, in place of the one of its group that stands there. */
  recordChoice(commit: Commit, choice: GroupChoice, then: (clientId: string) => void): void {
    const reception = this.#receptions.get(commit.packetId) as Reception;
    const others = (commit.choices ?? []).filter(({ filter }) => filter !== choice.filter);
    commit.choices = [...others, choice];
    reception.choices = encodeChoices(commit.choices);
    this.#write(reception, (isOurs) => {
      if (isOurs) then(choice.clientId);
      else {
        commit.isFenced = true;
        commit.done();
      }
    });
  }

  #write(reception: Reception, then: (isOurs: boolean) => void): void {
    const { clientId, owner } = this.#session;
    this.#store.submit(new ChoiceRecord(this, clientId, owner, this.#receptions, reception, then));
  }

  /** The members of groups stand in the record, or it is not ours any more. */
  choiceRecorded(record: ChoiceRecord): void {
    if (record.failed) return;
    const isOurs = record.status === 'ok';
    if (!isOurs) this.#session.lose();
    record.goOn(isOurs);
  }

  recorded(record: Record): void {
    if (record.failed) return;
    stopPoint('publish/recorded');
    const { commit } = record;
    if (record.status === 'fenced') {
      commit.cancelled = true;
      this.#session.lose();
    } else {
      this.#mark(commit, record.reception);
    }
    commit.ready();
  }

  /** All parts are committed and the gate is open: PUBREC leaves. A refusal ends the exchange [MQTT5-4.3.3]. */
  received(packetId: number, reasonCode: number): void {
    // Before MQTT 5 nothing can be refused: the exchange goes on as if it were not.
    if (reasonCode >= 0x80 && this.#link.version === 5) {
      this.#forget(packetId, PacketType.PUBREC, reasonCode);
      return;
    }
    const reception = this.#receptions.get(packetId);
    if (reception?.state === 'busy') reception.state = 'received';
    sendAnswer(this.#link, PacketType.PUBREC, packetId, reasonCode);
  }

  /** PUBREL: the record goes, then PUBCOMP leaves. */
  release(packetId: number): void {
    const reception = this.#receptions.get(packetId);
    if (reception === undefined || reception.state === 'ahead') {
      const { version } = this.#link;
      const code = version === 5 ? ReasonCode.PACKET_IDENTIFIER_NOT_FOUND : 0;
      this.#answer(PacketType.PUBCOMP, packetId, code);
      return;
    }
    if (reception.state !== 'over') this.#forget(packetId, PacketType.PUBCOMP, 0);
  }

  /** Removes the record, with the next one ahead in its slot; then the packet that ends the exchange leaves. */
  #forget(packetId: number, answer: AnswerType, reasonCode: number): void {
    const receptions = this.#receptions;
    const reception = receptions.get(packetId);
    if (reception === undefined) return;
    reception.state = 'over';
    const nextId = this.#expected.take(packetId, receptions);
    const next = nextId === 0 ? null : receptions.addAhead(reception, nextId);
    const { clientId, owner } = this.#session;
    this.#store.submit(new Forget(this, clientId, owner, receptions, reception, next, answer, reasonCode));
  }

  forgotten(forget: Forget): void {
    if (forget.failed) return;
    stopPoint('publish/forgotten');
    const { reception, next } = forget;
    const isOurs = forget.status === 'ok';
    if (!isOurs) this.#session.lose();
    else if (this.#receptions.get(reception.packetId) === reception) {
      this.#receptions.remove(reception);
      this.#onFinished();
    }
    if (next !== null) this.#settleAhead(next, isOurs);
    if (isOurs) this.#answer(forget.answer, reception.packetId, forget.reasonCode);
  }

  /** The write that should record it ahead is done. */
  #settleAhead(next: Reception, isOurs: boolean): void {
    const commit = this.#early.size === 0 ? undefined : this.#early.get(next);
    if (commit === undefined) {
      // Memory is too full.
      if (isOurs && next.mid === 0) this.#drop(next);
      return;
    }
    this.#early.delete(next);
    if (!isOurs) commit.cancelled = true;
    else if (next.mid > 0) this.#take(commit, next);
    else this.#record(commit, next);
    commit.ready();
  }

  #drop(next: Reception): void {
    next.state = 'over';
    this.#receptions.remove(next);
  }

  /** The connection ended: what is recorded ahead goes, as far as the session is ours and outlives it. */
  close(): void {
    if (this.#session.isEnded || !this.#session.persistent) return;
    const { clientId, owner } = this.#session;
    for (const next of this.#receptions.allAhead()) {
      next.state = 'over';
      this.#store.submit(new Unneeded(clientId, owner, this.#receptions, next, null));
    }
  }

  #answer(type: AnswerType, packetId: number, reasonCode: number): void {
    const link = this.#link;
    if (this.#gate.isOpen) sendAnswer(link, type, packetId, reasonCode);
    else this.#gate.wait(new HeldAnswer(this, type, packetId, reasonCode));
  }

  answerHeld(held: HeldAnswer): void {
    this.#answer(held.type, held.packetId, held.reasonCode);
  }
}

class HeldAnswer implements Waiter {
  readonly type: AnswerType;
  readonly packetId: number;
  readonly reasonCode: number;
  readonly #inbound: InboundQos2;

  constructor(inbound: InboundQos2, type: AnswerType, packetId: number, reasonCode: number) {
    this.#inbound = inbound;
    this.type = type;
    this.packetId = packetId;
    this.reasonCode = reasonCode;
  }

  goOn(): void {
    this.#inbound.answerHeld(this);
  }
}

class Record extends RecordInboundOperation {
  readonly commit: Commit;
  readonly #inbound: InboundQos2;

  constructor(
    inbound: InboundQos2,
    commit: Commit,
    clientId: string,
    owner: Owner,
    receptions: Receptions,
    reception: Reception,
  ) {
    super(clientId, owner, receptions, reception);
    this.#inbound = inbound;
    this.commit = commit;
  }

  override complete(): void {
    this.#inbound.recorded(this);
  }
}

class ChoiceRecord extends RecordInboundOperation {
  readonly goOn: (isOurs: boolean) => void;
  readonly #inbound: InboundQos2;

  constructor(
    inbound: InboundQos2,
    clientId: string,
    owner: Owner,
    receptions: Receptions,
    reception: Reception,
    goOn: (isOurs: boolean) => void,
  ) {
    super(clientId, owner, receptions, reception);
    this.#inbound = inbound;
    this.goOn = goOn;
  }

  override complete(): void {
    this.#inbound.choiceRecorded(this);
  }
}

class Forget extends ForgetInboundOperation {
  /** The packet that leaves when the record is gone. */
  readonly answer: AnswerType;
  readonly reasonCode: number;
  readonly #inbound: InboundQos2;

  constructor(
    inbound: InboundQos2,
    clientId: string,
    owner: Owner,
    receptions: Receptions,
    reception: Reception,
    next: Reception | null,
    answer: AnswerType,
    reasonCode: number,
  ) {
    super(clientId, owner, receptions, reception, next);
    this.#inbound = inbound;
    this.answer = answer;
    this.reasonCode = reasonCode;
  }

  override complete(): void {
    this.#inbound.forgotten(this);
  }
}

/** The record of a message that did not come. */
class Unneeded extends ForgetInboundOperation {
  override complete(): void {
    this.receptions.remove(this.reception);
  }
}
