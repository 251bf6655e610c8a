// Follows one stream with blocking reads on a connection of its own, from the last id it has: a cut connection goes on
// where it was. What the entries mean, and what is checked before reading goes on, is its owner's business.

import type { Clock } from '../../util/clock.ts';
import type { Connection } from './client.ts';
import { classifyRefusal } from './refusal.ts';
import { asList, asText, encodeCommand, type Reply } from './resp.ts';
import type { Topology } from './topology.ts';

/** A read without entries is answered after that time, which shows that the connection lives. */
const BLOCK_MS = 2000;
const ENTRIES_OF_READ = 256;
const RETRY_MS = 50;

/** One entry: its id and its fields and values in turn. */
export interface StreamEntry {
  readonly id: string;
  readonly fields: readonly Reply[];
}

export interface StreamReaderEvents {
  onEntries(entries: readonly StreamEntry[]): void;
  /** Called before reading begins on a new connection, with its history id; reading goes on when `proceed` is called. */
  onConnect(history: string, proceed: () => void): void;
}

export class StreamReader {
  readonly #topology: Topology;
  readonly #clock: Clock;
  readonly #slot: number;
  readonly #key: string;
  readonly #events: StreamReaderEvents;
  #connection: Connection | null = null;
  #isClosed = false;
  /** Raised when reading begins anew, so that the answer to an older read is not taken for one of it. */
  #round = 0;
  lastId: string;

  constructor(
    topology: Topology,
    clock: Clock,
    slot: number,
    key: string,
    lastId: string,
    events: StreamReaderEvents,
  ) {
    this.#topology = topology;
    this.#clock = clock;
    this.#slot = slot;
    this.#key = key;
    this.lastId = lastId;
    this.#events = events;
    this.#open();
  }

  #open(): void {
    if (this.#isClosed) return;
    const master = this.#topology.masterOf(this.#slot);
    if (!master) {
      this.#clock.after(RETRY_MS, () => this.#open());
      return;
    }
    const connection: Connection = this.#topology.openReader(master, BLOCK_MS, {
      onReady: () => this.#connected(connection),
      onDown: () => {
        this.#round++;
        if (this.#topology.masterOf(this.#slot) !== master) this.#reopen();
      },
    });
    this.#connection = connection;
  }

  #reopen(): void {
    this.#connection?.close();
    this.#connection = null;
    this.#clock.after(RETRY_MS, () => {
      if (!this.#connection) this.#open();
    });
  }

  #connected(connection: Connection): void {
    const round = ++this.#round;
    this.#events.onConnect(connection.history, () => {
      if (round === this.#round) this.#read(connection, round);
    });
  }

  #read(connection: Connection, round: number): void {
    if (this.#isClosed) return;
    const command = encodeCommand(
      'XREAD',
      'COUNT',
      ENTRIES_OF_READ,
      'BLOCK',
      BLOCK_MS,
      'STREAMS',
      this.#key,
      this.lastId,
    );
    connection.run([command], ([reply]) => {
      if (this.#isClosed || round !== this.#round) return;
      if (reply instanceof Error) return this.#refused(connection, round, reply);
      if (reply !== null) {
        const entries = asList(asList(asList(reply)[0])[1]).map((one): StreamEntry => {
          const [id, fields] = asList(one);
          return { id: asText(id), fields: asList(fields) };
        });
        const last = entries.at(-1);
        if (last) {
          this.lastId = last.id;
          this.#events.onEntries(entries);
        }
      }
      if (round === this.#round) this.#read(connection, round);
    });
  }

  #refused(connection: Connection, round: number, error: Error): void {
    const refusal = classifyRefusal(error);
    if (!connection.isReady) return;
    if (refusal === 'moved' || refusal === 'demoted') {
      this.#round++;
      this.#topology.refresh();
      this.#reopen();
      return;
    }
    this.#clock.after(RETRY_MS, () => {
      if (round === this.#round) this.#read(connection, round);
    });
  }

  /** The lane speaks to a server with this history id: a reader that still sits at another one connects again. */
  follow(history: string): void {
    const connection = this.#connection;
    if (connection?.isReady && connection.history !== history) connection.cut('the master has changed');
  }

  /** Reads again from behind `id`, on the connection there is. */
  seek(id: string): void {
    this.lastId = id;
    this.#connection?.cut('reading begins anew');
  }

  close(): void {
    this.#isClosed = true;
    this.#round++;
    this.#connection?.close();
  }
}

/** Order of stream ids ("ms-number"). */
export function isIdBefore(left: string, right: string): boolean {
  const [leftMs = '0', leftNumber = '0'] = left.split('-');
  const [rightMs = '0', rightNumber = '0'] = right.split('-');
  const difference = Number(leftMs) - Number(rightMs);
  return difference !== 0 ? difference < 0 : Number(leftNumber) < Number(rightNumber);
}
