// Moves on what ended sessions leave to the other members of their shared subscriptions: each message goes to one of those
// who are members now, and is removed from what was left when that has it. At QoS 2 what the client may have seen stays
// with its session, and so ends with it [MQTT-4.8.2-5]; everything else that nobody can get any more is dropped and counted.
// A mover that dies leaves the rest to the next one: at QoS 1 a message may come twice then, at QoS 2 its mark is known.

import { BodyView } from '../mqtt/message.ts';
import { Drop, type NodeStats } from '../observability/node-stats.ts';
import { FinishPayloadOperation, type Mark } from '../store/operations.ts';
import { decodeEntry, decodeReference, type Entry } from '../store/records.ts';
import type { OrphanPage, Store } from '../store/store.ts';
import { SwarmqError } from '../util/errors.ts';
import type { GroupFanOut } from './group-fan-out.ts';
import type { GroupMessage } from './group-message.ts';

/** Clients in one pass; more wait for the next. */
const CLIENTS_MAX = 256;
/** Clients at a time, and messages of each: what is under way is bounded by their product. */
const CONCURRENCY = 8;
const PAGE = 200;

const view = new BodyView();

export interface OrphanMoverOptions {
  readonly store: Store;
  readonly incarnation: string;
  readonly groups: GroupFanOut;
  readonly stats: NodeStats;
  /** How long others leave a client to this node after each page. */
  readonly holdMs: number;
  mayWork(): boolean;
  onFault(error: unknown): void;
}

export class OrphanMover {
  readonly #options: OrphanMoverOptions;

  constructor(options: OrphanMoverOptions) {
    this.#options = options;
  }

  /** Moves on what there is now. Rejects when the store is closed. */
  async run(): Promise<void> {
    const clients = await this.#options.store.orphanedClients(CLIENTS_MAX);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < clients.length) await this.#moveClient(clients[next++] as string);
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, clients.length) }, work));
  }

  async #moveClient(clientId: string): Promise<void> {
    const { store, incarnation, holdMs, mayWork } = this.#options;
    while (mayWork()) {
      const page = await store.readOrphans(clientId, incarnation, holdMs, PAGE);
      if (page === null) return;
      await Promise.all(page.entries.map((one) => this.#move(clientId, page.life, one)));
      const seqs = page.entries.map(({ seq }) => seq);
      if (seqs.length > 0) await store.removeOrphans(clientId, page.life, seqs);
    }
  }

  /** Resolves when another member has it, or nobody can get it. */
  #move(
    clientId: string,
    life: number,
    { seq, entry: bytes, wasSent }: OrphanPage['entries'][number],
  ): Promise<void> {
    const { groups, store, stats } = this.#options;
    const entry = this.#decode(bytes);
    if (entry === null || entry.pubrel || entry.group === null || (entry.qos === 2 && wasSent)) {
      return this.#drop(entry, Drop.SESSION_ENDED);
    }
    if (entry.expiresAt !== 0 && store.nowMs() >= entry.expiresAt) return this.#drop(entry, Drop.EXPIRED);
    const mark = entry.qos === 2 ? { key: `orphan ${life} ${seq} ${clientId}`, mid: 1 } : null;
    return new Promise((resolve) => {
      const orphan = new Orphan(entry, mark, (hasMember) => {
        if (hasMember) stats.messagesMovedOn++;
        else stats.messagesDropped[Drop.SESSION_ENDED]++;
        resolve();
      });
      groups.place(orphan, entry.group as string);
    });
  }

  /** Null for one that cannot be read. */
  #decode(bytes: Buffer): Entry | null {
    try {
      return decodeEntry(bytes);
    } catch (error) {
      if (!(error instanceof SwarmqError)) throw error;
      this.#options.onFault(error);
      return null;
    }
  }

  #drop(entry: Entry | null, reason: number): Promise<void> {
    this.#options.stats.messagesDropped[reason]++;
    if (entry !== null && !entry.pubrel && entry.reference) {
      const { payloadId, index } = decodeReference(entry.body);
      this.#options.store.submit(new PayloadDone(payloadId, [index]));
    }
    return Promise.resolve();
  }
}

/** A message that an ended session has left, on its way to another member. */
class Orphan implements GroupMessage {
  /** Who published it is not kept with it. */
  readonly publisher = '';
  readonly topic: string;
  readonly body: Buffer;
  readonly qos: 0 | 1 | 2;
  readonly retain: boolean;
  readonly expiresAt: number;
  readonly ownExpiry: boolean;
  readonly mark: Mark | null;
  readonly isRepetition = false;
  readonly isCounted = true;
  readonly recordChoice = null;
  reasonCode = 0;
  readonly #settled: (hasMember: boolean) => void;

  constructor(entry: Entry, mark: Mark | null, settled: (hasMember: boolean) => void) {
    const { body, qos, writesRetained, expiresAt, ownExpiry } = entry;
    this.topic = view.read(body).topic(body);
    this.body = body;
    this.qos = qos;
    this.retain = writesRetained === true;
    this.expiresAt = expiresAt;
    this.ownExpiry = ownExpiry;
    this.mark = mark;
    this.#settled = settled;
  }

  done(): void {
    this.#settled(true);
  }

  noMember(): void {
    this.#settled(false);
  }
}

class PayloadDone extends FinishPayloadOperation {
  override complete(): void {}
}
