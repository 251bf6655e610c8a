// The receiving half of QoS 2 for one connection [MQTT-4.3.3]. First sight of a packet identifier is recorded in the
// publisher's session before any enqueue; the record's mid and slot mark the message, so that a repetition, on any node,
// redoes the whole fan-out and reaches nobody twice. A slot holds one unfinished message and is freed with the record.
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
import { type Reception, Receptions } from '../store/receptions.ts';
import { markKey } from '../store/records.ts';
import type { Store } from '../store/store.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { Commit } from './commit.ts';
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
    if (reception === undefined) return 'new';
    if (reception.state === 'open') return 'again';
    if (reception.state === 'received') this.#answer(PacketType.PUBREC, packetId, 0);
    return 'known';
  }

  /** Records the packet identifier, as a prerequisite of the commit, or gives it the mark recorded before. */
  begin(commit: Commit): void {
    const { packetId } = commit;
    commit.recorder = this;
    const reception = this.#receptions.get(packetId);
    if (reception !== undefined) {
      reception.state = 'busy';
      this.#mark(commit, reception);
      this.#repeat(commit, reception);
      return;
    }
    const first = this.#receptions.add(packetId, encodeChoices(commit.choices));
    commit.prerequisites++;
    const { clientId, owner } = this.#session;
    this.#store.submit(new Record(this, commit, clientId, owner, this.#receptions, first));
  }

  #mark(commit: Commit, { slot, mid }: Reception): void {
    const key = this.#markKeys[slot] ?? markKey(commit.publisher, slot);
    if (slot <= this.#markKeys.length) this.#markKeys[slot] = key;
    commit.mark = { key, mid };
  }

  /** What was recorded of the members of shared groups goes before what would be chosen now. */
  #repeat(commit: Commit, reception: Reception): void {
    const { choices } = reception;
    commit.isRepetition = true;
    commit.choices = decodeChoices(choices, this.#groups);
    if (choices === '') return;
    commit.prerequisites++;
    this.#write(reception, (isOurs) => {
      commit.cancelled ||= !isOurs;
      commit.ready();
    });
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
    if (reception === undefined) {
      const { version } = this.#link;
      const code = version === 5 ? ReasonCode.PACKET_IDENTIFIER_NOT_FOUND : 0;
      this.#answer(PacketType.PUBCOMP, packetId, code);
      return;
    }
    if (reception.state !== 'over') this.#forget(packetId, PacketType.PUBCOMP, 0);
  }

  /** Removes the record; then the packet that ends the exchange leaves. */
  #forget(packetId: number, answer: AnswerType, reasonCode: number): void {
    const reception = this.#receptions.get(packetId);
    if (reception === undefined) return;
    reception.state = 'over';
    const { clientId, owner } = this.#session;
    this.#store.submit(new Forget(this, clientId, owner, this.#receptions, reception, answer, reasonCode));
  }

  forgotten(forget: Forget): void {
    if (forget.failed) return;
    stopPoint('publish/forgotten');
    if (forget.status === 'fenced') {
      this.#session.lose();
      return;
    }
    const { reception } = forget;
    if (this.#receptions.get(reception.packetId) === reception) {
      this.#receptions.remove(reception);
      this.#onFinished();
    }
    this.#answer(forget.answer, reception.packetId, forget.reasonCode);
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
    answer: AnswerType,
    reasonCode: number,
  ) {
    super(clientId, owner, receptions, reception);
    this.#inbound = inbound;
    this.answer = answer;
    this.reasonCode = reasonCode;
  }

  override complete(): void {
    this.#inbound.forgotten(this);
  }
}
