// Leases of nodes: when each was renewed last, since when it stands without a lapse, and its tombstone. Death is a
// tombstone and nothing else; one is written by a node that stops, by another one that has itself stood for two leases,
// or by whoever opens a data directory that a node before had held. Tombstones stay for a day after the cleaning, so that
// a node that was frozen finds its own.

import type { Lease } from '../store.ts';
import type { Ledger } from './ledger.ts';
import { decodeStored, encodeStored, KIND, keyOf } from './stored.ts';

const TOMBSTONE_LIFE_MS = 86_400_000;

interface LeaseRecord extends Lease {
  renewedAt: number;
  deadline: number;
  deadAt: number;
  cleaned: boolean;
  /** Store ms of the creation or of the last lapse. */
  standsSince: number;
}

export class Leases {
  readonly #ledger: Ledger;
  readonly #byIncarnation = new Map<string, LeaseRecord>();
  readonly #cleaners = new Map<string, { by: string; until: number }>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Has a lease and no tombstone, whether the lease runs or not. */
  isStanding(incarnation: string): boolean {
    return this.#byIncarnation.get(incarnation)?.deadAt === 0;
  }

  has(incarnation: string): boolean {
    return this.#byIncarnation.has(incarnation);
  }

  list(): Lease[] {
    return [...this.#byIncarnation.values()].map(({ standsSince: _, ...lease }) => lease);
  }

  create(incarnation: string, name: string, leaseMs: number, nowMs: number): void {
    const lease: LeaseRecord = {
      ...{ incarnation, name, createdAt: nowMs, renewedAt: nowMs, deadline: nowMs + leaseMs },
      ...{ deadAt: 0, cleaned: false, standsSince: nowMs },
    };
    this.#byIncarnation.set(incarnation, lease);
    this.#note(lease);
  }

  /**
   * True when the lease was over. The dead stay dead; one that comes back to find its tombstone may have claimed sessions
   * since it was cleaned up after, with what it had prepared, so that it is cleaned up after again.
   */
  renew(incarnation: string, leaseMs: number, nowMs: number): boolean {
    const lease = this.#byIncarnation.get(incarnation);
    if (!lease) return true;
    if (lease.deadAt > 0) {
      if (lease.cleaned) {
        lease.cleaned = false;
        this.#note(lease);
      }
      return true;
    }
    const lapsed = lease.deadline < nowMs;
    if (lapsed) lease.standsSince = nowMs;
    lease.renewedAt = nowMs;
    lease.deadline = nowMs + leaseMs;
    this.#note(lease, lapsed);
    return lapsed;
  }

  bury(incarnation: string, by: string, leaseMs: number, nowMs: number): 'buried' | 'refused' {
    const lease = this.#byIncarnation.get(incarnation);
    const writer = this.#byIncarnation.get(by);
    if (!lease || !writer || writer.deadAt > 0 || writer.deadline < nowMs) return 'refused';
    if (lease.deadAt > 0) return 'buried';
    const knownFor = nowMs - Math.max(writer.standsSince, this.#ledger.historyAt);
    if (lease.deadline >= nowMs || knownFor < 2 * leaseMs) return 'refused';
    this.#die(lease, nowMs);
    return 'buried';
  }

  resign(incarnation: string, nowMs: number): void {
    const lease = this.#byIncarnation.get(incarnation);
    if (lease?.deadAt === 0) this.#die(lease, nowMs);
  }

  /** Who opened the data alone knows that all others are dead. */
  buryAll(nowMs: number): void {
    for (const lease of this.#byIncarnation.values()) {
      if (lease.deadAt === 0) this.#die(lease, nowMs);
    }
  }

  lockCleanup(incarnation: string, by: string, holdMs: number, nowMs: number): boolean {
    const lease = this.#byIncarnation.get(incarnation);
    if (!lease || lease.deadAt === 0 || lease.cleaned) return false;
    const lock = this.#cleaners.get(incarnation);
    if (lock && lock.by !== by && lock.until > nowMs) return false;
    this.#cleaners.set(incarnation, { by, until: nowMs + holdMs });
    return true;
  }

  setCleaned(incarnation: string): void {
    this.#cleaners.delete(incarnation);
    const lease = this.#byIncarnation.get(incarnation);
    if (!lease || lease.deadAt === 0 || lease.cleaned) return;
    lease.cleaned = true;
    this.#note(lease);
  }

  /** Removes old tombstones of nodes that are cleaned up. */
  sweep(nowMs: number): void {
    for (const lease of this.#byIncarnation.values()) {
      if (!lease.cleaned || lease.deadAt + TOMBSTONE_LIFE_MS > nowMs) continue;
      this.#byIncarnation.delete(lease.incarnation);
      this.#ledger.writes.remove(keyOf(KIND.lease, lease.incarnation));
    }
  }

  load(key: string, value: Buffer): void {
    const { fields } = decodeStored<LeaseRecord>(key, value);
    this.#byIncarnation.set(key.slice(1), fields);
  }

  #die(lease: LeaseRecord, nowMs: number): void {
    lease.deadAt = nowMs;
    this.#note(lease);
  }

  #note(lease: LeaseRecord, isDurable = true): void {
    const { writes } = this.#ledger;
    if (writes.isKept) writes.put(keyOf(KIND.lease, lease.incarnation), encodeStored(lease), isDurable);
  }
}
