// One look through the keys of a group for those that other nodes ought to hear of: keys that moved, and keys that a
// member who joined would be given elsewhere. There may be many of both, so it goes in pieces, between which keys move and
// members come and go: what a piece found is judged again when it is told, and what has come since is of the next pass.
// Invariant: a key is told as it stands at that moment, and not at all when its member has it no more.

import { firstBetter, hashOf, type KeyHolder } from './key-scores.ts';
import type { RecentMap } from './recent-map.ts';

/** Keys that a member has, for other nodes to hear. */
export interface KeyNews<M> {
  readonly member: M;
  /** How often these keys have moved, as far as is known: of two that tell of one key the higher is right. */
  readonly rank: number;
  readonly keys: string[];
}

/** Who has a key. */
export interface Held<M> {
  readonly member: M;
  /** Of the member when it got the key: where it is another one now, another node may have given the key away. */
  readonly stay: number;
  /** 0: no other node needs to hear of it, since all would choose this member. */
  rank: number;
}

/** How much of a pass is done in one go. */
export interface NewsPiece {
  /** Members compared and characters of keys hashed, beyond which no other key is begun. */
  readonly steps: number;
  /** Keys told. */
  readonly keys: number;
}

export class KeyPass<M extends KeyHolder> {
  readonly #held: RecentMap<string, Held<M>>;
  readonly #joined: readonly M[];
  /** Still to be compared. */
  readonly #keys: string[];
  /** Still to be told. */
  readonly #moved: string[];
  readonly #found = new Map<M, string[]>();

  /** Takes what is in `moved` and `joined` out of them. */
  constructor(held: RecentMap<string, Held<M>>, moved: Set<string>, joined: Set<M>) {
    this.#held = held;
    this.#moved = [...moved];
    this.#joined = [...joined];
    this.#keys = joined.size === 0 ? [] : held.keys();
    moved.clear();
    joined.clear();
  }

  get isDone(): boolean {
    return this.#moved.length + this.#keys.length + this.#found.size === 0;
  }

  /** The next piece. `movedSince`: keys for the next pass, less those that this piece tells. */
  take(piece: NewsPiece, movedSince: Set<string>): KeyNews<M>[] {
    const news = new News<M>();
    this.#compare(piece.steps);
    const moved = this.#moved.splice(-piece.keys);
    for (const key of moved) {
      const held = this.#held.peek(key);
      // A member that came or went since would be heard of as one that has had the key ever since.
      if (held === undefined || held.rank === 0 || held.stay !== held.member.stay) continue;
      news.add(key, held);
      movedSince.delete(key);
    }
    // By members, so that few of them are in one piece: each is named once in it.
    if (this.#keys.length === 0) this.#tellFound(piece.keys - moved.length, news);
    return news.list;
  }

  #compare(steps: number): void {
    let left = steps;
    while (left > 0 && this.#keys.length > 0) {
      const key = this.#keys.pop()!;
      const held = this.#held.peek(key);
      left -= key.length;
      if (held === undefined || held.rank > 0 || !isConnected(held)) continue;
      const looked = firstBetter(this.#joined, hashOf(key), held.member);
      left -= looked === 0 ? this.#joined.length : looked;
      if (looked === 0) continue;
      const found = this.#found.get(held.member);
      if (found === undefined) this.#found.set(held.member, [key]);
      else found.push(key);
    }
  }

  #tellFound(most: number, news: News<M>): void {
    let left = most;
    for (const [member, keys] of this.#found) {
      if (left <= 0) return;
      const taken = keys.splice(-left);
      left -= taken.length;
      if (keys.length === 0) this.#found.delete(member);
      for (const key of taken) {
        const held = this.#held.peek(key);
        // Who was given it since was chosen among all, those who joined included, or has been told of.
        if (held?.member !== member || held.rank > 0 || !isConnected(held)) continue;
        held.rank = 1;
        news.add(key, held);
      }
    }
  }
}

/** The member has been connected ever since it got the key. */
export function isConnected<M extends KeyHolder>({ member, stay }: Held<M>): boolean {
  return member.node !== '' && member.stay === stay;
}

/** Keys by their member and rank. */
export class News<M extends KeyHolder> {
  readonly list: KeyNews<M>[] = [];
  readonly #places = new Map<M, KeyNews<M>[]>();

  add(key: string, { member, rank }: Held<M>): void {
    let places = this.#places.get(member);
    if (places === undefined) {
      places = [];
      this.#places.set(member, places);
    }
    let place = places.find((one) => one.rank === rank);
    if (place === undefined) {
      place = { member, rank, keys: [] };
      places.push(place);
      this.list.push(place);
    }
    place.keys.push(key);
  }
}
