// The way from a session's queue to its client: pushed when the owner node hears of a message in time, pulled when it is
// behind. Both end in the same window. The simple ways fail: pushing alone loses what a lost notification announced;
// pulling alone costs a read per message; and assigning packet identifiers at delivery forgets them with the node. So the
// queue's sequence numbers are the truth: `window.next - 1` is the highest sent or read, `known` the highest heard of, and
// while known is ahead and there is room the pump pulls; this is looked at after every push, pull, committed ack, drain
// and resume. Packet identifiers follow from the sequence number, so that the next node uses the same ones.
// Invariant: what is pushed out of turn is dropped here and pulled later; nothing is ever sent twice on a connection.

import { packetIdOf, seqOf } from '../mqtt/packet-id.ts';
import { PacketType } from '../mqtt/packet-type.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { Drop } from '../observability/node-stats.ts';
import { decodeEntry, decodeReference, type Entry, PUBREL_ENTRY } from '../store/records.ts';
import { SwarmqError } from '../util/errors.ts';
import type { Link } from './link.ts';
import { PayloadDone, type PumpPort, SessionAck, SessionPull } from './pump-operations.ts';
import type { PumpOptions } from './pump-options.ts';
import { PushedRuns } from './pushed-runs.ts';
import { newSending, sendMessage } from './sending.ts';
import { DONE, RECEIVED, RELEASED, SENT_1, SENT_2, Window } from './window.ts';

const sending = newSending(1);

export class Pump implements PumpPort {
  readonly #options: PumpOptions;
  readonly #window: Window;
  readonly #runs = new PushedRuns();
  /** Oldest sequence number without a committed ack: the window's floor. */
  #floor: number;
  #known: number;
  /** Highest pushed since the pull under way was sent. */
  #pushed = 0;
  /** Up to here the client may have seen messages before: DUP, and no expiry. */
  readonly #repeatUntil: number;
  #link: Link | null = null;
  #inflightMax = 0;
  #pulling = false;
  /** The queue is to be read when that is possible: something waits, or may, that `known` does not tell of. */
  #mayWait: boolean;
  /** Sequence numbers that the pull under way asks for: there is room for them. */
  #asked = 0;
  #openAck: SessionAck | null = null;
  #committing = 0;
  #waitingForRoom: (() => void) | null = null;
  /** References of sent entries, by sequence number: their payloads are freed with the ack. */
  readonly #references = new Map<number, { payloadId: string; index: number }>();

  constructor(options: PumpOptions) {
    this.#options = options;
    this.#window = new Window(options.inflightMax, options.head);
    this.#floor = options.head;
    this.#known = options.tail;
    this.#mayWait = options.mayWait || options.tail >= options.head;
    this.#repeatUntil =
      options.sent >= 0 ? options.sent : Math.min(options.tail, options.head + options.inflightMax - 1);
  }

  /** Highest sequence number sent or read. */
  get sent(): number {
    return this.#window.next - 1;
  }

  /** Highest sequence number that the client may have seen, on this connection or an earlier one. */
  get seen(): number {
    return Math.max(this.sent, this.#repeatUntil);
  }

  get inflight(): number {
    return this.#window.inflight;
  }

  /** In flight, or room for it is taken. */
  get reserved(): number {
    return this.#window.inflight + this.#asked;
  }

  /** Messages known to wait behind what was sent. */
  get backlog(): number {
    return this.#known - this.sent;
  }

  /** Begins to send to a connection; the first thing it does is to pull, if anything may wait. */
  start(link: Link): void {
    this.#link = link;
    this.#inflightMax = Math.min(link.receiveMaximum, this.#options.inflightMax);
    this.flow();
  }

  stop(): void {
    this.#link = null;
    this.#waitingForRoom = null;
  }

  /** Calls `run` once when little waits in the queue: the reading of retained messages goes by it. */
  whenRoom(run: () => void): void {
    if (this.backlog < this.#options.inflightMax) run();
    else this.#waitingForRoom = run;
  }

  /** The queue is longer than this pump has heard of. */
  isBehind(tail: number): boolean {
    return tail > this.#known;
  }

  /** The queue's tail as somebody heard of it. */
  learn(tail: number): void {
    if (tail > this.#pushed) this.#pushed = tail;
    if (tail > this.#known) this.#known = tail;
    this.flow();
  }

  /** The next so many pushes are of messages that lie in the queue as one value, of so many bytes. */
  beginRun(first: number, count: number, bytes: number): void {
    if (first === this.#window.next) this.#runs.add(first, count, bytes);
  }

  /**
   * A message for this session as it was queued; seq 0 tells only that something may wait. Sent on at once when it is
   * the next and there is room. The header of its entry, of so many bytes, lies in `header` at `at`, the body is
   * body[start, end).
   */
  push(
    seq: number,
    header: Buffer,
    body: Buffer,
    headerBytes = header.length,
    at = 0,
    start = 0,
    end = body.length,
  ): void {
    if (seq === 0) {
      this.#pull(true);
      return;
    }
    if (seq > this.#pushed) this.#pushed = seq;
    if (seq > this.#known) this.#known = seq;
    const link = this.#link;
    if (link !== null && seq === this.#window.next && !this.#pulling && this.#hasRoom(link)) {
      const flags = header[at + 1];
      const bytes = headerBytes + end - start;
      if ((flags & 0x10) !== 0) {
        const reference = body.subarray(start, end);
        if (!this.#pushReference(link, seq, header.subarray(at), bytes, reference)) this.flow();
        return;
      }
      if (headerBytes === 9) {
        sending.qos = (flags & 3) as 1 | 2;
        sending.retain = (flags & 0x04) !== 0;
        sending.ownExpiry = (flags & 0x08) !== 0;
        sending.expiresAt = header.readUIntBE(at + 2, 6);
        sending.subscriptionIds = null;
      } else {
        this.#fill(decodeEntry(header.subarray(at)));
      }
      this.#options.stats.pushesTaken++;
      this.#sendUnlessOld(link, seq, body, bytes, flags, start, end);
      return;
    }
    this.#options.stats.pushesPassedOver++;
    this.flow();
  }

  /** A push that refers to a shared payload goes straight on only where this node has the payload at hand. */
  #pushReference(link: Link, seq: number, header: Buffer, bytes: number, reference: Buffer): boolean {
    const decoded = decodeReference(reference);
    const body = this.#options.payloads.peek(decoded.payloadId);
    if (body === undefined) return false;
    this.#references.set(seq, decoded);
    this.#fill(decodeEntry(header));
    this.#sendUnlessOld(link, seq, body, bytes, header[1]);
    return true;
  }

  /** Sends what is behind, if anything is and there is room. */
  flow(): void {
    if (this.#mayWait || this.#known > this.sent) this.#pull(this.#mayWait);
    else this.#tellRoom();
  }

  handlePuback(packetId: number): void {
    const seq = seqOf(packetId, this.#window.oldest, this.#options.ids);
    if (this.#window.state(seq) !== SENT_1) return;
    this.#finish(seq, this.#isAtEase).delivered1++;
  }

  handlePubrec(packetId: number, reasonCode: number): void {
    const seq = seqOf(packetId, this.#window.oldest, this.#options.ids);
    const state = this.#window.state(seq);
    if (state === SENT_2) {
      // A refused message is not sent again [MQTT-4.8.2-6]; else PUBREL waits until "PUBREC seen" is committed.
      if (reasonCode >= 0x80) {
        this.#finish(seq).delivered2++;
        return;
      }
      this.#window.change(seq, RECEIVED);
      this.#noteReceived(seq);
    } else if (state === RELEASED) {
      this.#link?.sendAck(PacketType.PUBREL, packetId);
    } else if (state !== RECEIVED && reasonCode < 0x80) {
      this.#link?.sendAck(PacketType.PUBREL, packetId, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND);
    }
  }

  /** Commits "PUBREC seen"; PUBREL leaves then. */
  #noteReceived(seq: number): void {
    const ack = this.#ack();
    ack.release(seq, this.#window.bytesOf(seq));
    this.#window.setBytes(seq, PUBREL_ENTRY.length);
    this.#forgetPayload(seq, ack);
  }

  handlePubcomp(packetId: number): void {
    const seq = seqOf(packetId, this.#window.oldest, this.#options.ids);
    if (this.#window.state(seq) !== RELEASED) return;
    this.#finish(seq).delivered2++;
  }

  sealAck(ack: SessionAck): void {
    ack.head = this.#window.oldest;
    this.#runs.tell(ack, this.#window);
    this.#openAck = null;
  }

  ackCommitted(ack: SessionAck): void {
    this.#committing--;
    if (ack.failed) return;
    if (ack.status === 'fenced') {
      this.#options.onFenced();
      return;
    }
    if (ack.head > this.#floor) this.#floor = ack.head;
    ack.count(this.#options.stats);
    for (const seq of ack.released) {
      if (this.#window.state(seq) !== RECEIVED) continue;
      this.#window.change(seq, RELEASED);
      this.#link?.sendAck(PacketType.PUBREL, packetIdOf(seq, this.#options.ids));
    }
    for (const { payloadId, index } of ack.finished) {
      this.#options.store.submit(new PayloadDone(payloadId, [index]));
    }
    if (ack.tail > this.#known) this.#known = ack.tail;
    this.flow();
  }

  /**
   * The store lost its tail: what was known of the queue's end may be too high, and what the client has acknowledged may
   * be back in the queue, which the next claim would send again. The one is asked for, the other told again.
   */
  forgetKnown(): void {
    this.#known = this.sent;
    this.#pushed = 0;
    const window = this.#window;
    const ack = this.#ack();
    for (let seq = window.oldest; seq < window.next; seq++) {
      const state = window.state(seq);
      if (state === DONE && !ack.done.includes(seq)) ack.done.push(seq);
      else if (state === RELEASED && !ack.released.includes(seq)) ack.released.push(seq);
    }
    this.#pull(true);
  }

  /** All is sent and the floor is far enough behind: nothing waits for acks to be committed. */
  get #isAtEase(): boolean {
    const window = this.#window;
    return this.#known < window.next && (window.next - this.#floor) * 2 < window.span;
  }

  #hasRoom(link: Link): boolean {
    const window = this.#window;
    const inflight = window.inflight + this.#options.inflightBeside();
    return inflight < this.#inflightMax && window.next < this.#floor + window.span && link.hasRoom();
  }

  #pull(always: boolean): void {
    const link = this.#link;
    if (link === null || this.#pulling) {
      this.#mayWait ||= always;
      return;
    }
    const window = this.#window;
    const inflight = window.inflight + this.#options.inflightBeside();
    const count = Math.min(this.#inflightMax - inflight, this.#floor + window.span - window.next);
    if (!always && (count <= 0 || !link.hasRoom())) {
      // Holes alone may have used the window up: then no ack is coming that would move the floor.
      if (window.oldest > this.#floor && (this.#committing === 0 || this.#openAck)) this.#ack();
      return;
    }
    this.#pulling = true;
    this.#mayWait = false;
    this.#asked = Math.max(count, 0);
    this.#pushed = 0;
    this.#options.stats.pulls++;
    const { clientId, owner, pullBytes, store } = this.#options;
    store.submit(new SessionPull(this, clientId, owner, window.next, this.#asked, pullBytes));
  }

  pulled(pull: SessionPull): void {
    if (pull.failed) return;
    if (pull.status === 'fenced') {
      this.#pulling = false;
      this.#asked = 0;
      this.#options.onFenced();
      return;
    }
    if (pull.tail < this.sent) {
      // What is queued from here on has numbers that this connection has had: the next one begins at the queue's head.
      const detail = `queue of ${this.#options.clientId} ends at ${pull.tail}, ${this.sent} was sent`;
      this.#options.onUnreadable(new SwarmqError('SWARMQ_ERR_RECORD_CORRUPT', detail));
      return;
    }
    this.#known = Math.max(pull.tail, this.#pushed);
    const entries: (Entry | null)[] = [];
    const references: string[] = [];
    try {
      for (let index = 0; index < pull.entries.length; index++) {
        const bytes = pull.entries[index] as Buffer | null;
        entries.push(bytes === null ? null : this.#decode(pull.first + index, bytes, references));
      }
    } catch (error) {
      this.#options.onUnreadable(error);
      return;
    }
    if (references.length === 0) {
      this.#take(pull, entries, null);
      return;
    }
    this.#options.payloads.read(references, (bodies) => this.#take(pull, entries, bodies));
  }

  /** Null for a damaged one, which is passed over as a hole is; throws for another version. Collects references. */
  #decode(seq: number, bytes: Buffer, references: string[]): Entry | null {
    try {
      const entry = decodeEntry(bytes);
      if (entry.reference) references.push(decodeReference(entry.body).payloadId);
      return entry;
    } catch (error) {
      this.#noteDamage(seq, error);
      return null;
    }
  }

  /** Tells a damaged entry; any other error goes on. */
  #noteDamage(seq: number, cause: unknown): void {
    if (!(cause instanceof SwarmqError) || cause.code !== 'SWARMQ_ERR_RECORD_CORRUPT') throw cause;
    const detail = `queue entry ${seq} of ${this.#options.clientId}`;
    this.#options.onDamaged(new SwarmqError(cause.code, detail, { cause }));
  }

  #take(pull: SessionPull, entries: (Entry | null)[], bodies: ReadonlyMap<string, Buffer> | null): void {
    this.#pulling = false;
    this.#asked = 0;
    const link = this.#link;
    if (link === null) return;
    const window = this.#window;
    if (pull.first > window.next) window.skipTo(pull.first, this.#floor + window.span);
    for (let index = 0; index < entries.length; index++) {
      const seq = pull.first + index;
      if (seq < window.next) continue;
      if (seq >= this.#floor + window.span) break;
      const entry = entries[index];
      if (entry === null) {
        window.enter(seq, DONE, 0);
        continue;
      }
      try {
        this.#takeEntry(link, seq, entry, pull.entries[index] as Buffer, bodies);
      } catch (error) {
        // Its body is damaged: nothing of it was sent.
        this.#noteDamage(seq, error);
        this.#references.delete(seq);
        window.enter(seq, DONE, 0);
      }
    }
    window.advance();
    this.flow();
  }

  #takeEntry(
    link: Link,
    seq: number,
    entry: Entry,
    record: Buffer,
    bodies: ReadonlyMap<string, Buffer> | null,
  ): void {
    const bytes = record.length;
    if (entry.pubrel) {
      this.#window.enter(seq, RELEASED, bytes);
      link.sendAck(PacketType.PUBREL, packetIdOf(seq, this.#options.ids));
      return;
    }
    let body: Buffer | undefined = entry.body;
    if (entry.reference) {
      const reference = decodeReference(entry.body);
      this.#references.set(seq, reference);
      body = bodies?.get(reference.payloadId);
      if (body === undefined) {
        // Its deadline has passed and the payload was freed. A client that may have received it waits for PUBREL.
        if (entry.qos < 2 || seq > this.#repeatUntil) this.#pass(seq, bytes, Drop.EXPIRED);
        else {
          this.#window.enter(seq, RECEIVED, bytes);
          this.#noteReceived(seq);
        }
        return;
      }
    }
    this.#fill(entry);
    this.#sendUnlessOld(link, seq, body, bytes, record[1]);
  }

  #fill(entry: Entry): void {
    sending.qos = entry.qos;
    sending.retain = entry.retain;
    sending.ownExpiry = entry.ownExpiry;
    sending.expiresAt = entry.expiresAt;
    sending.subscriptionIds = entry.subscriptionIds;
  }

  /** Sends an entry whose second byte is `flags`, but not a copy that is older than what has come. */
  #sendUnlessOld(
    link: Link,
    seq: number,
    body: Buffer,
    bytes: number,
    flags: number,
    start = 0,
    end = body.length,
  ): void {
    if ((flags & 0x20) !== 0 && seq > this.#repeatUntil && this.#options.isOldCopy(seq)) {
      this.#pass(seq, bytes, Drop.SUPERSEDED);
      return;
    }
    if ((flags & 0x40) !== 0) this.#options.onRetained(body.subarray(start, end));
    this.#send(link, seq, body, bytes, start, end);
  }

  /** Sends what `sending` says as `seq`, the next one. */
  #send(link: Link, seq: number, body: Buffer, bytes: number, start: number, end: number): void {
    const { store, stats } = this.#options;
    const isRepeat = seq <= this.#repeatUntil;
    const needsTime = sending.expiresAt !== 0;
    const nowMs = needsTime ? store.nowMs() : 0;
    if (needsTime && !isRepeat && nowMs >= sending.expiresAt) {
      this.#pass(seq, bytes, Drop.EXPIRED);
      return;
    }
    sending.dup = isRepeat;
    sending.packetId = packetIdOf(seq, this.#options.ids);
    const qos = sending.qos;
    if (!sendMessage(link, body, sending, nowMs, start, end)) {
      this.#pass(seq, bytes, Drop.CLIENT_PACKET_SIZE);
      return;
    }
    if (isRepeat) stats.messagesResent++;
    this.#window.enter(seq, qos === 2 ? SENT_2 : SENT_1, bytes);
  }

  /** Enters and finishes one that is not sent. */
  #pass(seq: number, bytes: number, reason: number): void {
    this.#window.enter(seq, SENT_1, bytes);
    this.#finish(seq).dropped.push(reason);
  }

  /** Answers the open ack, by which it is to be counted. */
  #finish(seq: number, isPatient = false): SessionAck {
    const ack = this.#ack(isPatient);
    ack.done.push(seq);
    ack.bytes += this.#window.bytesOf(seq);
    this.#forgetPayload(seq, ack);
    this.#window.finish(seq);
    return ack;
  }

  #forgetPayload(seq: number, ack: SessionAck): void {
    if (this.#references.size === 0) return;
    const reference = this.#references.get(seq);
    if (reference === undefined) return;
    this.#references.delete(seq);
    ack.finished.push(reference);
  }

  #ack(isPatient = false): SessionAck {
    if (this.#openAck === null) {
      const { clientId, owner, store } = this.#options;
      this.#openAck = new SessionAck(this, clientId, owner);
      this.#openAck.isPatient = isPatient;
      this.#committing++;
      store.submit(this.#openAck);
    } else if (this.#openAck.isPatient && !isPatient) {
      this.#options.store.hurry(this.#openAck);
    }
    return this.#openAck;
  }

  #tellRoom(): void {
    const run = this.#waitingForRoom;
    if (run === null || this.backlog >= this.#options.inflightMax) return;
    this.#waitingForRoom = null;
    run();
  }
}
