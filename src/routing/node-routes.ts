// What each other node wants to be sent live: filter to flags, by incarnation. A node has a slot, which the trie holds
// together with the flag. It does not know which changes still count; see routes.ts.

import type { RouteChange, RouteFlags } from './log-codec.ts';
import type { TopicTrie } from './topic-trie.ts';

interface NodeEntry {
  readonly slot: number;
  readonly flags: Map<string, RouteFlags>;
}

/**
 * Begins a route that says that a client with shared subscriptions is connected; its id follows. No filter has this
 * character [MQTT-1.5.4-2].
 */
const PRESENCE = '\0';
export const presenceRoute = (clientId: string): string => PRESENCE + clientId;

/** Numbers of nodes are negative, so that sessions and nodes can stand in one trie. */
const packNode = (slot: number, flags: RouteFlags): number => ~((slot << 1) | (flags === 'a' ? 1 : 0));
export const nodeSlotOf = (packed: number): number => ~packed >> 1;
export const wantsAll = (packed: number): boolean => (~packed & 1) === 1;

export class NodeRoutes {
  readonly #trie: TopicTrie<number>;
  readonly #touch: (filter: string) => void;
  readonly #onPresence: (clientId: string, incarnation: string, isPresent: boolean) => void;
  readonly #nodes = new Map<string, NodeEntry>();
  readonly #incarnations: string[] = [];
  readonly #free: number[] = [];
  #size = 0;

  /** `touch` is told of each filter whose receivers changed, `onPresence` of members of groups that come and go. */
  constructor(
    trie: TopicTrie<number>,
    touch: (filter: string) => void,
    onPresence: (clientId: string, incarnation: string, isPresent: boolean) => void,
  ) {
    this.#trie = trie;
    this.#onPresence = onPresence;
    this.#touch = touch;
  }

  /** Filters of all nodes together. */
  get size(): number {
    return this.#size;
  }

  incarnations(): string[] {
    return [...this.#nodes.keys()];
  }

  incarnationOf(slot: number): string {
    return this.#incarnations[slot]!;
  }

  apply(incarnation: string, changes: readonly RouteChange[]): void {
    for (const { filter, flags } of changes) this.#set(incarnation, filter, flags);
  }

  /** Makes the routes of a node equal to `routes`, in place. */
  replace(incarnation: string, routes: ReadonlyMap<string, RouteFlags>): void {
    for (const filter of this.#nodes.get(incarnation)?.flags.keys() ?? []) {
      if (!routes.has(filter)) this.#set(incarnation, filter, '');
    }
    for (const [filter, flags] of routes) this.#set(incarnation, filter, flags);
  }

  remove(incarnation: string): void {
    const node = this.#nodes.get(incarnation);
    if (node === undefined) return;
    for (const filter of node.flags.keys()) this.#set(incarnation, filter, '');
    this.#nodes.delete(incarnation);
    this.#incarnations[node.slot] = '';
    this.#free.push(node.slot);
  }

  /** Nobody is connected to this node any more. */
  removePresences(incarnation: string): void {
    for (const filter of this.#nodes.get(incarnation)?.flags.keys() ?? []) {
      if (filter.startsWith(PRESENCE)) this.#set(incarnation, filter, '');
    }
  }

  flagsOf(incarnation: string, filter: string): RouteFlags {
    return this.#nodes.get(incarnation)?.flags.get(filter) ?? '';
  }

  #set(incarnation: string, filter: string, flags: RouteFlags): void {
    const node = this.#nodes.get(incarnation) ?? this.#add(incarnation);
    const before = node.flags.get(filter) ?? '';
    if (before === flags) return;
    if (filter.startsWith(PRESENCE)) {
      if (flags === '') node.flags.delete(filter);
      else node.flags.set(filter, flags);
      this.#onPresence(filter.slice(PRESENCE.length), incarnation, flags !== '');
      return;
    }
    if (before !== '') this.#trie.remove(filter, packNode(node.slot, before));
    if (flags === '') node.flags.delete(filter);
    else {
      node.flags.set(filter, flags);
      this.#trie.add(filter, packNode(node.slot, flags));
    }
    this.#size += (flags === '' ? 0 : 1) - (before === '' ? 0 : 1);
    this.#touch(filter);
  }

  #add(incarnation: string): NodeEntry {
    const slot = this.#free.pop() ?? this.#incarnations.length;
    const node = { slot, flags: new Map<string, RouteFlags>() };
    this.#incarnations[slot] = incarnation;
    this.#nodes.set(incarnation, node);
    return node;
  }
}
