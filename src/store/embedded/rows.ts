// Rows of subscriptions and the records of QoS 2 receptions: what a session's owner writes about it beside its queue. A
// row is pending from its writing until its log entry is settled; a cut refuses messages matched before it.

import type { ForgetInboundOperation, RecordInboundOperation } from '../operations.ts';
import type { InboundRecord } from '../receptions.ts';
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
    const { clientId, reception } = operation;
    const session = this.#sessions.ownedBy(clientId, operation.owner);
    operation.status = session ? 'ok' : 'fenced';
    if (!session) return;
    if (reception.mid === 0) reception.mid = this.#ledger.stamps.next(nowMs);
    keepReception(session, reception, this.#ledger);
  }

  forgetInbound(operation: ForgetInboundOperation): void {
    const session = this.#sessions.ownedBy(operation.clientId, operation.owner);
    operation.status = session ? 'ok' : 'fenced';
    if (session) forgetReception(session, operation.reception.packetId, this.#ledger);
  }
}

export function keepReception(session: Session, record: InboundRecord, { writes }: Ledger): void {
  const { packetId, slot, mid, choices } = record;
  const fields = choices === '' ? { slot, mid } : { slot, mid, choices };
  session.inbound ??= new Map();
  session.inbound.set(packetId, fields);
  writes.inbound(session, packetId, fields);
}

export function forgetReception(session: Session, packetId: number, { writes }: Ledger): void {
  if (!session.inbound?.delete(packetId)) return;
  if (session.inbound.size === 0) session.inbound = null;
  writes.inbound(session, packetId, null);
}
