// Which member of a group has which key: a topic, a publisher, or for a sticky group the one key that all messages have.
// A key stays with its member while that is connected, whoever joins; otherwise it is chosen by scores that are the same
// on every node, so that nodes which know nothing of a key put it in the same place. Memory is bounded: a key that was not
// used for long is forgotten, and put where all nodes would put it when it comes again. Nodes remember each for themselves
// and tell each other of keys that the others would put elsewhere (what is told is found in pieces: key-pass.ts); that may
// be late or lost, and costs the order of such a key once then.
// Invariant: as long as a key is remembered, its messages go to its member while that stays connected, unless another node
// says that the key has moved.

import { type Held, isConnected, type KeyNews, KeyPass, News, type NewsPiece } from './key-pass.ts';
import { best, type KeyHolder } from './key-scores.ts';
import { RecentMap } from './recent-map.ts';

export interface GroupKeysOptions {
  /** At most so many keys are remembered and, of those in use, at least half as many. */
  readonly max: number;
  /** So many were forgotten because of that. */
  onForgotten(count: number): void;
  /** There is, or may be, something to be taken with `takeNews`. */
  onNews(): void;
}

export class GroupKeys<M extends KeyHolder> {
  readonly #options: GroupKeysOptions;
  readonly #held: RecentMap<string, Held<M>>;
  readonly #joined = new Set<M>();
  readonly #moved = new Set<string>();
  #pass: KeyPass<M> | null = null;

  constructor(options: GroupKeysOptions) {
    this.#options = options;
    this.#held = new RecentMap(options.max, () => 1, options.onForgotten);
  }

  /** Keys that are remembered. */
  get size(): number {
    return this.#held.size;
  }

  /** The member of a key: of `candidates`, who are all that are connected, or all of those who are away. */
  choose(key: string, candidates: readonly M[]): M {
    const held = this.#held.get(key);
    if (held !== undefined && (isConnected(held) || isWaiting(held, candidates))) return held.member;
    const member = best(candidates, key);
    const rank = held === undefined || held.rank === 0 ? 0 : held.rank + 1;
    this.#held.set(key, { member, stay: member.stay, rank });
    // Other nodes were told of the one before, and may not have seen that it was away.
    if (rank > 0 && this.#moved.size < this.#options.max) {
      this.#moved.add(key);
      this.#options.onNews();
    }
    return member;
  }

  /** A member is connected that was not: other nodes might give it keys that have a member here. */
  came(member: M): void {
    if (this.size === 0) return;
    this.#joined.add(member);
    this.#options.onNews();
  }

  /** News are being taken, and there are more of them; what has come since the first of these are others. */
  get hasMoreNews(): boolean {
    return this.#pass !== null;
  }

  /**
   * What other nodes ought to hear of: keys that they would put elsewhere, each once, and those of them that moved. One
   * piece of it, maybe without any, and the next one while there are more. Between pieces anything may change.
   */
  takeNews(piece: NewsPiece): KeyNews<M>[] {
    this.#pass ??= new KeyPass(this.#held, this.#moved, this.#joined);
    const news = this.#pass.take(piece, this.#moved);
    if (this.#pass.isDone) this.#pass = null;
    return news;
  }

  /** All keys that are remembered. */
  keys(): string[] {
    return this.#held.keys();
  }

  /** Of these keys all that was to be heard of, for a node that has heard nothing. */
  newsOf(keys: readonly string[]): KeyNews<M>[] {
    const news = new News<M>();
    for (const key of keys) {
      const held = this.#held.peek(key);
      if (held !== undefined && held.rank > 0 && isConnected(held)) news.add(key, held);
    }
    return news.list;
  }

  /** Another node has given these keys to the member. */
  hear({ member, rank, keys }: KeyNews<M>): void {
    for (const key of keys) {
      const held = this.#held.get(key);
      if (held !== undefined && isConnected(held)) {
        // Of two that say the same of different members all nodes believe the same one.
        if (rank < held.rank || (rank === held.rank && member.clientId <= held.member.clientId)) continue;
      }
      this.#held.set(key, { member, stay: member.stay, rank: Math.max(rank, held?.rank ?? 0) });
    }
  }
}

/** All are away, and the member, which may have some of the key's messages in its queue, is given more. */
function isWaiting<M extends KeyHolder>({ member }: Held<M>, candidates: readonly M[]): boolean {
  return member.node === '' && candidates.includes(member);
}
