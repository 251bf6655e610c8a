// What ended sessions leave to the other members of their shared subscriptions: which clients there are, reading a page of
// one, who gets which message, removing what was moved on. Any node does these; a page is lent to one node at a time, and every step is harmless
// to repeat.

import type { StoreLimits } from '../limits.ts';
import type { OrphanPage, OrphanTurn } from '../store.ts';
import { BucketIndex } from './bucket-index.ts';
import { type Keyspace, SESSION_KEYS } from './keyspace.ts';
import { asList, asNumber, asText, encodeCommand } from './resp.ts';
import { defineScript } from './script.ts';
import type { Sessions } from './sessions.ts';
import type { SideCalls } from './side-calls.ts';

const COMMON = ['history', 'token', 'clientId'] as const;
const READ = defineScript('read-orphans', SESSION_KEYS, [...COMMON, 'by', 'holdMs', 'limit']);
const ASSIGN = defineScript('assign-orphans', SESSION_KEYS, [...COMMON, 'life']);
const REMOVE = defineScript('remove-orphans', SESSION_KEYS, [...COMMON, 'life']);

export class Orphans {
  readonly #sessions: Sessions;
  readonly #orphaned: BucketIndex;
  readonly #limits: StoreLimits;
  readonly #nowMs: () => number;

  constructor(
    sessions: Sessions,
    side: SideCalls,
    keyspace: Keyspace,
    limits: StoreLimits,
    nowMs: () => number,
  ) {
    this.#sessions = sessions;
    this.#orphaned = new BucketIndex(side, keyspace, 'orphaned');
    this.#limits = limits;
    this.#nowMs = nowMs;
  }

  /** Those whose time of being lent is over, by the index of each bucket. */
  async clients(limit: number): Promise<string[]> {
    const now = Math.floor(this.#nowMs());
    const replies = await this.#orphaned.each((orphaned) =>
      encodeCommand('ZRANGEBYSCORE', orphaned, '-inf', now, 'LIMIT', 0, limit),
    );
    return replies.flatMap(([, reply]) => asList(reply).map(asText)).slice(0, limit);
  }

  async read(clientId: string, by: string, holdMs: number, limit: number): Promise<OrphanPage | null> {
    const reply = asList(await this.#sessions.run(READ, clientId, '', { by, holdMs, limit }));
    if (reply[0] === 1) return null;
    const [, life, head, sent] = reply.map((one) => (typeof one === 'number' ? one : 0)) as number[];
    // Without a clean release the whole window may have been sent.
    const lastSent = sent! >= 0 ? sent! : head! + this.#limits.windowMax - 1;
    const entries: OrphanPage['entries'][number][] = [];
    for (let index = 4; index < reply.length; index += 3) {
      const seq = asNumber(reply[index]);
      const entry = reply[index + 1] as Buffer;
      entries.push({ seq, entry, wasSent: seq <= lastSent, member: asText(reply[index + 2]) });
    }
    return { life: life!, entries };
  }

  async assign(clientId: string, life: number, turns: readonly OrphanTurn[]): Promise<string[]> {
    const more = turns.flatMap(({ seq, instead, member }) => [seq, instead, member]);
    return asList(await this.#sessions.run(ASSIGN, clientId, '', { life }, more)).map(asText);
  }

  async remove(clientId: string, life: number, seqs: readonly number[]): Promise<void> {
    await this.#sessions.run(REMOVE, clientId, '', { life }, seqs);
  }
}
