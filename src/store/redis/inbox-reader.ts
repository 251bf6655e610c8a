// Reads this node's inbox: delivers its entries in order, trims behind itself, and notices entries that were lost. The
// last entry read stays in the stream; if it is gone when looked for, entries may have been trimmed unread. Under another
// history id the inbox is made anew if it is missing and read from its beginning.

import { Buffer } from 'node:buffer';
import type { Clock, Timer } from '../../util/clock.ts';
import { INBOX_VERSION } from '../inbox-run.ts';
import type { Keyspace } from './keyspace.ts';
import { inboxTag } from './keyspace.ts';
import { asText, type Reply } from './resp.ts';
import { defineScript } from './script.ts';
import type { SideCalls } from './side-calls.ts';
import { slotOf } from './slots.ts';
import { isIdBefore, type StreamEntry, StreamReader } from './stream-reader.ts';
import type { Topology } from './topology.ts';

const OPEN_INBOX = defineScript('open-inbox', ['inbox', 'state'], []);
const INBOX_END = defineScript('inbox-end', ['inbox', 'state'], []);
const TRIM_INBOX = defineScript('trim-inbox', ['inbox', 'state'], ['lastId', 'bytes', 'lastBytes']);
/** Answers of open-inbox. */
const TRIMMED_UNREAD = 1;
const MADE_ANEW = 2;
/** What has been read is trimmed that much later, so that many readings share a call, or when it is much. */
const TRIM_AFTER_MS = 20;
/** Much: that share of what an inbox may hold, and never more than so many bytes; until then it counts as unread. */
const TRIM_SHARE = 1 / 16;
const TRIM_BYTES_MAX = 1 << 20;

export interface InboxReaderEvents {
  onInbox(payloads: readonly Buffer[]): void;
  onInboxGap(): void;
}

const START = '0-0';
/** What stands before the runs that commit-sessions.lua has put into an entry. */
const RUNS = Buffer.of(INBOX_VERSION);

/** An entry of one field d says what that holds; any other is made of runs, in pieces. */
const isPayload = ([name]: readonly Buffer[]): boolean => name!.length === 1;

export class InboxReader {
  readonly #side: SideCalls;
  readonly #clock: Clock;
  readonly #trimBytes: number;
  readonly #events: InboxReaderEvents;
  readonly #slot: number;
  readonly #keys: { inbox: string; state: string };
  readonly #reader: StreamReader;
  #history = '';
  /** Last entry read at the last trim. */
  #trimmedTo = '';
  /** Bytes read since, without and of the last entry. */
  #bytes = 0;
  #lastBytes = 0;
  #isTrimming = false;
  #trimTimer: Timer | null = null;
  #isClosed = false;
  /** Our own tombstone stands: the inbox is not made anew. */
  isDead = false;
  #waiters: { position: string; resolve: () => void }[] = [];

  constructor(
    topology: Topology,
    side: SideCalls,
    keyspace: Keyspace,
    clock: Clock,
    incarnation: string,
    maxInboxBytes: number,
    events: InboxReaderEvents,
  ) {
    this.#side = side;
    this.#clock = clock;
    this.#trimBytes = Math.min(maxInboxBytes * TRIM_SHARE, TRIM_BYTES_MAX);
    this.#events = events;
    this.#slot = slotOf(inboxTag(incarnation));
    this.#keys = { inbox: keyspace.inbox(incarnation), state: keyspace.inboxState(incarnation) };
    this.#reader = new StreamReader(topology, clock, this.#slot, this.#keys.inbox, START, {
      onEntries: (entries) => this.#deliver(entries),
      onConnect: (history, proceed) => this.#connect(history, proceed),
    });
  }

  /** Makes the inbox: from here on it takes entries. */
  async open(): Promise<void> {
    await this.#look();
  }

  #look(): Promise<Reply> {
    const command = OPEN_INBOX.encode(this.#keys, {});
    return this.#side.run(this.#slot, () => command);
  }

  #connect(history: string, proceed: () => void): void {
    const isOther = this.#history !== '' && this.#history !== history;
    this.#history = history;
    if (this.isDead || this.#isClosed) return;
    this.#look().then(
      (answer) => {
        if (this.#isClosed) return;
        // Under another history the stream may be older than what was read of it: it is read from its beginning.
        const isAnew = isOther || (answer === MADE_ANEW && this.#reader.lastId !== START);
        if (isAnew) this.#begin();
        if (isAnew || answer === TRIMMED_UNREAD) this.#lose();
        proceed();
      },
      () => {},
    );
  }

  #begin(): void {
    this.#reader.lastId = START;
    this.#trimmedTo = '';
    this.#bytes = 0;
    this.#lastBytes = 0;
  }

  #lose(): void {
    // What somebody waits for may be among the lost.
    this.#resolveTo(null);
    this.#events.onInboxGap();
  }

  #deliver(entries: readonly StreamEntry[]): void {
    const payloads: Buffer[] = [];
    for (const { fields } of entries) {
      const pieces = fields as Buffer[];
      payloads.push(isPayload(pieces) ? pieces[1]! : Buffer.concat([RUNS, ...pieces]));
      this.#bytes += this.#lastBytes;
      this.#lastBytes = pieces.reduce((bytes, { length }) => bytes + length, 0);
    }
    this.#events.onInbox(payloads);
    this.#resolveTo(this.#reader.lastId);
    this.#trimSoon();
  }

  /** One trim at a time; what is read meanwhile is trimmed by the next. */
  #trimSoon(): void {
    if (this.#bytes + this.#lastBytes > this.#trimBytes) this.#trim();
    else this.#trimTimer ??= this.#clock.after(TRIM_AFTER_MS, () => this.#trim());
  }

  #trim(): void {
    this.#trimTimer?.cancel();
    this.#trimTimer = null;
    const lastId = this.#reader.lastId;
    if (this.#isTrimming || this.#isClosed || lastId === this.#trimmedTo || lastId === START) return;
    this.#isTrimming = true;
    const before = this.#trimmedTo;
    const args = { lastId, bytes: this.#bytes, lastBytes: this.#lastBytes };
    this.#bytes = 0;
    const command = TRIM_INBOX.encode(this.#keys, args);
    this.#side
      .run(this.#slot, () => command)
      .then(
        (reply: Reply) => {
          this.#isTrimming = false;
          if (this.#isClosed) return;
          // The reader may have begun anew meanwhile, and told the loss by itself.
          if (this.#trimmedTo === before) {
            this.#trimmedTo = lastId;
            if (reply === 1) this.#lose();
          }
          if (this.#reader.lastId !== lastId) this.#trimSoon();
        },
        () => {
          this.#isTrimming = false;
        },
      );
  }

  /** Resolves the waiters up to a position; null: all of them, what they wait for may be lost. */
  #resolveTo(position: string | null): void {
    if (this.#waiters.length === 0) return;
    const reached = (waiter: { position: string }) =>
      position === null || !isIdBefore(position, waiter.position);
    const done = this.#waiters.filter(reached);
    this.#waiters = this.#waiters.filter((waiter) => !reached(waiter));
    for (const { resolve } of done) resolve();
  }

  /** Id of the newest entry. */
  async end(): Promise<string> {
    const command = INBOX_END.encode(this.#keys, {});
    return asText(await this.#side.run(this.#slot, () => command));
  }

  wait(position: string): Promise<void> {
    if (!isIdBefore(this.#reader.lastId, position)) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiters.push({ position, resolve });
    });
  }

  follow(history: string): void {
    this.#reader.follow(history);
  }

  get slot(): number {
    return this.#slot;
  }

  close(): void {
    this.#isClosed = true;
    this.#trimTimer?.cancel();
    this.#reader.close();
    this.#resolveTo(null);
  }
}
