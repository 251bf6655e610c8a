// Who holds a session, and how it ends. A claim gives it to a connection under a new epoch, a release lets it go, and
// what was let go of ends or publishes its will when its deadlines have passed. Those are judged here at every use, by
// the store's time; sweepers only make it happen when nobody comes. The old will is dropped by a claim that goes on
// with the session, and taken by whatever ends it [MQTT-3.1.2-8], [MQTT-3.1.3-9].

import {
  type ClaimRequest,
  type ClaimResult,
  type Fenced,
  NEVER_EXPIRES,
  type ReleaseRequest,
  type ReleaseResult,
  type Restoration,
  SAME_TIME_MS,
  type TakenWill,
} from '../store.ts';
import type { Ledger } from './ledger.ts';
import type { Orphans } from './orphans.ts';
import type { Queues } from './queues.ts';
import { forgetReception, keepReception } from './rows.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import type { TakenWills } from './wills.ts';

export interface Ending {
  endedLife: number;
  wills: TakenWill[];
  discarded: number;
}

const NOTHING = (): Ending => ({ endedLife: 0, wills: [], discarded: 0 });
/** A session written back after a loss has no history here: the first touch moves its numbers up. */
const LOST_HISTORY = -1;

/** Whether a CONNECT came before that of the last claim. What cannot be, since the clock was set back, keeps nobody out. */
const isLate = (cameAt: number, lastCameAt: number, nowMs: number): boolean =>
  lastCameAt <= nowMs && cameAt + SAME_TIME_MS < lastCameAt;

export class Claims {
  readonly #ledger: Ledger;
  readonly #sessions: Sessions;
  readonly #queues: Queues;
  readonly #wills: TakenWills;
  readonly #orphans: Orphans;

  constructor(ledger: Ledger, sessions: Sessions, queues: Queues, wills: TakenWills, orphans: Orphans) {
    this.#orphans = orphans;
    this.#ledger = ledger;
    this.#sessions = sessions;
    this.#queues = queues;
    this.#wills = wills;
  }

  claim(request: ClaimRequest, nowMs: number): ClaimResult {
    const { clientId } = request;
    const before = this.#sessions.get(clientId);
    const previousOwner = before?.incarnation ?? '';
    const cameAt = nowMs - request.waitedMs();
    if (before && isLate(cameAt, before.cameAt, nowMs)) return { status: 'overtaken' };
    if (before && this.#mustWait(before, request, nowMs)) return { status: 'wait', owner: previousOwner };
    const ended = before ? this.#judge(before, request, nowMs) : NOTHING();
    const epoch = this.#ledger.stamps.next(nowMs, Math.max(request.epochSeen, before?.epoch ?? 0));
    const present = before !== undefined && ended.endedLife === 0;
    const session = present ? before : this.#sessions.make(clientId, epoch);
    this.#sessions.settleHistory(session);
    const sent = present ? session.sent : 0;
    session.sent = -1;
    session.epoch = epoch;
    session.cameAt = cameAt;
    this.#hold(session, request.incarnation, request.expirySec);
    session.will = request.will && { ...request.will, body: Buffer.from(request.will.body) };
    this.#ledger.writes.will(session);
    return {
      status: 'claimed',
      ...{ present, previousOwner, epoch, sent, nowMs },
      ...{ endedLife: ended.endedLife, discarded: ended.discarded },
      life: session.life,
      rev: session.rev,
      row: session.row,
      rowPending: session.rowPending,
      rowVersion: session.rowVersion,
      head: session.head,
      tail: session.tail,
      inbound: [...(session.inbound ?? [])].map(([packetId, record]) => ({
        packetId,
        slot: record.slot,
        mid: record.mid,
        choices: record.choices ?? '',
      })),
      reading: session.reading,
      wills: this.#wills.of(clientId),
    };
  }

  release(request: ReleaseRequest, nowMs: number): ReleaseResult {
    const session = this.#sessions.get(request.clientId);
    if (!session || session.epoch !== request.owner.epoch) return this.#fenced(request);
    // Nobody holds it, and nobody has since this claim: the same release ran before.
    if (!session.isHeld()) return { status: 'ok', ...NOTHING() };
    if (!session.isOwner(request.owner)) return this.#fenced(request);
    session.sent = request.sent;
    session.expirySec = request.expirySec;
    if (request.dropWill) this.#dropWill(session);
    this.#letGo(session, nowMs);
    return { status: 'ok', ...this.#settle(session, nowMs) };
  }

  /** A claim came first: what is said of the end settles a will that it has taken in doubt. */
  #fenced({ clientId, owner, dropWill }: ReleaseRequest): ReleaseResult {
    this.#wills.settleDoubt(clientId, owner.epoch, dropWill);
    return { status: 'fenced' };
  }

  disown(clientId: string, incarnation: string, renewedAt: number, nowMs: number): Ending {
    const session = this.#sessions.get(clientId);
    if (!session?.isHeld() || session.incarnation !== incarnation) return NOTHING();
    this.#letGo(session, session.lastHeardMs(renewedAt, nowMs));
    return this.#settle(session, nowMs);
  }

  expire(clientId: string, nowMs: number): Ending {
    const session = this.#sessions.get(clientId);
    return session ? this.#settle(session, nowMs) : NOTHING();
  }

  /** Only over what is older by epoch, life and rev. */
  restore(restored: Restoration): Fenced {
    const { clientId, owner, life, rev, row } = restored;
    let session = this.#sessions.get(clientId);
    if (session) {
      const isOlder = owner.epoch < session.epoch || life < session.life;
      const isOther = owner.epoch === session.epoch && !session.isOwner(owner);
      if (isOlder || isOther) return 'fenced';
      if (life > session.life) {
        this.#end(session);
        session = undefined;
      }
    }
    session ??= this.#sessions.make(clientId, life, LOST_HISTORY);
    session.epoch = owner.epoch;
    this.#hold(session, owner.incarnation, restored.expirySec);
    this.#sessions.settleHistory(session);
    if (rev > session.rev) {
      session.rev = rev;
      session.row = row && Buffer.from(row);
      session.rowPending = true;
      this.#ledger.writes.row(session);
    }
    for (const packetId of [...(session.inbound?.keys() ?? [])]) {
      forgetReception(session, packetId, this.#ledger);
    }
    for (const record of restored.receptions?.kept() ?? []) keepReception(session, record, this.#ledger);
    return 'ok';
  }

  /** Whether the session goes on depends on a death that is not certain. */
  #mustWait(session: Session, request: ClaimRequest, nowMs: number): boolean {
    const { expirySec, incarnation } = session;
    if (request.cleanStart || expirySec === 0 || expirySec === NEVER_EXPIRES || !session.isHeld())
      return false;
    const lease = request.leases.find((one) => one.incarnation === incarnation);
    return lease?.state === 'over' && session.lastHeardMs(lease.renewedAt, nowMs) + expirySec * 1000 <= nowMs;
  }

  /** What becomes of the session found by a claim: it ends, or it goes on and loses a will that is not due. */
  #judge(session: Session, request: ClaimRequest, nowMs: number): Ending {
    const lease = request.leases.find((one) => one.incarnation === session.incarnation);
    const isLive = lease === undefined || lease.state === 'live';
    // The owner may have had a DISCONNECT already: its release says whether.
    const isInDoubt = session.isHeld() && session.incarnation !== request.incarnation && isLive;
    if (session.isHeld() && lease?.state === 'dead') {
      this.#letGo(session, session.lastHeardMs(lease.renewedAt, nowMs));
    }
    // A session without expiry ends with its connection, which this claim takes over [MQTT-3.1.2.11.2].
    const ends = request.cleanStart || session.expirySec === 0 || session.isExpired(nowMs);
    const isDue = session.willDue > 0 && session.willDue <= nowMs;
    if (ends || isDue) this.#takeWill(session, nowMs, isInDoubt ? session.epoch : 0);
    else this.#dropWill(session);
    if (!ends) return NOTHING();
    return { ...this.#end(session), wills: [] };
  }

  #hold(session: Session, incarnation: string, expirySec: number): void {
    session.expirySec = expirySec;
    session.expiresAt = 0;
    session.willDue = 0;
    this.#sessions.setHolder(session, incarnation);
    this.#sessions.setDeadline(session);
  }

  /** Nobody holds it from here on; its deadlines count from `atMs`. */
  #letGo(session: Session, atMs: number): void {
    const { expirySec, will } = session;
    session.expiresAt = expirySec === NEVER_EXPIRES ? 0 : atMs + expirySec * 1000;
    session.willDue = will ? atMs + Math.min(will.delaySec, expirySec) * 1000 : 0;
    this.#sessions.setHolder(session, '');
    this.#sessions.setDeadline(session);
  }

  /** Takes the will and ends the session, whichever is due. */
  #settle(session: Session, nowMs: number): Ending {
    const ending = NOTHING();
    if (session.isHeld()) return ending;
    const isOver = session.isExpired(nowMs);
    if (isOver || (session.willDue > 0 && session.willDue <= nowMs)) {
      // It goes behind those before it that are not done.
      if (this.#takeWill(session, nowMs)) ending.wills.push(...this.#wills.of(session.clientId));
    }
    if (isOver) Object.assign(ending, this.#end(session));
    else this.#sessions.setDeadline(session);
    return ending;
  }

  #takeWill(session: Session, nowMs: number, doubt = 0): TakenWill | null {
    const { will } = session;
    this.#dropWill(session);
    return will && this.#wills.take(session.clientId, will, nowMs, doubt);
  }

  #dropWill(session: Session): void {
    if (!session.will) return;
    session.will = null;
    session.willDue = 0;
    this.#ledger.writes.will(session);
    this.#ledger.writes.session(session);
  }

  /** Answers the life that ended, and how many messages went with it. */
  #end(session: Session): { endedLife: number; discarded: number } {
    // What came by shared subscriptions stays for the other members, and the rest of the queue with it.
    if (session.hasOfGroup) this.#orphans.take(session);
    const discarded = session.queue?.size ?? 0;
    this.#queues.wipe(session);
    this.#sessions.remove(session);
    return { endedLife: session.life, discarded };
  }
}
