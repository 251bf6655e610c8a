// What ended sessions leave to the other members of their shared subscriptions: whole queues, by client and life, until
// their messages have been moved on. The entries keep the keys they had in the journal, which name the life; one record
// beside them says that they are wanted still, and one for each that is assigned to whom. They count as queued as long as they are here.

import type { OrphanPage, OrphanTurn } from '../store.ts';
import type { Ledger } from './ledger.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import {
  decodeStored,
  encodeStored,
  entryKey,
  KIND,
  numberedKey,
  orphanTurnKey,
  splitNumbered,
} from './stored.ts';

interface Left {
  readonly life: number;
  readonly head: number;
  /** Highest seq sent at a clean release, -1 when unknown. */
  readonly sent: number;
  readonly queue: Map<number, Buffer>;
}

interface Lender {
  readonly by: string;
  readonly untilMs: number;
}

export class Orphans {
  readonly #ledger: Ledger;
  readonly #sessions: Sessions;
  readonly #left = new Map<string, Left[]>();
  /** Who gets a message, by the key of its turn. */
  readonly #members = new Map<string, string>();
  /** Who is moving what of a client on. Not kept: it ends with the process. */
  readonly #lent = new Map<string, Lender>();

  constructor(ledger: Ledger, sessions: Sessions) {
    this.#ledger = ledger;
    this.#sessions = sessions;
  }

  /** Takes the queue of a session that is about to end. */
  take(session: Session): void {
    const { clientId, life, head, sent, queue } = session;
    if (queue === null) return;
    session.queue = null;
    session.queueBytes = 0;
    this.#add(clientId, { life, head, sent, queue });
    this.#ledger.writes.put(numberedKey(KIND.orphans, life, clientId), encodeStored({ head, sent }));
  }

  clients(nowMs: number, limit: number): string[] {
    const clients: string[] = [];
    for (const clientId of this.#left.keys()) {
      if (clients.length === limit) break;
      if ((this.#lent.get(clientId)?.untilMs ?? 0) <= nowMs) clients.push(clientId);
    }
    return clients;
  }

  read(clientId: string, by: string, holdMs: number, limit: number, nowMs: number): OrphanPage | null {
    const [left] = this.#left.get(clientId) ?? [];
    const lent = this.#lent.get(clientId);
    if (left === undefined || (lent !== undefined && lent.by !== by && lent.untilMs > nowMs)) return null;
    this.#lent.set(clientId, { by, untilMs: nowMs + holdMs });
    const { life, head, sent, queue } = left;
    const lastSent = sent >= 0 ? sent : head + this.#ledger.limits.windowMax - 1;
    const entries: OrphanPage['entries'][number][] = [];
    for (const [seq, entry] of queue) {
      if (entries.length === limit) break;
      const member = this.#members.get(orphanTurnKey(life, seq, clientId)) ?? '';
      entries.push({ seq, entry, wasSent: seq <= lastSent, member });
    }
    return { life, entries };
  }

  assign(clientId: string, life: number, turns: readonly OrphanTurn[]): string[] {
    const queue = this.#left.get(clientId)?.find((one) => one.life === life)?.queue;
    return turns.map(({ seq, instead, member }) => {
      if (!queue?.has(seq)) return '';
      const key = orphanTurnKey(life, seq, clientId);
      const stands = this.#members.get(key) ?? '';
      if (stands !== instead) return stands;
      this.#members.set(key, member);
      this.#ledger.writes.put(key, encodeStored({ member }));
      return member;
    });
  }

  remove(clientId: string, life: number, seqs: readonly number[]): void {
    const all = this.#left.get(clientId) ?? [];
    const left = all.find((one) => one.life === life);
    if (left === undefined) return;
    for (const seq of seqs) {
      const entry = left.queue.get(seq);
      if (entry === undefined) continue;
      left.queue.delete(seq);
      this.#sessions.queuedMessages--;
      this.#sessions.queuedBytes -= entry.length;
      this.#ledger.writes.remove(entryKey(life, seq, clientId));
      const turn = orphanTurnKey(life, seq, clientId);
      if (this.#members.delete(turn)) this.#ledger.writes.remove(turn);
    }
    if (left.queue.size > 0) return;
    this.#ledger.writes.remove(numberedKey(KIND.orphans, life, clientId));
    all.splice(all.indexOf(left), 1);
    if (all.length > 0) return;
    this.#left.delete(clientId);
    this.#lent.delete(clientId);
  }

  // ---- loading: the record may come before or behind its entries, which are handed over when all have been read

  load(key: string, value: Buffer): void {
    const { number, name } = splitNumbered(key);
    const { fields } = decodeStored<{ head: number; sent: number }>(key, value);
    this.#add(name, { life: Number(number), ...fields, queue: new Map() });
  }

  loadTurn(key: string, value: Buffer): void {
    this.#members.set(key, decodeStored<{ member: string }>(key, value).fields.member);
  }

  /** Takes an entry of a life that has ended, in the order of numbers; false when it is not wanted. */
  adopt(clientId: string, life: number, seq: number, entry: Buffer): boolean {
    const left = this.#left.get(clientId)?.find((one) => one.life === life);
    left?.queue.set(seq, entry);
    return left !== undefined;
  }

  #add(clientId: string, left: Left): void {
    const known = this.#left.get(clientId);
    if (known === undefined) this.#left.set(clientId, [left]);
    else known.push(left);
  }
}
