// One session on the node that holds its claim: its subscriptions, its way out (a pump over the queue, or a live window
// when the session ends with its connection) and the steps of SUBSCRIBE and UNSUBSCRIBE. Every write names the claim, so
// that a session taken over elsewhere changes nothing: the store refuses, and the connection is closed here.
// Invariant: SUBACK may leave when record, log and barrier are done; UNSUBACK when the record refuses older matches.

import { BodyView } from '../mqtt/message.ts';
import { ALL_IDS, GROUP_IDS } from '../mqtt/packet-id.ts';
import { ReasonCode } from '../mqtt/reason-code.ts';
import { isSharedFilter } from '../mqtt/topic.ts';
import { Drop, SessionHappening } from '../observability/node-stats.ts';
import { isUnchanged } from '../routing/grant.ts';
import type { LiveReceiver } from '../routing/local-routes.ts';
import type { Owner } from '../store/operations.ts';
import { Receptions } from '../store/receptions.ts';
import { encodeRow, type Subscription } from '../store/records.ts';
import type { ClaimedSession } from '../store/store.ts';
import { SwarmqError } from '../util/errors.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { SessionContext, SessionKeeper, SessionRequest } from './context.ts';
import type { Link, ProtocolVersion } from './link.ts';
import { LiveWindow } from './live-window.ts';
import { Pump } from './pump.ts';
import { RetainedReading, readingsFor } from './retained-reading.ts';
import { newSending, sendMessage } from './sending.ts';
import type { WaitingCopy } from './waiting-copies.ts';

const view = new BodyView();
const sending = newSending(0);

export class Session implements LiveReceiver {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly present: boolean;
  readonly life: number;
  readonly epoch: number;
  readonly owner: Owner;
  /** The session has a queue: it outlives its connections, or did when it was made. */
  readonly persistent: boolean;
  /** Never rejects. Null where no will of an earlier connection is in doubt. */
  earlierWills: Promise<void> | null = null;
  /** Unfinished QoS 2 receptions from the client; null until there is one. */
  receptions: Receptions | null;
  /** Seconds the session outlives its connection, as CONNECT and DISCONNECT said. */
  readonly expirySec: number;
  #rev: number;
  #rowVersion: number;
  /** The barrier of the last change, when it has not ended: an unchanged SUBSCRIBE joins it. */
  #announcement: Promise<unknown> | null = null;
  readonly #subscriptions: Map<string, Subscription>;
  /** It has or had shared subscriptions: their messages come by its queue, also where it ends with its connection. */
  #isMember: boolean;
  readonly #context: SessionContext;
  readonly #keeper: SessionKeeper;
  #pump: Pump | null = null;
  readonly #live: LiveWindow | null;
  readonly #reading: RetainedReading;
  #link: Link | null = null;
  #ended = false;
  /** The store gets to know how the connection ended. */
  #isTold = true;

  constructor(
    context: SessionContext,
    keeper: SessionKeeper,
    request: SessionRequest,
    claimed: ClaimedSession,
    subscriptions: Map<string, Subscription>,
  ) {
    this.#context = context;
    this.#keeper = keeper;
    this.clientId = request.clientId;
    this.version = request.version;
    this.persistent = request.persistent;
    this.expirySec = request.expirySec;
    this.present = claimed.present;
    this.life = claimed.life;
    this.epoch = claimed.epoch;
    this.receptions = claimed.inbound.length > 0 ? new Receptions(claimed.inbound) : null;
    this.owner = { incarnation: context.incarnation, epoch: claimed.epoch };
    this.#rev = claimed.rev;
    this.#rowVersion = claimed.rowVersion;
    this.#subscriptions = subscriptions;
    this.#isMember = [...subscriptions.values()].some((one) => isSharedFilter(one.filter));
    const { store, limits, stats } = context;
    if (this.persistent) this.#pump = this.#makePump(claimed, request.mayWait);
    this.#live = this.persistent
      ? null
      : new LiveWindow({
          stats,
          inflightMax: limits.maxInflightMessages,
          backlogMax: limits.maxQueuedMessages,
          backlogMaxBytes: limits.maxConnectionBytes,
          dropOldest: limits.queueFullPolicy === 'drop-oldest',
          nowMs: () => store.nowMs(),
          inflightBeside: () => this.#pump?.reserved ?? 0,
        });
    this.#reading = new RetainedReading(this, context, claimed.reading);
  }

  #makePump({ head, tail, sent }: Pick<ClaimedSession, 'head' | 'tail' | 'sent'>, mayWait: boolean): Pump {
    const { store, limits, stats, payloads, onFault } = this.#context;
    return new Pump({
      store,
      payloads,
      stats,
      clientId: this.clientId,
      owner: this.owner,
      ...{ head, tail, sent, mayWait },
      inflightMax: limits.maxInflightMessages,
      pullBytes: limits.pullBytes,
      ids: this.persistent ? ALL_IDS : GROUP_IDS,
      inflightBeside: () => this.#live?.inflight ?? 0,
      onFenced: () => this.#doubt(),
      onRetained: (body) => {
        if (this.#reading.isNoting) this.#reading.noteTopic(view.read(body).topic(body));
      },
      isOldCopy: (seq) => this.#reading.leaveQueue(seq),
      onUnreadable: (error) => {
        onFault(error);
        this.#link?.close(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR);
      },
      onDamaged: this.#context.onFault,
    });
  }

  /** The first shared subscription of a session that ends with its connection: from now on it has a queue as well. */
  #join(): void {
    this.#isMember = true;
    if (this.#pump !== null) return;
    // Its life is that of this connection: nothing was queued before.
    this.#pump = this.#makePump({ head: 1, tail: 0, sent: 0 }, true);
    if (this.#link !== null) this.#pump.start(this.#link);
  }

  get rev(): number {
    return this.#rev;
  }

  /** Counts a change of the row that the store has not seen yet. */
  nextRev(): number {
    this.#rev++;
    return this.#rev;
  }

  get link(): Link | null {
    return this.#link;
  }

  get isEnded(): boolean {
    return this.#ended;
  }

  /** The way out of its queue; null for a session that ends with its connection and has no shared subscriptions. */
  get pump(): Pump | null {
    return this.#pump;
  }

  /** Its row is in the log of routes, and with it that it ends. */
  get isRouted(): boolean {
    return this.persistent || this.#isMember;
  }

  get live(): LiveWindow | null {
    return this.#live;
  }

  get inflight(): number {
    return (this.#pump?.inflight ?? 0) + (this.#live?.inflight ?? 0);
  }

  /** In flight, or waiting for that in its queue as far as this node has heard. */
  get unacknowledged(): number {
    return this.inflight + Math.max(0, this.#pump?.backlog ?? 0);
  }

  /** Binds the connection: from now on a takeover closes it. It is not read while `earlierWills` are not settled. */
  attach(link: Link): void {
    this.#link = link;
    if (this.#ended) link.close(ReasonCode.SESSION_TAKEN_OVER);
    if (this.earlierWills === null) return;
    link.hold('earlier-wills');
    void this.earlierWills.then(() => link.unhold('earlier-wills'));
  }

  /** CONNACK was handed to the outbox: messages may follow. */
  start(): void {
    const link = this.#link;
    if (link === null || this.#ended) return;
    // Not before: what is delivered live would overtake CONNACK.
    if (this.#subscriptions.size > 0) {
      this.#updateRoutes();
      this.#context.announcer.flush();
    }
    this.#pump?.start(link);
    this.#live?.start(link);
    this.#reading.run();
  }

  subscriptionCount(): number {
    return this.#subscriptions.size;
  }

  has(filter: string): boolean {
    return this.#subscriptions.has(filter);
  }

  groupSize(filter: string): number {
    return this.#context.router.groups.get(filter)?.members.length ?? 0;
  }

  subscription(filter: string): Subscription | undefined {
    return this.#subscriptions.get(filter);
  }

  subscriptions(): IterableIterator<Subscription> {
    return this.#subscriptions.values();
  }

  /** The row of subscriptions as it is to be stored. */
  encodeRow(): Buffer {
    return encodeRow({
      life: this.life,
      rev: this.#rev,
      persistent: this.persistent,
      subscriptions: [...this.#subscriptions.values()],
    });
  }

  /**
   * Adds or replaces subscriptions [MQTT-3.8.4-3]. Resolves when every PUBLISH handled later, on any node, reaches them.
   * Throws SWARMQ_ERR_SESSION_FENCED when the session was taken over.
   */
  async subscribe(subscriptions: readonly Subscription[]): Promise<void> {
    const fresh = subscriptions.filter((one) => !this.#subscriptions.has(one.filter));
    const changed = subscriptions.filter((one) => {
      const known = this.#subscriptions.get(one.filter);
      return known !== undefined && !isUnchanged(known, one);
    });
    const readings = readingsFor(subscriptions, (filter) => !this.#subscriptions.has(filter));
    if (fresh.length === 0 && changed.length === 0) {
      if (this.#announcement !== null) await this.#announcement;
      await this.#reading.begin(readings, this.#rowVersion);
      return;
    }
    if (subscriptions.some((one) => isSharedFilter(one.filter))) this.#join();
    for (const one of subscriptions) this.#subscriptions.set(one.filter, one);
    await this.#change(subscriptions, changed.length > 0, readings);
  }

  /** Removes subscriptions [MQTT-3.10.4-2]; answers for each filter whether there was one. */
  async unsubscribe(filters: readonly string[]): Promise<boolean[]> {
    const existed = filters.map((filter) => this.#subscriptions.delete(filter));
    if (!existed.includes(true)) return existed;
    this.#reading.drop(filters);
    this.#rev++;
    await this.#writeRow();
    stopPoint('unsubscribe/recorded');
    this.#updateRoutes();
    this.#context.announcer.flush();
    if (!this.isRouted) return existed;
    const row = this.encodeRow();
    const version = await this.#context.append({ kind: 'row', clientId: this.clientId, row });
    stopPoint('unsubscribe/appended');
    await this.#settle(version, true);
    return existed;
  }

  async #change(
    subscriptions: readonly Subscription[],
    cut: boolean,
    readings: ReturnType<typeof readingsFor>,
  ): Promise<void> {
    this.#rev++;
    // Noting begins with the record: a message queued between it and the reading must not be followed by its elder.
    this.#reading.note(readings);
    await this.#writeRow();
    stopPoint('subscribe/recorded');
    this.#updateRoutes();
    const row = this.isRouted
      ? ({ kind: 'row', clientId: this.clientId, row: this.encodeRow() } as const)
      : null;
    const announcement = this.#context.announcer.announce(
      row,
      subscriptions.map((one) => one.filter),
      readings.length > 0,
    );
    this.#announcement = announcement;
    try {
      const version = await announcement;
      stopPoint('subscribe/known');
      await this.#settle(version, cut);
      stopPoint('subscribe/settled');
      this.#reading.plan(readings, Math.max(version, this.#context.router.version));
    } finally {
      if (this.#announcement === announcement) this.#announcement = null;
    }
  }

  /** Its row was announced again as `version`: an unchanged SUBSCRIBE waits until all nodes know it. */
  announced(version: number, known: Promise<void>): void {
    const rev = this.#rev;
    this.#rowVersion = Math.max(version, this.#rowVersion);
    const announcement = known.then(() => this.#settle(version, false, rev));
    this.#announcement = announcement;
    announcement
      .catch((error: unknown) => {
        if (!(error instanceof SwarmqError)) this.#context.onFault(error);
      })
      .finally(() => {
        if (this.#announcement === announcement) this.#announcement = null;
      });
  }

  async #writeRow(): Promise<void> {
    const { store } = this.#context;
    const written = await store.writeRow({
      clientId: this.clientId,
      owner: this.owner,
      rev: this.#rev,
      row: this.encodeRow(),
      reading: this.persistent ? this.#reading.encode() : null,
    });
    if (written === 'fenced') this.#fenced();
  }

  async #settle(version: number, cut: boolean, rev = this.#rev): Promise<void> {
    this.#rowVersion = Math.max(version, this.#rowVersion);
    if (!this.isRouted) return;
    const { store } = this.#context;
    const settled = await store.settleRow({
      clientId: this.clientId,
      owner: this.owner,
      rev,
      version,
      cut,
    });
    if (settled === 'fenced') this.#fenced();
  }

  #fenced(): never {
    this.lose();
    throw new SwarmqError('SWARMQ_ERR_SESSION_FENCED', this.clientId, {
      reasonCode: ReasonCode.SESSION_TAKEN_OVER,
    });
  }

  #doubt(): void {
    if (!this.#ended) this.#keeper.doubt(this.clientId, this.epoch).catch(this.#context.onFault);
  }

  /** Tells this node's routes what the session is subscribed to now. */
  #updateRoutes(): void {
    if (this.#ended) return;
    this.#context.local.set(this, [...this.#subscriptions.values()]);
  }

  /** SUBACK has left: what is retained for the new subscriptions follows [MQTT-3.8.4-4]. */
  readRetained(): void {
    this.#reading.run();
  }

  /** Notes of what has come beside the readings of retained messages. */
  get notes(): Pick<RetainedReading, 'noteTopic' | 'noteDirect' | 'noteCopy' | 'wantsCopy'> {
    return this.#reading;
  }

  /**
   * A message at QoS 0, or at any QoS to a session without a queue. `body` is kept while it waits. Retained copies
   * and live messages take this one way. Answers whether it was sent at QoS 0.
   */
  deliverLive(
    body: Buffer,
    qos: 0 | 1 | 2,
    retain: boolean,
    subscriptionIds: readonly number[] | null,
    expiresAt: number,
    ownExpiry: boolean,
    copy: WaitingCopy | null = null,
  ): boolean {
    const link = this.#link;
    if (link === null || this.#ended) {
      this.#context.stats.messagesDropped[Drop.SESSION_ENDED]++;
      return false;
    }
    if (qos !== 0 && this.#live !== null) {
      this.#live.deliver(body, qos, retain, subscriptionIds, expiresAt, ownExpiry, copy);
      return false;
    }
    const { stats, store } = this.#context;
    if (!link.hasRoom()) {
      stats.messagesDropped[Drop.CONNECTION_FULL]++;
      return false;
    }
    const nowMs = expiresAt === 0 ? 0 : store.nowMs();
    if (expiresAt !== 0 && nowMs >= expiresAt) {
      stats.messagesDropped[Drop.EXPIRED]++;
      return false;
    }
    sending.retain = retain;
    sending.subscriptionIds = subscriptionIds;
    sending.expiresAt = expiresAt;
    sending.ownExpiry = ownExpiry;
    const isSent = sendMessage(link, body, sending, nowMs);
    if (isSent) stats.messagesDelivered[0]++;
    else stats.messagesDropped[Drop.CLIENT_PACKET_SIZE]++;
    return isSent;
  }

  /** Its client gets topics by alias, so that no packet for it is shared with others. */
  get hasAliases(): boolean {
    return this.#link !== null && this.#link.aliases !== null;
  }

  /** A QoS 0 packet that is ready to leave, shared with other receivers of its shape. Answers whether it was sent. */
  sendReady(packet: Buffer): boolean {
    const link = this.#link;
    const { stats } = this.#context;
    if (link === null || this.#ended) stats.messagesDropped[Drop.SESSION_ENDED]++;
    else if (!link.hasRoom()) stats.messagesDropped[Drop.CONNECTION_FULL]++;
    else if (packet.length > link.maximumPacketBytes) stats.messagesDropped[Drop.CLIENT_PACKET_SIZE]++;
    else {
      stats.messagesDelivered[0]++;
      link.send(packet);
      return true;
    }
    return false;
  }

  handlePuback(packetId: number, _reasonCode: number): void {
    stopPoint('ack/puback');
    this.#windowOf(packetId).handlePuback(packetId);
    this.#flowBeside(packetId);
  }

  handlePubrec(packetId: number, reasonCode: number): void {
    stopPoint('ack/pubrec');
    this.#windowOf(packetId).handlePubrec(packetId, reasonCode);
    this.#flowBeside(packetId);
  }

  handlePubcomp(packetId: number, _reasonCode: number): void {
    stopPoint('ack/pubcomp');
    this.#windowOf(packetId).handlePubcomp(packetId);
    this.#flowBeside(packetId);
  }

  /** Whose packet identifier it is, where both ways out stand beside each other. */
  #windowOf(packetId: number): Pump | LiveWindow {
    const live = this.#live;
    return live === null || (this.#pump !== null && packetId >= GROUP_IDS.first)
      ? (this.#pump as Pump)
      : live;
  }

  /** What one way out has done, the other may use: both share the client's Receive Maximum. */
  #flowBeside(packetId: number): void {
    if (this.#pump === null) return;
    if (this.#windowOf(packetId) === this.#pump) this.#live?.flow();
    else this.#pump.flow();
  }

  /** The socket has room again. */
  drained(): void {
    this.#pump?.flow();
    this.#live?.flow();
    this.#reading.run();
  }

  /**
   * Somebody else holds the session now: nothing is written for it any more, and its connection ends. How that ended the
   * store is told all the same, since the fate of its will may hang on it; unless `isTold` says that only a DISCONNECT
   * counts, because the claim that takes over is not made yet, or the store has given the session away.
   */
  lose(isTold = true): void {
    if (this.#ended) return;
    this.#isTold = isTold;
    this.#end();
    this.#context.stats.sessionEvents[SessionHappening.TAKEN_OVER]++;
    this.#link?.close(ReasonCode.SESSION_TAKEN_OVER);
  }

  /** The connection ended: gives the session back, behind what was submitted for it before. */
  async release(options: { dropWill: boolean; expirySec: number }): Promise<void> {
    if (this.#ended && !this.#isTold && !options.dropWill) return;
    const sent = this.#pump === null ? 0 : this.#pump.seen;
    if (!this.#ended) this.#end();
    const { clientId, owner, isRouted } = this;
    await this.#keeper.release({ clientId, owner, isRouted, ...options, sent });
  }

  #end(): void {
    this.#ended = true;
    this.#pump?.stop();
    this.#live?.stop();
    this.#reading.stop();
    this.#context.local.remove(this);
    this.#context.announcer.flush();
    this.#keeper.forget(this.clientId, this.epoch);
  }
}
