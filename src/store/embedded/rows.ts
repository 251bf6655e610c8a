// Rows of subscriptions and the records of QoS 2 receptions: what a session's owner writes about it beside its queue. A
// row is pending from its writing until its log entry is settled; a cut refuses messages matched before it.

import type { ForgetInboundOperation, RecordInboundOperation } from '../operations.ts';
import type { Fenced, RowSettle, RowWrite, SessionState } from '../store.ts';
import type { Ledger } from './ledger.ts';
import type { Queues } from './queues.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';

const PAGE_BYTES = 1_000_000;

export interface RowPage {
  rows: { clientId: string; row: Buffer }[];
  cursor: string | null;
}

export class Rows {
  readonly #ledger: Ledger;
  readonly #sessions: Sessions;
  readonly #queues: Queues;

  constructor(ledger: Ledger, sessions: Sessions, queues: Queues) {
    this.#ledger = ledger;
    this.#sessions = sessions;
    this.#queues = queues;
  }

  write(write: RowWrite): Fenced {
    const session = this.#sessions.ownedBy(write.clientId, write.owner);
    if (!session) return 'fenced';
    // Not above what is stored: the same write ran before.
    if (write.rev <= session.rev) return 'ok';
    session.rev = write.rev;
    session.row = Buffer.from(write.row);
    session.rowPending = true;
    this.#ledger.writes.session(session);
    this.#ledger.writes.row(session);
    if (write.reading !== null) this.#queues.beginReading(session, write.reading);
    return 'ok';
  }

  settle(settle: RowSettle): Fenced {
    const session = this.#sessions.ownedBy(settle.clientId, settle.owner);
    if (!session) return 'fenced';
    if (settle.rev === session.rev) session.rowPending = false;
    session.rowVersion = Math.max(session.rowVersion, settle.version);
    if (settle.cut) session.cut = Math.max(session.cut, settle.version);
    this.#ledger.writes.session(session);
    return 'ok';
  }

  /** Rows of all sessions in the order of their client ids, about a megabyte a page. */
  read(cursor: string): RowPage {
    const page = this.#sessions.page(null, cursor);
    const rows: RowPage['rows'] = [];
    let bytes = 0;
    for (const clientId of page.clientIds) {
      const row = this.#sessions.get(clientId)?.row;
      if (!row) continue;
      rows.push({ clientId, row });
      bytes += row.length;
      if (bytes >= PAGE_BYTES) return { rows, cursor: clientId };
    }
    return { rows, cursor: page.cursor };
  }

  inspect(clientIds: readonly string[]): SessionState[] {
    const states: SessionState[] = [];
    for (const clientId of clientIds) {
      const session = this.#sessions.get(clientId);
      if (!session) continue;
      const { incarnation, epoch, life, tail } = session;
      states.push({ clientId, incarnation, epoch, life, tail });
    }
    return states;
  }

  recordInbound(operation: RecordInboundOperation, nowMs: number): void {
    const { clientId, packetId } = operation;
    const session = this.#sessions.ownedBy(clientId, operation.owner);
    if (!session) {
      operation.status = 'fenced';
      return;
    }
    operation.status = 'ok';
    session.inbound ??= new Map();
    const record = session.inbound.get(packetId);
    operation.known = record !== undefined;
    if (record) {
      operation.slot = record.slot;
      operation.mid = record.mid;
      if (operation.replaces) {
        record.choices = operation.choices;
        this.#ledger.writes.inbound(session, packetId, record);
      }
      operation.choices = record.choices ?? '';
      return;
    }
    operation.mid = this.#ledger.stamps.next(nowMs);
    const { slot, mid, choices } = operation;
    const fields = choices === '' ? { slot, mid } : { slot, mid, choices };
    session.inbound.set(packetId, fields);
    this.#ledger.writes.inbound(session, packetId, fields);
  }

  forgetInbound(operation: ForgetInboundOperation): void {
    const session = this.#sessions.ownedBy(operation.clientId, operation.owner);
    operation.status = session ? 'ok' : 'fenced';
    if (session) forgetReception(session, operation.packetId, this.#ledger);
  }
}

export function forgetReception(session: Session, packetId: number, { writes }: Ledger): void {
  if (!session.inbound?.delete(packetId)) return;
  if (session.inbound.size === 0) session.inbound = null;
  writes.inbound(session, packetId, null);
}
