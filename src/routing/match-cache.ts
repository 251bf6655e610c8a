// Remembers the receivers of topics. A hit is one Map look-up and a few comparisons of numbers; nothing is allocated.
// Emptying the cache at every change of a route would leave it empty while devices come and go, so a change touches
// only topics that begin as its filter begins: counters stand for the first levels of topics (hashed, so that some
// innocent topics are looked up anew), and an entry holds while the counters of its own levels stand still.
// A topic is remembered when it comes for the second time: where every message has another topic, what is kept would never
// be used, and keeping it would cost more than finding the receivers.

import { hashOf } from './key-scores.ts';
import { RecentMap } from './recent-map.ts';
import { firstWildcard } from './topic-trie.ts';

/** First levels by which changes are told apart; fleets often begin with company, kind and device. */
const DEPTH = 4;
const CELLS = 4096;
/** Four bytes each. */
const SEEN_BITS_MAX = 20;
const SEPARATOR = 47;
const FNV_START = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

interface Entry<V> {
  readonly value: V;
  /** Cells of the first one to four levels; 0, which never changes, where the topic has fewer. */
  readonly cell1: number;
  readonly cell2: number;
  readonly cell3: number;
  readonly cell4: number;
  /** Sum of the counters when the value was found. They only rise. */
  readonly stamp: number;
  readonly weight: number;
}

export class MatchCache<V> {
  readonly #entries: RecentMap<string, Entry<V>>;
  readonly #cells = new Uint32Array(CELLS);
  readonly #scratch = [0, 0, 0, 0];
  /** Hashes of topics that came a while ago, each in the place that it gives itself. */
  readonly #seen: Int32Array;
  #coin = 1;
  #all = 0;

  /** `max` bounds the weights given to set(): entries, with their receivers counted in. */
  constructor(max: number) {
    this.#entries = new RecentMap(max, ({ weight }) => weight);
    this.#seen = new Int32Array(2 ** Math.min(SEEN_BITS_MAX, Math.ceil(Math.log2(max + 1))));
  }

  get size(): number {
    return this.#entries.size;
  }

  get(topic: string): V | undefined {
    const entry = this.#entries.get(topic);
    if (entry === undefined) return undefined;
    return entry.stamp === this.#sum(entry.cell1, entry.cell2, entry.cell3, entry.cell4)
      ? entry.value
      : undefined;
  }

  /** Remembers the value, unless the topic comes for the first time in a while, as far as is known. */
  set(topic: string, value: V, weight: number): void {
    if (this.#entries.peek(topic) === undefined && this.#isNew(topic)) return;
    const cells = this.#scratch;
    cells.fill(0);
    cellsOf(topic, topic.length, cells);
    const [cell1, cell2, cell3, cell4] = cells as [number, number, number, number];
    const stamp = this.#sum(cell1, cell2, cell3, cell4);
    this.#entries.set(topic, { value, cell1, cell2, cell3, cell4, stamp, weight });
  }

  /** The values of all topics that `filter` matches are no longer right. */
  touch(filter: string): void {
    if (this.#entries.size === 0) return;
    const wildcard = firstWildcard(filter);
    if (wildcard < 0) {
      this.#entries.delete(filter);
      return;
    }
    // The levels before the wildcard, without the separator that ends them.
    const levels = wildcard === 0 ? 0 : cellsOf(filter, wildcard - 1, this.#scratch);
    if (levels === 0) this.#all++;
    else this.#cells[this.#scratch[levels - 1]!]!++;
  }

  clear(): void {
    this.#entries.clear();
  }

  #isNew(topic: string): boolean {
    const hash = hashOf(topic);
    const place = (hash ^ (hash >>> 15)) & (this.#seen.length - 1);
    if (this.#seen[place] === hash) return false;
    // Not always: of topics in turn that share a place each would find the other one there for ever.
    this.#coin = (Math.imul(this.#coin, 1664525) + 1013904223) | 0;
    if (this.#seen[place] === 0 || this.#coin >>> 30 > 0) this.#seen[place] = hash;
    return true;
  }

  #sum(cell1: number, cell2: number, cell3: number, cell4: number): number {
    const cells = this.#cells;
    return this.#all + cells[cell1]! + cells[cell2]! + cells[cell3]! + cells[cell4]!;
  }
}

/** Puts the cell of each of the first levels of `text[0, end)` into `cells`; answers how many there are. */
function cellsOf(text: string, end: number, cells: number[]): number {
  let hash = FNV_START;
  let level = 0;
  for (let at = 0; at <= end; at++) {
    const character = at === end ? SEPARATOR : text.charCodeAt(at);
    if (character === SEPARATOR) {
      cells[level++] = 1 + (((hash ^ (hash >>> 15)) >>> 0) % (CELLS - 1));
      if (level === DEPTH) return level;
    }
    hash = Math.imul(hash ^ character, FNV_PRIME);
  }
  return level;
}
