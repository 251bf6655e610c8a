// What is due: sessions of dead nodes, expired sessions, wills, and memory that a passed deadline frees. Any node does
// these; every step is judged in the store and harmless to repeat.

import type { StoreLimits } from '../limits.ts';
import type { SessionEnding, TakenWill, WillState } from '../store.ts';
import { BucketIndex } from './bucket-index.ts';
import {
  type Keyspace,
  PAYLOAD_BUCKETS,
  RETAINED_SHARDS,
  SESSION_BUCKETS,
  SESSION_KEYS,
} from './keyspace.ts';
import { PAYLOAD_SLOTS, RETAINED_SLOTS, SESSION_SLOTS } from './receiver-slot.ts';
import { asList, asNumber, asText, encodeCommand } from './resp.ts';
import { defineScript } from './script.ts';
import type { Sessions } from './sessions.ts';
import type { SideCalls } from './side-calls.ts';
import type { WillReader } from './wills.ts';

const COMMON = ['history', 'token', 'clientId'] as const;
const DISOWN = defineScript('disown-session', SESSION_KEYS, [...COMMON, 'incarnation', 'renewedAt']);
const EXPIRE = defineScript('expire-session', SESSION_KEYS, COMMON);
const FINISH_WILL = defineScript('finish-will', SESSION_KEYS, [...COMMON, 'mid']);
const SETTLE_WILL = defineScript('settle-will', SESSION_KEYS, [...COMMON, 'mid', 'isLast']);
/** By the script's answer. */
const WILL_STATES: readonly WillState[] = ['gone', 'due', 'waits'];
const DUE_SESSIONS = defineScript('due-sessions', ['due'], ['limit']);
const LEFT_WILLS = defineScript('left-wills', ['taken', 'takenAt'], ['olderThanMs', 'limit']);
const SWEEP_RETAINED = defineScript('sweep-retained', ['values', 'index', 'state', 'deadlines'], ['limit']);
const SWEEP_MARKS = defineScript('sweep-marks', ['marks'], ['cursor', 'markLifeMs']);

/** Client ids of one page of sessionsOf, about. */
const HELD_PAGE = 2000;

export class Deadlines {
  readonly #sessions: Sessions;
  readonly #side: SideCalls;
  readonly #keyspace: Keyspace;
  readonly #limits: StoreLimits;
  readonly #wills: WillReader;
  readonly #nowMs: () => number;
  readonly #due: BucketIndex;
  readonly #taken: BucketIndex;
  readonly #marked: BucketIndex;
  /** How far each retained shard's marks have been looked through. */
  readonly #markCursors: string[] = new Array<string>(RETAINED_SHARDS).fill('0');

  constructor(
    sessions: Sessions,
    side: SideCalls,
    keyspace: Keyspace,
    limits: StoreLimits,
    wills: WillReader,
    nowMs: () => number,
  ) {
    this.#sessions = sessions;
    this.#side = side;
    this.#keyspace = keyspace;
    this.#limits = limits;
    this.#wills = wills;
    this.#nowMs = nowMs;
    this.#due = new BucketIndex(side, keyspace, 'due');
    this.#taken = new BucketIndex(side, keyspace, 'takenAt');
    this.#marked = new BucketIndex(side, keyspace, 'marked');
  }

  /** The cursor is the next bucket. */
  async sessionsOf(
    incarnation: string,
    cursor: string,
  ): Promise<{ clientIds: string[]; cursor: string | null }> {
    const clientIds: string[] = [];
    let bucket = cursor === '' ? 0 : Number(cursor);
    while (bucket < SESSION_BUCKETS && clientIds.length < HELD_PAGE) {
      // Buckets of one write: one in a Cluster, where each has a slot of its own.
      const page = this.#side.groupOf(1) === 0 ? Math.min(32, SESSION_BUCKETS - bucket) : 1;
      const buckets = Array.from({ length: page }, (_none, index) => bucket + index);
      const counts = await this.#side.runAll(SESSION_SLOTS[bucket]!, () =>
        buckets.map((one) => encodeCommand('SCARD', this.#keyspace.held(one, incarnation))),
      );
      await Promise.all(
        buckets
          .filter((_one, index) => asNumber(counts[index]) > 0)
          .map((one) => this.#scanHeld(one, incarnation, clientIds)),
      );
      bucket += page;
    }
    return { clientIds, cursor: bucket < SESSION_BUCKETS ? String(bucket) : null };
  }

  async #scanHeld(bucket: number, incarnation: string, clientIds: string[]): Promise<void> {
    let cursor = '0';
    do {
      const command = encodeCommand('SSCAN', this.#keyspace.held(bucket, incarnation), cursor, 'COUNT', 1000);
      const [next, members] = asList(await this.#side.run(SESSION_SLOTS[bucket]!, () => command));
      await this.#keepHolders(incarnation, asList(members).map(asText), clientIds);
      cursor = asText(next);
    } while (cursor !== '0');
  }

  /** The index may still name sessions that another node has claimed since. */
  async #keepHolders(incarnation: string, found: readonly string[], clientIds: string[]): Promise<void> {
    for (const state of await this.#sessions.inspect(found)) {
      if (state.incarnation === incarnation) clientIds.push(state.clientId);
    }
  }

  async disown(clientId: string, incarnation: string, renewedAt: number): Promise<SessionEnding> {
    const reply = await this.#sessions.run(DISOWN, clientId, incarnation, { incarnation, renewedAt });
    return this.#sessions.readEnding(clientId, asList(reply));
  }

  async expire(clientId: string): Promise<SessionEnding> {
    const reply = await this.#sessions.run<never>(EXPIRE, clientId, '', {});
    return this.#sessions.readEnding(clientId, asList(reply));
  }

  async settleWill(clientId: string, id: string, isLast: boolean): Promise<WillState> {
    const args = { mid: id, isLast: isLast ? 1 : 0 };
    return WILL_STATES[asNumber(await this.#sessions.run(SETTLE_WILL, clientId, '', args))] as WillState;
  }

  async finishWill(clientId: string, id: string): Promise<void> {
    await this.#sessions.run(FINISH_WILL, clientId, '', { mid: id });
  }

  async dueSessions(limit: number): Promise<string[]> {
    if (this.#side.groupOf(1) === 0) {
      const buckets = await this.#due.occupied();
      const [first, ...rest] = buckets.map((bucket) => this.#keyspace.due(bucket));
      if (first === undefined) return [];
      const command = DUE_SESSIONS.encode({ due: first }, { limit }, [], rest);
      return asList(await this.#side.run(0, () => command)).map(asText);
    }
    const replies = await this.#due.each((due) => DUE_SESSIONS.encode({ due }, { limit }));
    return replies.flatMap(([, reply]) => asList(reply).map(asText)).slice(0, limit);
  }

  async leftWills(olderThanMs: number, limit: number): Promise<TakenWill[]> {
    const wills: TakenWill[] = [];
    for (const [bucket, count] of await this.#taken.each((takenAt) => encodeCommand('ZCARD', takenAt))) {
      if (asNumber(count) === 0 || wills.length >= limit) continue;
      const keys = { taken: this.#keyspace.taken(bucket), takenAt: this.#keyspace.takenAt(bucket) };
      const command = LEFT_WILLS.encode(keys, { olderThanMs, limit: limit - wills.length });
      const reply = asList(await this.#side.run(SESSION_SLOTS[bucket]!, () => command));
      for (let index = 0; index < reply.length; index += 2) {
        wills.push(...this.#wills.read(asText(reply[index]), reply[index + 1]));
      }
    }
    return wills;
  }

  async sweep(limit: number): Promise<{ retained: number; payloads: number; marks: number }> {
    const swept = { retained: 0, payloads: 0, marks: 0 };
    for (let shard = 0; shard < RETAINED_SHARDS && swept.retained < limit; shard++) {
      const slot = RETAINED_SLOTS[shard]!;
      const keys = this.#keyspace.retained(shard);
      const command = SWEEP_RETAINED.encode(keys, { limit: limit - swept.retained });
      swept.retained += asNumber(await this.#side.run(slot, () => command));
      // A page of the shard's marks each time: they have no index, and are few beside what they protect.
      const page = await this.#sweepMarkPage(slot, keys.marks, this.#markCursors[shard]!);
      this.#markCursors[shard] = page.cursor;
      swept.marks += page.removed;
    }
    swept.payloads = await this.#sweepPayloads(limit);
    swept.marks += await this.#sweepMarks(limit);
    return swept;
  }

  async #sweepMarkPage(slot: number, marks: string, cursor: string) {
    const command = SWEEP_MARKS.encode({ marks }, { cursor, markLifeMs: this.#limits.markLifeMs });
    const [next, removed, oldest] = asList(await this.#side.run(slot, () => command));
    return { cursor: asText(next), removed: asNumber(removed), oldest: asNumber(oldest) };
  }

  async #sweepPayloads(limit: number): Promise<number> {
    let swept = 0;
    const now = Math.floor(this.#nowMs());
    for (let bucket = 0; bucket < PAYLOAD_BUCKETS && swept < limit; bucket++) {
      const slot = PAYLOAD_SLOTS[bucket]!;
      const deadlines = this.#keyspace.payloadDeadlines(bucket);
      const range = ['ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, limit - swept] as const;
      const ids = asList(await this.#side.run(slot, () => encodeCommand(...range))).map(asText);
      if (ids.length === 0) continue;
      await this.#side.runAll(slot, () =>
        ids.flatMap((id) => [
          encodeCommand('UNLINK', this.#keyspace.payloadBody(id), this.#keyspace.payloadDone(id)),
          encodeCommand('ZREM', deadlines, id),
        ]),
      );
      swept += ids.length;
    }
    return swept;
  }

  async #sweepMarks(limit: number): Promise<number> {
    let swept = 0;
    const now = Math.floor(this.#nowMs());
    const due = await this.#marked.each((marked) =>
      encodeCommand('ZRANGEBYSCORE', marked, '-inf', now, 'LIMIT', 0, limit),
    );
    for (const [bucket, clients] of due) {
      for (const client of asList(clients)) {
        if (swept >= limit) return swept;
        swept += await this.#sweepSession(bucket, asText(client));
      }
    }
    return swept;
  }

  /** Looks through all marks of one session, and says when to look again. */
  async #sweepSession(bucket: number, clientId: string): Promise<number> {
    const slot = SESSION_SLOTS[bucket]!;
    const marked = this.#keyspace.marked(bucket);
    let swept = 0;
    let oldest = 0;
    for (const marks of [this.#keyspace.marks(clientId), this.#keyspace.groupMarks(clientId)]) {
      let cursor = '0';
      do {
        const page = await this.#sweepMarkPage(slot, marks, cursor);
        cursor = page.cursor;
        swept += page.removed;
        if (page.oldest > 0 && (oldest === 0 || page.oldest < oldest)) oldest = page.oldest;
      } while (cursor !== '0');
    }
    // A mark that came while this looked through is found when the session's next mark puts it into the index again.
    const command =
      oldest > 0
        ? encodeCommand('ZADD', marked, oldest + this.#limits.markLifeMs, clientId)
        : encodeCommand('ZREM', marked, clientId);
    await this.#side.run(slot, () => command);
    return swept;
  }
}
