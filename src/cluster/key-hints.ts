// What nodes tell each other of the keys of groups (a topic's or a publisher's member): those that the others, which know
// of no member, would give to another one now, because members have come since or the one before was away. So a publisher
// that goes on at another node meets the same member. A node that starts, or has lost part of its inbox, asks the others
// for all of that. These are hints: one that is late or lost costs the order of its key once, and nothing waits for them.
// Invariant: no message pays for it: what members that come cost is paid behind their coming, some times a second, and in
// pieces between which others have their turn.

import type { KeyNews, NewsPiece } from '../routing/key-pass.ts';
import type { GroupMember, SharedGroup, SharedGroups } from '../routing/shared-groups.ts';
import type { Clock, Timer } from '../util/clock.ts';
import type { Peers } from './peers.ts';

/** Each pass over the groups with news begins so long after the one before: members that come together cost one. */
const PASS_MS = 100;
/** Keys, and their characters, in one item of an inbox. */
const ITEM_KEYS = 500;
const ITEM_CHARACTERS = 32 * 1024;
/** About half a millisecond, and as much again for each other node that is told. */
const PIECE: NewsPiece = { steps: 100_000, keys: 2000 };

/** A group whose news are told. */
interface Turn {
  readonly group: SharedGroup;
  /** Nodes that want all there is, of the keys that are left of those there were. */
  readonly asking: ReadonlySet<string>;
  left: string[] | null;
}

export interface KeyHintsOptions {
  readonly peers: Pick<Peers, 'keys' | 'askKeys'>;
  readonly clock: Clock;
  /** The other nodes that live, as last heard. */
  others(): readonly string[];
  /** How much of one group's news is done in one go. */
  readonly piece?: NewsPiece;
}

export class KeyHints {
  readonly #options: KeyHintsOptions;
  /** Groups with news, and the nodes that want all of theirs. */
  #due = new Map<SharedGroup, Set<string>>();
  #pass: Turn[] = [];
  #timer: Timer | null = null;
  #passMs = Number.NEGATIVE_INFINITY;

  constructor(options: KeyHintsOptions) {
    this.#options = options;
  }

  /** Other nodes ought to hear of keys of this group. */
  note(group: SharedGroup): void {
    if (this.#due.has(group)) return;
    this.#due.set(group, new Set());
    this.#arm();
  }

  /** Asks the other nodes for all that they have told: this node has heard nothing yet, or not all. */
  ask(): void {
    for (const incarnation of this.#options.others()) this.#options.peers.askKeys(incarnation);
  }

  /** A node asks. */
  asked(from: string, groups: SharedGroups): void {
    for (const group of groups.keyed()) {
      this.note(group);
      this.#due.get(group)?.add(from);
    }
  }

  stop(): void {
    this.#timer?.cancel();
    this.#due.clear();
    this.#pass = [];
  }

  #arm(): void {
    if (this.#timer !== null) return;
    const { clock } = this.#options;
    const restMs = this.#pass.length > 0 ? 0 : this.#passMs + PASS_MS - clock.monotonicMs();
    this.#timer = clock.after(Math.max(0, restMs), () => this.#run());
  }

  /** One piece of one group's news. */
  #run(): void {
    this.#timer = null;
    if (this.#pass.length === 0) {
      this.#pass = [...this.#due].map(([group, asking]) => ({ group, asking, left: null })).reverse();
      this.#due = new Map();
      this.#passMs = this.#options.clock.monotonicMs();
    }
    const next = this.#pass.at(-1);
    if (next !== undefined && this.#tell(next)) this.#pass.pop();
    if (this.#pass.length > 0 || this.#due.size > 0) this.#arm();
  }

  /** True when all is told of what was to be told as this group's turn began. */
  #tell(turn: Turn): boolean {
    const { filter, keys } = turn.group;
    if (keys === null) return true;
    const { others, piece = PIECE } = this.#options;
    if (turn.left === null) {
      this.#sendAll(others(), filter, keys.takeNews(piece));
      if (keys.hasMoreNews) return false;
      if (turn.asking.size === 0) return true;
      turn.left = keys.keys();
      return false;
    }
    const some = turn.left.splice(-Math.ceil(piece.keys / turn.asking.size));
    // Who asks may have come a moment ago, and not be among the others yet.
    this.#sendAll(turn.asking, filter, keys.newsOf(some));
    return turn.left.length === 0;
  }

  #sendAll(to: Iterable<string>, filter: string, news: readonly KeyNews<GroupMember>[]): void {
    for (const incarnation of to) {
      for (const { member, rank, keys } of news) this.#send(incarnation, filter, member.clientId, rank, keys);
    }
  }

  #send(incarnation: string, filter: string, clientId: string, rank: number, keys: readonly string[]): void {
    const { peers } = this.#options;
    let from = 0;
    let characters = 0;
    for (let at = 0; at < keys.length; at++) {
      characters += keys[at]!.length;
      if (at + 1 < keys.length && at + 1 - from < ITEM_KEYS && characters < ITEM_CHARACTERS) continue;
      peers.keys(incarnation, filter, clientId, rank, keys.slice(from, at + 1));
      from = at + 1;
      characters = 0;
    }
  }
}
