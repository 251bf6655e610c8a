// The Store of one node on a world: each call of the contract is an operation in the world's line, applied to the state
// in its turn and answered when what it changed is written. What stands in a session's list carries that session's
// receiver; the state decides everything else.

import { inboxReceiver, type Operation, sessionReceiver } from '../operations.ts';
import type {
  ClaimedSession,
  ClaimRequest,
  ClaimResult,
  Fenced,
  LogAppend,
  NodeName,
  OrphanPage,
  OrphanTurn,
  ReleaseRequest,
  ReleaseResult,
  Renewal,
  Restoration,
  RetainedCopies,
  RetainedPage,
  RowSettle,
  RowWrite,
  SessionState,
  Store,
  StoreEvents,
  StoreTotals,
  TakenWill,
  WillState,
} from '../store.ts';
import type { Ending } from './claims.ts';
import { Connection } from './connection.ts';
import { ControlOperation, type ControlRun } from './control.ts';
import { NodeReader } from './node-reader.ts';
import type { CopiesAnswer } from './queues.ts';
import type { RoutePage } from './route-log.ts';
import type { RowPage } from './rows.ts';
import type { ClientPage } from './sessions.ts';
import type { StoreState } from './state.ts';
import type { World, WorldNode } from './ticket.ts';

/** Lists of calls that belong to no session. */
const LEASES = 'leases';
const LOG = 'log';
const READINGS = 'readings';
const DEADLINES = 'deadlines';

export class EmbeddedStore implements Store, WorldNode {
  readonly kind = 'embedded';
  readonly laneCount = 1;
  readonly #world: World;
  readonly #connection: Connection;
  readonly #reader: NodeReader;
  #events: StoreEvents | null = null;
  #incarnation = '';
  #name = '';
  /** The store has lost its tail since the last renewal: a lease that is missing was lost with it. */
  #hasLostTail = false;

  /** `label` names the connection in the lines of a scheduler. */
  constructor(world: World, label: string) {
    this.#world = world;
    this.#connection = new Connection(world, label);
    this.#reader = new NodeReader(world, label, () => this.#connection.isUp);
  }

  async open(events: StoreEvents): Promise<void> {
    await this.#world.open();
    this.#events = events;
    this.#reader.begin(events);
  }

  async close(): Promise<void> {
    if (this.#events === null && this.#connection.pending === 0 && !this.#connection.isUp) return;
    this.#events = null;
    this.#connection.close();
    this.#reader.close();
    await this.#world.leave(this);
  }

  isAvailable(): boolean {
    return this.#world.isAvailable && this.#connection.isUp;
  }

  nowMs(): number {
    return this.#world.nowMs();
  }

  submit(operation: Operation): void {
    this.#connection.submit(operation);
  }

  /** Nothing is kept here for company. */
  hurry(operation: Operation): void {
    operation.isPatient = false;
  }

  laneOf(_receiver: string): number {
    return 0;
  }

  lanePending(_lane: number): number {
    return this.#connection.pending;
  }

  // ---- sessions

  claim(request: ClaimRequest): Promise<ClaimResult> {
    let ran: ClaimedSession | null = null;
    return this.#askSession(request.clientId, (state, nowMs) => {
      // A call that runs again because its answer was lost must not take over from itself, nor from who came later.
      const session = state.sessions.get(request.clientId);
      if (ran !== null && session !== undefined && session.epoch >= ran.epoch) {
        if (session.epoch > ran.epoch) return { status: 'overtaken' };
        session.repeatedAt = nowMs;
        return ran;
      }
      const result = state.claims.claim(request, nowMs);
      if (result.status === 'claimed') ran = result;
      return result;
    });
  }

  release(request: ReleaseRequest): Promise<ReleaseResult> {
    return this.#askSession(request.clientId, (state, nowMs) => state.claims.release(request, nowMs));
  }

  writeRow(write: RowWrite): Promise<Fenced> {
    return this.#askSession(write.clientId, (state) => state.rows.write(write));
  }

  settleRow(settle: RowSettle): Promise<Fenced> {
    return this.#askSession(settle.clientId, (state) => state.rows.settle(settle));
  }

  enqueueCopies(copies: RetainedCopies): Promise<CopiesAnswer> {
    return this.#askSession(copies.clientId, (state) => state.queues.enqueueCopies(copies));
  }

  restore(restored: Restoration): Promise<Fenced> {
    return this.#askSession(restored.clientId, (state) => state.claims.restore(restored));
  }

  inspect(clientIds: readonly string[]): Promise<SessionState[]> {
    return this.#ask(READINGS, (state) => state.rows.inspect(clientIds));
  }

  readPayloads(payloadIds: readonly string[]): Promise<(Buffer | null)[]> {
    return this.#ask(READINGS, (state, nowMs) => state.payloads.read(payloadIds, nowMs));
  }

  // ---- deadlines and cleaning

  sessionsOf(incarnation: string, cursor: string): Promise<ClientPage> {
    return this.#ask(DEADLINES, (state) => state.sessions.page(incarnation, cursor));
  }

  disown(clientId: string, incarnation: string, renewedAt: number): Promise<Ending> {
    return this.#askSession(clientId, (state, nowMs) =>
      state.claims.disown(clientId, incarnation, renewedAt, nowMs),
    );
  }

  dueSessions(limit: number): Promise<string[]> {
    return this.#ask(DEADLINES, (state, nowMs) => state.sessions.due(nowMs, limit));
  }

  expire(clientId: string): Promise<Ending> {
    return this.#askSession(clientId, (state, nowMs) => state.claims.expire(clientId, nowMs));
  }

  leftWills(olderThanMs: number, limit: number): Promise<TakenWill[]> {
    return this.#ask(DEADLINES, (state, nowMs) => state.wills.left(nowMs, olderThanMs, limit));
  }

  settleWill(clientId: string, id: string, isLast: boolean): Promise<WillState> {
    return this.#askSession(clientId, (state) => state.wills.settle(clientId, id, isLast));
  }

  finishWill(clientId: string, id: string): Promise<void> {
    return this.#askSession(clientId, (state) => state.wills.finish(clientId, id));
  }

  orphanedClients(limit: number): Promise<string[]> {
    return this.#ask(DEADLINES, (state, nowMs) => state.orphans.clients(nowMs, limit));
  }

  readOrphans(clientId: string, by: string, holdMs: number, limit: number): Promise<OrphanPage | null> {
    return this.#askSession(clientId, (state, nowMs) =>
      state.orphans.read(clientId, by, holdMs, limit, nowMs),
    );
  }

  assignOrphans(clientId: string, life: number, turns: readonly OrphanTurn[]): Promise<string[]> {
    return this.#askSession(clientId, (state) => state.orphans.assign(clientId, life, turns));
  }

  removeOrphans(clientId: string, life: number, seqs: readonly number[]): Promise<void> {
    return this.#askSession(clientId, (state) => state.orphans.remove(clientId, life, seqs));
  }

  sweep(limit: number): Promise<{ retained: number; payloads: number; marks: number }> {
    return this.#ask(DEADLINES, (state, nowMs) => state.sweep(nowMs, limit));
  }

  // ---- routes

  appendLog(incarnation: string, entries: readonly LogAppend[], versionSeen: number): Promise<number[]> {
    return this.#ask(LOG, (state, nowMs) => state.log.append(incarnation, entries, versionSeen, nowMs));
  }

  logVersion(): Promise<number> {
    return this.#ask(LOG, (state) => state.log.last);
  }

  followLog(version: number): void {
    this.#reader.follow(version);
  }

  readRows(cursor: string): Promise<RowPage> {
    return this.#ask(READINGS, (state) => state.rows.read(cursor));
  }

  readRoutes(incarnation: string, cursor: string): Promise<RoutePage> {
    return this.#ask(READINGS, (state) => state.log.readRoutes(incarnation, cursor));
  }

  // ---- nodes

  register(incarnation: string, name: string, leaseMs: number): Promise<Renewal> {
    this.#incarnation = incarnation;
    this.#name = name;
    this.#reader.readInbox(incarnation);
    return this.#ask(LEASES, (state, nowMs) => {
      if (state.leases.has(incarnation)) return this.#renew(state, incarnation, leaseMs, nowMs);
      state.leases.create(incarnation, name, leaseMs, nowMs);
      state.inboxes.create(incarnation);
      return { nowMs, lapsed: false, leases: state.leases.list() };
    });
  }

  renew(incarnation: string, leaseMs: number, others: readonly NodeName[] = []): Promise<Renewal> {
    return this.#ask(LEASES, (state, nowMs) => this.#renew(state, incarnation, leaseMs, nowMs, others));
  }

  bury(incarnation: string, by: string, leaseMs: number): Promise<'buried' | 'refused'> {
    return this.#ask(LEASES, (state, nowMs) => state.leases.bury(incarnation, by, leaseMs, nowMs));
  }

  resign(incarnation: string): Promise<void> {
    return this.#ask(LEASES, (state, nowMs) => state.leases.resign(incarnation, nowMs));
  }

  lockCleanup(incarnation: string, by: string, holdMs: number): Promise<boolean> {
    return this.#ask(LEASES, (state, nowMs) => state.leases.lockCleanup(incarnation, by, holdMs, nowMs));
  }

  removeNode(incarnation: string): Promise<void> {
    return this.#ask(LEASES, (state) => {
      state.log.removeNode(incarnation);
      state.inboxes.remove(incarnation);
      state.leases.setCleaned(incarnation);
    });
  }

  inboxEnd(): Promise<string> {
    const incarnation = this.#incarnation;
    return this.#ask(inboxReceiver(incarnation), (state) => String(state.inboxes.end(incarnation)));
  }

  waitInbox(position: string): Promise<void> {
    return this.#reader.wait(Number(position));
  }

  // ---- retained

  readRetained(filter: string, cursor: string, limit: number, version: number): Promise<RetainedPage> {
    return this.#ask(READINGS, (state, nowMs) => state.retained.read(filter, cursor, limit, version, nowMs));
  }

  totals(): Promise<StoreTotals> {
    return this.#ask(READINGS, (state) => state.totals());
  }

  // ---- what the simulation does to this node's connection

  /**
   * Cuts it: what is not answered stays so, and runs when its turn comes if `runsLate` says so. The node's readers stop.
   */
  cut(runsLate: (operation: Operation) => boolean = () => false): void {
    this.#connection.cut(runsLate);
    this.#events?.onAvailability(false, 'the connection was cut');
  }

  /** Makes it anew: everything that was not answered is submitted again, the readers go on where they were. */
  reconnect(): void {
    this.#connection.reconnect();
    this.#events?.onAvailability(true, '');
    this.#reader.wake();
  }

  /** Holds the reader of the inbox or of the log back until `unhold`. */
  hold(reading: 'inbox' | 'log'): void {
    this.#reader.hold(reading);
  }

  unhold(reading: 'inbox' | 'log'): void {
    this.#reader.unhold(reading);
  }

  // ---- what the world tells

  wakeReaders(): void {
    this.#reader.wake();
  }

  tellAvailability(reason: string): void {
    if (this.#connection.isUp) this.#events?.onAvailability(this.#world.isAvailable, reason);
  }

  meetHistory(): void {
    this.#hasLostTail = true;
    this.#events?.onHistory();
    if (this.#connection.isUp) this.#connection.reconnect();
  }

  /** Makes the leases anew that the store has lost, and in any case the inbox. */
  #renew(
    state: StoreState,
    incarnation: string,
    leaseMs: number,
    nowMs: number,
    others: readonly NodeName[] = [],
  ): Renewal {
    if (this.#hasLostTail && !state.leases.has(incarnation)) {
      state.leases.create(incarnation, this.#name, leaseMs, nowMs);
    }
    this.#hasLostTail = false;
    const lapsed = state.leases.renew(incarnation, leaseMs, nowMs);
    for (const other of state.leases.isStanding(incarnation) ? others : []) {
      if (!state.leases.has(other.incarnation))
        state.leases.create(other.incarnation, other.name, leaseMs, nowMs);
    }
    if (state.leases.isStanding(incarnation) && !state.inboxes.has(incarnation)) {
      state.inboxes.create(incarnation);
      this.#reader.readInbox(incarnation);
      this.#world.clock.soon(() => this.#events?.onInboxGap());
    }
    return { nowMs, lapsed, leases: state.leases.list() };
  }

  #askSession<T>(clientId: string, run: ControlRun<T>): Promise<T> {
    return this.#ask(sessionReceiver(clientId), run);
  }

  #ask<T>(receiver: string, run: ControlRun<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#connection.submit(new ControlOperation(receiver, run, resolve, reject));
    });
  }
}
