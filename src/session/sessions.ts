// The sessions that this node holds a claim on, by client id: claim, resume, takeover and release, and the passing over
// them by which a lost notification costs a read and never a message. Invariant: a session is in this map before its
// first pull, and leaves it the moment it is lost or released; a node never serves a session without a claim.

import { ReasonCode } from '../mqtt/reason-code.ts';
import { isSharedFilter } from '../mqtt/topic.ts';
import { Drop, SessionHappening } from '../observability/node-stats.ts';
import { entriesOffset, entrySize, type Run } from '../store/inbox-run.ts';
import { bodyOffset, decodeRow, type Subscription } from '../store/records.ts';
import type { ClaimedSession, LeaseState, SessionState, StoredWill, TakenWill } from '../store/store.ts';
import { delay } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';
import { stopPoint } from '../util/stop-point.ts';
import { ClaimsUnderWay } from './claims-under-way.ts';
import type { Leaving, SessionContext, SessionKeeper } from './context.ts';
import { EarlierWills } from './earlier-wills.ts';
import type { ProtocolVersion } from './link.ts';
import { Session } from './session.ts';

/** How long CONNECT waits before it asks again whether an owner is dead. */
const CLAIM_RETRY_MS = 100;
/** Sessions looked at in one call when passing over them, and the pause between calls. */
const INSPECT_PAGE = 500;
const INSPECT_PAUSE_MS = 20;
/** A release that the store refused, because of damaged records, is tried again so often. */
const RELEASE_RETRY_MS = 5000;
/** How long a claim that the store does not know is given to be written back. */
const DOUBT_MS = 1000;

export interface SessionsOptions extends SessionContext {
  /** Resolves when the routes are loaded: before that a publisher would match against nothing. */
  serving(): Promise<void>;
  leases(): readonly LeaseState[];
  /** False while this node's lease is over: claims wait then. */
  mayClaim(): boolean;
  /** Tells the node that held a session until now to let go of it. */
  notifyTakeover(incarnation: string, clientId: string, epoch: number): void;
  /** Publishes a taken will and resolves when it is committed everywhere. */
  publishWill(will: TakenWill): Promise<void>;
}

export interface ClaimOptions {
  readonly clientId: string;
  readonly version: ProtocolVersion;
  readonly cleanStart: boolean;
  readonly expirySec: number;
  readonly will: StoredWill | null;
}

export class Sessions implements SessionKeeper {
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #wills: EarlierWills;
  readonly #underWay = new ClaimsUnderWay();
  #passing: Promise<void> | null = null;
  #isPassWanted = false;
  /** Changes whenever sessions begin or end to be written back: what was inspected across it judges nobody. */
  #restorations = 0;

  constructor(options: SessionsOptions) {
    this.#options = options;
    this.#wills = new EarlierWills(options);
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(clientId: string): Session | undefined {
    return this.#sessions.get(clientId);
  }

  all(): IterableIterator<Session> {
    return this.#sessions.values();
  }

  /**
   * Claims the session of a connecting client [MQTT-3.1.4-3]. Waits while the store is away, or while it is not certain
   * yet whether the session's last owner is dead. Throws SWARMQ_ERR_SESSION_FENCED when a later CONNECT came first.
   */
  async claim(request: ClaimOptions): Promise<Session> {
    const { clock } = this.#options;
    const { clientId } = request;
    const cameMs = clock.monotonicMs();
    let claimed: ClaimedSession;
    let session: Session;
    this.#underWay.begin(clientId);
    try {
      await this.#options.serving();
      this.#sessions.get(clientId)?.lose(false);
      claimed = await this.#claimed(request, () => clock.monotonicMs() - cameMs);
      session = this.#take(request, claimed);
    } finally {
      this.#underWay.end(clientId);
    }
    try {
      await this.#begin(session, claimed);
    } catch (error) {
      // Its client is told to go, so nobody would give it back.
      session.release({ dropWill: true, expirySec: request.expirySec }).catch(this.#onFailure);
      throw error;
    }
    return session;
  }

  /** Puts a claimed session in the place of the one before. Throws SWARMQ_ERR_SESSION_FENCED when that is a later one. */
  #take(request: ClaimOptions, claimed: ClaimedSession): Session {
    const { incarnation, stats } = this.#options;
    const { clientId } = request;
    stopPoint('claim/done');
    const other = this.#sessions.get(clientId);
    const latestEpoch = Math.max(other?.epoch ?? 0, this.#underWay.epochOf(clientId));
    if (latestEpoch > claimed.epoch) throw overtaken(clientId);
    other?.lose();
    if (claimed.previousOwner !== '' && claimed.previousOwner !== incarnation) {
      this.#options.notifyTakeover(claimed.previousOwner, clientId, claimed.epoch);
    }
    stopPoint('claim/noticed');
    if (claimed.endedLife !== 0) {
      stats.sessionEvents[SessionHappening.ENDED]++;
      stats.messagesDropped[Drop.SESSION_ENDED] += claimed.discarded;
      this.#announceEnd(clientId, claimed.endedLife);
    }
    if (claimed.present) stats.sessionEvents[SessionHappening.RESUMED]++;
    else stats.sessionEvents[SessionHappening.CREATED]++;
    const session = this.#open(request, claimed);
    this.#sessions.set(clientId, session);
    return session;
  }

  /** What earlier connections have left: their wills, and a row that other nodes may not know. */
  async #begin(session: Session, { wills, row, rowPending }: ClaimedSession): Promise<void> {
    if (wills.length > 0) {
      const settled = this.#wills.settle(wills);
      if (wills.some((will) => will.isInDoubt)) session.earlierWills = settled;
      else await settled;
    }
    if (row === null) return;
    const wasPersistent = decodeRow(row).persistent;
    if (rowPending || wasPersistent !== session.persistent) await this.#repair(session, wasPersistent);
  }

  /** Makes the session; one whose records cannot be read is given back as it is, and its client is told to go. */
  #open(request: ClaimOptions, claimed: ClaimedSession): Session {
    try {
      const row = claimed.row === null ? null : decodeRow(claimed.row);
      const subscriptions = new Map<string, Subscription>();
      if (row !== null) for (const one of row.subscriptions) subscriptions.set(one.filter, one);
      const persistent = request.expirySec > 0 || row?.persistent === true;
      const mayWait = this.#underWay.isHeard(request.clientId);
      return new Session(this.#options, this, { ...request, persistent, mayWait }, claimed, subscriptions);
    } catch (error) {
      if (!(error instanceof SwarmqError)) throw error;
      this.#options.onFault(error);
      const owner = { incarnation: this.#options.incarnation, epoch: claimed.epoch };
      const { clientId, expirySec } = request;
      const { sent } = claimed;
      this.release({ clientId, owner, isRouted: true, dropWill: true, expirySec, sent }).catch(
        this.#onFailure,
      );
      throw new SwarmqError(error.code, clientId, {
        reasonCode: ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
        cause: error,
      });
    }
  }

  async #claimed(request: ClaimOptions, waitedMs: () => number): Promise<ClaimedSession> {
    const { store, incarnation, clock } = this.#options;
    for (;;) {
      // A node that has been given up and does not know it yet would take what nobody cleans up after it.
      while (!this.#options.mayClaim()) await delay(clock, CLAIM_RETRY_MS);
      const claimed = await store.claim({
        clientId: request.clientId,
        incarnation,
        cleanStart: request.cleanStart,
        expirySec: request.expirySec,
        will: request.will,
        leases: this.#options.leases(),
        epochSeen: this.#sessions.get(request.clientId)?.epoch ?? 0,
        waitedMs,
      });
      if (claimed.status === 'claimed') return claimed;
      if (claimed.status === 'overtaken') throw overtaken(request.clientId);
      await delay(clock, CLAIM_RETRY_MS);
    }
  }

  /**
   * Announces a row again whose log entry may be missing, or that gets a queue only now. What an unfinished UNSUBSCRIBE
   * has removed is refused from here on; that the row is known everywhere the session waits for where it has to.
   */
  async #repair(session: Session, wasPersistent: boolean): Promise<void> {
    const { store, append, announcer } = this.#options;
    const { clientId, owner } = session;
    if (wasPersistent !== session.persistent) {
      await store.writeRow({
        clientId,
        owner,
        rev: session.nextRev(),
        row: session.encodeRow(),
        reading: null,
      });
    }
    const version = await append({ kind: 'row', clientId, row: session.encodeRow() });
    // No row has rev 0: the mark stays until all nodes know the row, for whoever claims the session before.
    await store.settleRow({ clientId, owner, rev: 0, version, cut: true });
    session.announced(version, announcer.known(version));
  }

  forget(clientId: string, epoch: number): void {
    if (this.#sessions.get(clientId)?.epoch === epoch) this.#sessions.delete(clientId);
  }

  /**
   * Gives a session back. Rejects when the store is closed, or refuses it (damaged records): then it is tried again behind
   * that, since what it would do stays undone otherwise until this node is dead.
   */
  async release(leaving: Leaving): Promise<void> {
    try {
      await this.#release(leaving);
    } catch (error) {
      if (isRefused(error)) {
        this.#options.onFault(error);
        this.#releaseLater(leaving).catch(this.#onFailure);
      }
      throw error;
    }
  }

  async #releaseLater(leaving: Leaving): Promise<void> {
    const { clientId, owner } = leaving;
    for (;;) {
      await delay(this.#options.clock, RELEASE_RETRY_MS);
      // A later claim has taken over what this one would have done.
      if ((this.#sessions.get(clientId)?.epoch ?? 0) > owner.epoch) return;
      try {
        await this.#release(leaving);
        return;
      } catch (error) {
        if (!isRefused(error)) throw error;
      }
    }
  }

  /** Of what nobody waits for: what the store refuses has been told, and a closed one is no fault. */
  readonly #onFailure = (error: unknown): void => {
    if (!(error instanceof SwarmqError)) this.#options.onFault(error);
  };

  async #release(leaving: Leaving): Promise<void> {
    const { store, stats } = this.#options;
    const { clientId } = leaving;
    const released = await store.release(leaving);
    if (released.status === 'fenced') return;
    if (released.endedLife !== 0) {
      stats.sessionEvents[SessionHappening.ENDED]++;
      stats.messagesDropped[Drop.SESSION_ENDED] += released.discarded;
      if (leaving.isRouted) this.#announceEnd(clientId, released.endedLife);
    }
    await this.#wills.settle(released.wills);
  }

  /** Publishes all wills of one client that are not done, in their order, where they are due. */
  settleWills(wills: readonly TakenWill[]): Promise<void> {
    return this.#wills.settle(wills);
  }

  #announceEnd(clientId: string, life: number): void {
    // An append fails only when the store is closed; enqueues for the ended life are refused without it.
    this.#options.append({ kind: 'ended', clientId, life }).catch(() => {});
  }

  /** A takeover was told: only a claim older than `epoch` gives way. */
  takenOver(clientId: string, epoch: number): void {
    this.#underWay.hear(clientId, epoch);
    const session = this.#sessions.get(clientId);
    if (session !== undefined && session.epoch < epoch) session.lose();
  }

  /** A push from the node that queued the message. */
  push(clientId: string, life: number, seq: number, header: Buffer, body: Buffer): void {
    this.#underWay.hear(clientId);
    const session = this.#sessions.get(clientId);
    if (session !== undefined && session.life === life) session.pump?.push(seq, header, body);
  }

  /** Pushes of several messages, one behind the other. */
  pushRun(run: Run): void {
    const { clientId, life, first, count, bytes, start, end } = run;
    this.#underWay.hear(clientId);
    const session = this.#sessions.get(clientId);
    if (session === undefined || session.life !== life) return;
    session.pump?.beginRun(first, count, end - start);
    let entryEnd = entriesOffset(run);
    for (let index = 0; index < count; index++) {
      const at = entryEnd;
      entryEnd += entrySize(run, index);
      const bodyAt = bodyOffset(bytes, at, entryEnd);
      // What one of them causes may end the session's pump.
      session.pump?.push(first + index, bytes, bytes, bodyAt - at, at, bodyAt, entryEnd);
    }
  }

  /** Inbox entries may be lost: sessions with a queue read it; those without, if they can miss something, end. */
  inboxLost(): Promise<void> {
    for (const session of [...this.#sessions.values()]) {
      if (session.persistent || session.link === null) continue;
      for (const one of session.subscriptions()) {
        // Messages of shared subscriptions lie in its queue.
        if (one.qos === 0 || isSharedFilter(one.filter)) continue;
        session.link.close(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR);
        break;
      }
    }
    return this.passOver();
  }

  /**
   * Passes over all sessions, reading owner and tail: every 10 s, and whenever notifications may be lost. Another owner
   * closes the connection; a tail that is ahead is pulled.
   */
  passOver(): Promise<void> {
    this.#underWay.hearAll();
    this.#isPassWanted = true;
    this.#passing ??= this.#passAll();
    return this.#passing;
  }

  /** A pass that is asked for while one is under way begins behind it: that one leaves out who has come since. */
  async #passAll(): Promise<void> {
    try {
      while (this.#isPassWanted) {
        this.#isPassWanted = false;
        await this.#inspectAll();
      }
    } finally {
      this.#passing = null;
    }
  }

  async #inspectAll(): Promise<void> {
    const { store, clock, onFault } = this.#options;
    const clientIds = [...this.#sessions.keys()];
    try {
      for (let at = 0; at < clientIds.length; at += INSPECT_PAGE) {
        const page = clientIds.slice(at, at + INSPECT_PAGE);
        const epochs = page.map((id) => this.#sessions.get(id)?.epoch ?? 0);
        const restorations = this.#restorations;
        const states = await store.inspect(page);
        // The store was replaced by an older one meanwhile, or is: what it does not have yet was not taken from us.
        if (restorations !== this.#restorations || restorations % 2 === 1) return;
        this.#compare(page, epochs, states);
        if (at + INSPECT_PAGE < clientIds.length) await delay(clock, INSPECT_PAUSE_MS);
      }
    } catch (error) {
      if (!(error instanceof SwarmqError)) onFault(error);
    }
  }

  #compare(page: readonly string[], epochs: readonly number[], states: readonly SessionState[]): void {
    const { stats } = this.#options;
    const found = new Map(states.map((state) => [state.clientId, state]));
    for (let index = 0; index < page.length; index++) {
      const session = this.#sessions.get(page[index]);
      // A session that was claimed after the question was asked is not judged by its answer.
      if (session === undefined || session.epoch !== epochs[index]) continue;
      const state = found.get(session.clientId);
      if (
        state === undefined ||
        state.incarnation !== session.owner.incarnation ||
        state.epoch !== session.epoch
      ) {
        session.lose();
      } else {
        if (session.pump?.isBehind(state.tail)) stats.sessionsRepaired++;
        session.pump?.learn(state.tail);
      }
    }
  }

  /**
   * The store lost its tail: what this node holds and the store does not is written back, then every queue is read
   * again.
   */
  async restoreAll(): Promise<void> {
    this.#restorations += this.#restorations % 2 === 0 ? 1 : 2;
    const restoration = this.#restorations;
    await this.#restoreEach();
    if (restoration !== this.#restorations) return;
    this.#restorations++;
    await this.passOver();
  }

  async #restoreEach(): Promise<void> {
    const sessions = [...this.#sessions.values()];
    for (let at = 0; at < sessions.length; at += INSPECT_PAGE) {
      await Promise.all(sessions.slice(at, at + INSPECT_PAGE).map((session) => this.#restore(session)));
    }
  }

  async #restore(session: Session): Promise<void> {
    const row = session.subscriptionCount() === 0 ? null : session.encodeRow();
    const { clientId, owner, life, rev, expirySec, receptions } = session;
    const restored = await this.#options.store.restore({
      ...{ clientId, owner, life, rev, row, expirySec, receptions },
    });
    if (restored === 'fenced') {
      session.lose();
      return;
    }
    if (row !== null && session.isRouted) {
      this.#options.append({ kind: 'row', clientId, row }).catch(() => {});
    }
    session.pump?.forgetKnown();
  }

  /**
   * A write of this claim was refused. Another owner ends the connection at once; a claim that the store does not know
   * (any more) may be about to be written back, which is waited for.
   */
  async doubt(clientId: string, epoch: number): Promise<void> {
    const { store, clock } = this.#options;
    for (let isLast = false; ; isLast = true) {
      const restorations = this.#restorations;
      const [state] = await store.inspect([clientId]);
      const session = this.#sessions.get(clientId);
      if (session === undefined || session.epoch !== epoch) return;
      // What is written back is judged by the restoration, or looked at behind it.
      if (restorations !== this.#restorations || restorations % 2 === 1) return;
      const isOurs = state?.epoch === epoch && state.incarnation === session.owner.incarnation;
      if (isOurs) return;
      if (isLast || (state !== undefined && state.epoch > epoch)) {
        session.lose();
        return;
      }
      await delay(clock, DOUBT_MS);
    }
  }

  /** Closes all connections: the node has been declared dead, or stops. */
  closeAll(reasonCode: number): void {
    for (const session of [...this.#sessions.values()]) session.link?.close(reasonCode);
  }

  /** Lets go of all sessions without a write: the store has given them away with the incarnation. */
  loseAll(): void {
    for (const session of [...this.#sessions.values()]) session.lose(false);
  }
}

function isRefused(error: unknown): boolean {
  return error instanceof SwarmqError && error.code === 'SWARMQ_ERR_STORE_REPLY';
}

function overtaken(clientId: string): SwarmqError {
  return new SwarmqError('SWARMQ_ERR_SESSION_FENCED', clientId, {
    reasonCode: ReasonCode.SESSION_TAKEN_OVER,
  });
}
