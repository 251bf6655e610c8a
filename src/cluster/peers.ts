// What this node tells the others. For each of them there is one entry being filled; the store takes it when the one
// before is written, so that a busy node's items share few entries and a quiet one's leave at once. What waits for one
// node is bounded: beyond it QoS 0 messages are dropped and counted, pushes are left out (the session's node reads its
// queue), and only messages that an ack waits for go on being taken, which their publishers' own limits bound.
// Invariant: the part of a commit is done when the entry with its message is in the inbox, or that inbox is gone.

import { Drop, type NodeStats } from '../observability/node-stats.ts';
import { InboxOperation } from '../store/operations.ts';
import type { Store } from '../store/store.ts';
import { InboxWriter, type LiveMessage } from './inbox-codec.ts';

/** A commit that waits for its message to lie in another node's inbox. */
export interface CommitPart {
  done(): void;
}

export interface PeersLimits {
  /** Bytes from which an entry is full and a new one is begun. */
  readonly entryBytesMax: number;
  /** limits.maxPeerBytes, and items: what may wait for one node before QoS 0 is dropped and pushes are left out. */
  readonly waitingBytesMax: number;
  readonly waitingItemsMax: number;
}

const ENTRY_BYTES_MAX = 256 * 1024;
/** What a small item costs beside its bytes: so many of them are let wait as if each had this size. */
const ITEM_BYTES_LEAST = 160;

/** The limits of a node that lets so many bytes wait for another one. */
export function peersLimits(waitingBytesMax: number): PeersLimits {
  const waitingItemsMax = Math.ceil(waitingBytesMax / ITEM_BYTES_LEAST);
  return { entryBytesMax: ENTRY_BYTES_MAX, waitingBytesMax, waitingItemsMax };
}

export interface PeersOptions {
  readonly selfIncarnation: string;
  readonly store: Pick<Store, 'submit'>;
  readonly stats: NodeStats;
  readonly limits: PeersLimits;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #limits: PeersLimits;
  readonly #peers = new Map<string, Peer>();
  /** Pushes that were left out because too much waited. */
  pushesLeftOut = 0;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#limits = options.limits;
  }

  /** Bytes that wait for a node, or are on their way to it. */
  waitingBytes(incarnation: string): number {
    return this.#peers.get(incarnation)?.bytes ?? 0;
  }

  /** Nodes that something was sent to. */
  get size(): number {
    return this.#peers.size;
  }

  /**
   * A message for the node's live receivers. `part` is told when it lies in the node's inbox, when the node is gone,
   * and at once for a QoS 0 message that is dropped.
   */
  live(incarnation: string, message: LiveMessage, part: CommitPart | null): void {
    const entry = this.#takeLive(incarnation, message.qos === 0, part);
    entry?.writer.live(message);
  }

  /** The same for one client alone, as the member of the group of `filter`; delivered at QoS 0. */
  member(
    incarnation: string,
    clientId: string,
    filter: string,
    message: LiveMessage,
    part: CommitPart | null,
  ): void {
    const entry = this.#takeLive(incarnation, true, part);
    entry?.writer.member(clientId, filter, message);
  }

  /** The entry that a live message goes into, null where it is dropped. */
  #takeLive(incarnation: string, isQos0: boolean, part: CommitPart | null): PeerEntry | null {
    const peer = this.#peerOf(incarnation);
    if (isQos0 && this.#isFull(peer)) {
      // Who would have got it only the other node knows: it counts as one receiver, matched and dropped.
      this.#options.stats.messagesMatched++;
      this.#options.stats.messagesDropped[Drop.INBOX_FULL]! += 1;
      part?.done();
      return null;
    }
    const entry = this.#entryOf(peer);
    if (part !== null) entry.parts.push(part);
    return entry;
  }

  /** A message that lies in the queue of a session of that node: a hint, which may be lost. */
  push(incarnation: string, clientId: string, life: number, seq: number, header: Buffer, body: Buffer): void {
    const peer = this.#peerOf(incarnation);
    if (this.#isFull(peer)) this.pushesLeftOut++;
    else this.#entryOf(peer).writer.push(clientId, life, seq, header, body);
  }

  /** This node has claimed a session that the other one held with a lower epoch. */
  takeover(incarnation: string, clientId: string, epoch: number): void {
    const { selfIncarnation, stats } = this.#options;
    stats.controlMessagesSent++;
    this.#entryOf(this.#peerOf(incarnation)).writer.takeover(clientId, epoch, selfIncarnation);
  }

  /** This node has applied the route log to `version`. Told once an entry, the highest. */
  applied(incarnation: string, version: number): void {
    const entry = this.#entryOf(this.#peerOf(incarnation));
    if (version <= entry.applied) return;
    if (entry.applied === 0) this.#options.stats.controlMessagesSent++;
    entry.applied = version;
  }

  /** Asks the other node to tell when it has applied `version`. Asked once an entry, for the highest. */
  ask(incarnation: string, version: number): void {
    const entry = this.#entryOf(this.#peerOf(incarnation));
    if (version <= entry.asked) return;
    if (entry.asked === 0) this.#options.stats.controlMessagesSent++;
    entry.asked = version;
  }

  /** Keys of a group that a member has here, at most 65,535: a hint, which is left out where too much waits. */
  keys(incarnation: string, filter: string, clientId: string, rank: number, keys: readonly string[]): void {
    const peer = this.#peerOf(incarnation);
    if (this.#isFull(peer)) return;
    this.#options.stats.controlMessagesSent++;
    this.#entryOf(peer).writer.keys(filter, clientId, rank, keys);
  }

  /** This node has heard of no keys yet. */
  askKeys(incarnation: string): void {
    this.#options.stats.controlMessagesSent++;
    this.#entryOf(this.#peerOf(incarnation)).writer.askKeys(this.#options.selfIncarnation);
  }

  /** A node is dead: nothing more is sent to it. What is under way ends with the store's answer. */
  forget(incarnation: string): void {
    this.#peers.delete(incarnation);
  }

  #peerOf(incarnation: string): Peer {
    let peer = this.#peers.get(incarnation);
    if (peer === undefined) {
      peer = new Peer(incarnation);
      this.#peers.set(incarnation, peer);
    }
    return peer;
  }

  #isFull(peer: Peer): boolean {
    return peer.bytes >= this.#limits.waitingBytesMax || peer.items >= this.#limits.waitingItemsMax;
  }

  /** The entry to write into; a new one is handed to the store as soon as it is begun. */
  #entryOf(peer: Peer): PeerEntry {
    const filling = peer.filling;
    if (filling !== null) {
      if (filling.writer.byteLength < this.#limits.entryBytesMax) return filling;
      filling.close();
    }
    const { store, stats, selfIncarnation } = this.#options;
    const entry = new PeerEntry(peer, selfIncarnation, stats);
    peer.filling = entry;
    store.submit(entry);
    return entry;
  }
}

class Peer {
  readonly incarnation: string;
  filling: PeerEntry | null = null;
  /** Of entries that are filled and not written yet. */
  filledBytes = 0;
  filledItems = 0;
  /** How large the last entry was: room for the next one. */
  entryBytes = 0;

  constructor(incarnation: string) {
    this.incarnation = incarnation;
  }

  get bytes(): number {
    return this.filledBytes + (this.filling === null ? 0 : this.filling.writer.byteLength);
  }

  get items(): number {
    return this.filledItems + (this.filling === null ? 0 : this.filling.writer.items);
  }
}

class PeerEntry extends InboxOperation {
  readonly writer: InboxWriter;
  readonly parts: CommitPart[] = [];
  applied = 0;
  asked = 0;
  readonly #peer: Peer;
  readonly #from: string;
  readonly #stats: NodeStats;
  #payload: Buffer | null = null;

  constructor(peer: Peer, from: string, stats: NodeStats) {
    super(peer.incarnation);
    this.writer = new InboxWriter(peer.entryBytes);
    this.#peer = peer;
    this.#from = from;
    this.#stats = stats;
  }

  /** No more items come into this entry. */
  close(): void {
    const peer = this.#peer;
    if (peer.filling !== this) return;
    peer.filling = null;
    if (this.applied > 0) this.writer.applied(this.#from, this.applied);
    if (this.asked > 0) this.writer.ask(this.#from, this.asked);
    peer.entryBytes = this.writer.byteLength;
    peer.filledBytes += this.writer.byteLength;
    peer.filledItems += this.writer.items;
  }

  override seal(): void {
    this.close();
  }

  override payload(): Buffer {
    this.#payload ??= this.writer.finish();
    return this.#payload;
  }

  override complete(): void {
    // The store was closed before it took the entry, if nobody has closed it yet.
    this.close();
    this.#peer.filledBytes -= this.writer.byteLength;
    this.#peer.filledItems -= this.writer.items;
    if (this.failed) return;
    this.#stats.inboxEntriesSent++;
    for (const part of this.parts) part.done();
  }
}
