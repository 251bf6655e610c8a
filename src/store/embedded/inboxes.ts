// Inboxes of nodes: entries in order, each with a number, until their node has read them or the bound in bytes trims the
// oldest. They are not written to disk, since no incarnation outlives its process.

import type { Ledger } from './ledger.ts';

/** Entries handed to the reader in one go. */
const READ_MAX = 500;

interface InboxEntry {
  readonly number: number;
  readonly payload: Buffer;
}

interface Inbox {
  entries: InboxEntry[];
  /** Entries at the front that are gone already; the array is cut now and then. */
  gone: number;
  bytes: number;
  /** Number of the last entry added. */
  last: number;
}

export interface InboxRead {
  readonly payloads: Buffer[];
  /** Number of the last entry read; where nothing was read, the position given. */
  readonly position: number;
  /** Entries behind the position given were trimmed unread. */
  readonly hasGap: boolean;
}

export class Inboxes {
  readonly #ledger: Ledger;
  readonly #byIncarnation = new Map<string, Inbox>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  has(incarnation: string): boolean {
    return this.#byIncarnation.has(incarnation);
  }

  create(incarnation: string): void {
    if (this.has(incarnation)) return;
    this.#byIncarnation.set(incarnation, { entries: [], gone: 0, bytes: 0, last: 0 });
  }

  remove(incarnation: string): void {
    this.#byIncarnation.delete(incarnation);
  }

  add(incarnation: string, payload: Buffer): 'ok' | 'gone' {
    const inbox = this.#byIncarnation.get(incarnation);
    if (!inbox) return 'gone';
    inbox.entries.push({ number: ++inbox.last, payload });
    inbox.bytes += payload.length;
    while (inbox.bytes > this.#ledger.limits.maxInboxBytes && inbox.entries.length - inbox.gone > 1) {
      dropFirst(inbox);
    }
    return 'ok';
  }

  /** Number of the last entry now. */
  end(incarnation: string): number {
    return this.#byIncarnation.get(incarnation)?.last ?? 0;
  }

  /** Takes the next entries behind `position` out. */
  read(incarnation: string, position: number): InboxRead {
    const inbox = this.#byIncarnation.get(incarnation);
    if (!inbox || inbox.last <= position) return { payloads: [], position, hasGap: false };
    const first = inbox.entries[inbox.gone]!.number;
    const payloads: Buffer[] = [];
    let last = position;
    while (payloads.length < READ_MAX && inbox.gone < inbox.entries.length) {
      const entry = inbox.entries[inbox.gone]!;
      payloads.push(entry.payload);
      last = entry.number;
      dropFirst(inbox);
    }
    return { payloads, position: last, hasGap: first > position + 1 };
  }
}

function dropFirst(inbox: Inbox): void {
  const entry = inbox.entries[inbox.gone]!;
  inbox.bytes -= entry.payload.length;
  inbox.gone++;
  if (inbox.gone < 1024 || inbox.gone * 2 < inbox.entries.length) {
    // Not worth moving the rest yet; the payload is let go of at once.
    inbox.entries[inbox.gone - 1] = { number: entry.number, payload: EMPTY };
    return;
  }
  inbox.entries = inbox.entries.slice(inbox.gone);
  inbox.gone = 0;
}

const EMPTY = Buffer.alloc(0);
