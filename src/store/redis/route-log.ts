// The route log in Redis: appending with rising versions, following it, and the pages of a snapshot (rows of sessions,
// routes of nodes). Appends stand in one list of the lane that holds the log, so that they are durable before they are
// answered; reading needs no such order.

import type { Clock } from '../../util/clock.ts';
import type { LogAppend, LogEntry } from '../store.ts';
import type { Commits } from './commits.ts';
import { type Keyspace, SESSION_BUCKETS } from './keyspace.ts';
import { CLUSTER_SLOT, LOG_RECEIVER, SESSION_SLOTS } from './receiver-slot.ts';
import { type Argument, asList, asNumber, asText, encodeCommand } from './resp.ts';
import { defineScript } from './script.ts';
import type { SideCalls } from './side-calls.ts';
import { type StreamEntry, StreamReader } from './stream-reader.ts';
import type { Topology } from './topology.ts';

const APPEND_LOG = defineScript(
  'append-log',
  ['log', 'state', 'leases', 'routes'],
  ['incarnation', 'versionSeen', 'maxEntries'],
);

/** Entries kept for followers that fell behind; beyond them they load a snapshot. */
const LOG_ENTRIES = 100_000;
/** Rows of one page, about. */
const ROWS_PAGE = 2000;

export class RouteLogStore {
  readonly #topology: Topology;
  readonly #commits: Commits;
  readonly #side: SideCalls;
  readonly #keyspace: Keyspace;
  readonly #clock: Clock;
  readonly #onLog: (entries: readonly LogEntry[]) => void;
  #reader: StreamReader | null = null;

  constructor(
    topology: Topology,
    commits: Commits,
    side: SideCalls,
    keyspace: Keyspace,
    clock: Clock,
    onLog: (entries: readonly LogEntry[]) => void,
  ) {
    this.#topology = topology;
    this.#commits = commits;
    this.#side = side;
    this.#keyspace = keyspace;
    this.#clock = clock;
    this.#onLog = onLog;
  }

  async append(incarnation: string, entries: readonly LogAppend[], versionSeen: number): Promise<number[]> {
    if (entries.length === 0) return [];
    const keyspace = this.#keyspace;
    const keys = {
      log: keyspace.log,
      state: keyspace.logState,
      leases: keyspace.leases,
      routes: keyspace.nodeRoutes(incarnation),
    };
    const more: Argument[] = [];
    for (const { payload, routes } of entries) {
      more.push(payload, routes.length);
      for (const { filter, flags } of routes) more.push(filter, flags);
    }
    const args = { incarnation, versionSeen, maxEntries: LOG_ENTRIES };
    const reply = await this.#commits.call(LOG_RECEIVER, (writer) => {
      APPEND_LOG.write(writer, keys, args, more);
    });
    return asList(reply).map(asNumber);
  }

  async version(): Promise<number> {
    const command = encodeCommand('HGET', this.#keyspace.logState, 'v');
    return asNumber(await this.#side.run(CLUSTER_SLOT, () => command));
  }

  follow(version: number): void {
    this.#reader?.close();
    this.#reader = new StreamReader(
      this.#topology,
      this.#clock,
      CLUSTER_SLOT,
      this.#keyspace.log,
      `${version}-0`,
      {
        onEntries: (entries) => this.#onLog(entries.map(readEntry)),
        onConnect: (_history, proceed) => proceed(),
      },
    );
  }

  followHistory(history: string): void {
    this.#reader?.follow(history);
  }

  /** The cursor is the next bucket; a page has whole buckets. */
  async readRows(
    cursor: string,
  ): Promise<{ rows: { clientId: string; row: Buffer }[]; cursor: string | null }> {
    const rows: { clientId: string; row: Buffer }[] = [];
    let bucket = cursor === '' ? 0 : Number(cursor);
    while (bucket < SESSION_BUCKETS && rows.length < ROWS_PAGE) {
      const count = Math.min(16, SESSION_BUCKETS - bucket);
      const buckets = Array.from({ length: count }, (_none, index) => bucket + index);
      await this.#readBuckets(buckets, rows);
      bucket += count;
    }
    return { rows, cursor: bucket < SESSION_BUCKETS ? String(bucket) : null };
  }

  async #readBuckets(buckets: readonly number[], rows: { clientId: string; row: Buffer }[]): Promise<void> {
    let open = buckets.map((bucket) => ({ bucket, cursor: '0' }));
    while (open.length > 0) {
      const scan = ({ bucket, cursor }: { bucket: number; cursor: string }) =>
        encodeCommand('HSCAN', this.#keyspace.rows(bucket), cursor, 'COUNT', 1000);
      const replies =
        this.#side.groupOf(1) === 0
          ? await this.#side.runAll(0, () => open.map(scan))
          : await Promise.all(open.map((one) => this.#side.run(SESSION_SLOTS[one.bucket]!, () => scan(one))));
      const next: typeof open = [];
      for (const [index, one] of open.entries()) {
        const [cursor, pairs] = asList(replies[index]);
        const fields = asList(pairs);
        for (let at = 0; at < fields.length; at += 2) {
          rows.push({ clientId: asText(fields[at]), row: fields[at + 1] as Buffer });
        }
        if (asText(cursor) !== '0') next.push({ bucket: one.bucket, cursor: asText(cursor) });
      }
      open = next;
    }
  }

  async readRoutes(
    incarnation: string,
    cursor: string,
  ): Promise<{ routes: { filter: string; flags: string }[]; cursor: string | null }> {
    const command = encodeCommand(
      'HSCAN',
      this.#keyspace.nodeRoutes(incarnation),
      cursor === '' ? '0' : cursor,
      'COUNT',
      1000,
    );
    const [next, pairs] = asList(await this.#side.run(CLUSTER_SLOT, () => command));
    const fields = asList(pairs);
    const routes: { filter: string; flags: string }[] = [];
    for (let at = 0; at < fields.length; at += 2) {
      routes.push({ filter: asText(fields[at]), flags: asText(fields[at + 1]) });
    }
    return { routes, cursor: asText(next) === '0' ? null : asText(next) };
  }

  close(): void {
    this.#reader?.close();
  }
}

function readEntry({ id, fields }: StreamEntry): LogEntry {
  // Fields in the order of append-log.lua: p previous, f from, d payload.
  return {
    version: Number(id.split('-')[0]),
    previous: asNumber(fields[1]),
    from: asText(fields[3]),
    payload: fields[5] as Buffer,
  };
}
