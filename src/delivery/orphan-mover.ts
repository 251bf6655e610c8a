// Moves on what ended sessions leave to the other members of their shared subscriptions: each message goes to one of those
// who are members now, and is removed from what was left when that has it. At QoS 2 what the client may have seen stays
// with its session, and so ends with it [MQTT-4.8.2-5]; everything else that nobody can get any more is dropped and counted.
// A mover that dies or stalls leaves the rest to the next one: at QoS 1 a message may come twice then. At QoS 2 it is
// written down beside the message who gets it, before it is given; the next mover asks the same member, who knows its mark.

import { BodyView } from '../mqtt/message.ts';
import { Drop, type NodeStats } from '../observability/node-stats.ts';
import { FinishPayloadOperation, type Mark } from '../store/operations.ts';
import { decodeEntry, decodeReference, type Entry } from '../store/records.ts';
import type { OrphanTurn, Store } from '../store/store.ts';
import { SwarmqError } from '../util/errors.ts';
import { stopPoint } from '../util/stop-point.ts';
import type { GroupFanOut } from './group-fan-out.ts';
import type { GroupChoice, GroupMessage } from './group-message.ts';

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

  /** Moves on what there is now. Rejects, behind all others, with what the store has refused; or when it is closed. */
  async run(): Promise<void> {
    const clients = await this.#options.store.orphanedClients(CLIENTS_MAX);
    const failures: unknown[] = [];
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < clients.length) {
        await this.#moveClient(clients[next++] as string).catch((error: unknown) => failures.push(error));
      }
    };
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, clients.length) }, work));
    // A broken invariant of ours does not hide behind what the store refused.
    if (failures.length > 0) throw failures.find((error) => !(error instanceof SwarmqError)) ?? failures[0];
  }

  async #moveClient(clientId: string): Promise<void> {
    const { store, incarnation, holdMs, mayWork } = this.#options;
    while (mayWork()) {
      const page = await store.readOrphans(clientId, incarnation, holdMs, PAGE);
      if (page === null) return;
      const orphans: Orphan[] = [];
      for (const { seq, entry: bytes, wasSent, member } of page.entries) {
        const entry = this.#read(bytes, wasSent);
        if (entry !== null)
          orphans.push(new Orphan(store, { clientId, life: page.life, seq }, entry, member));
      }
      await this.#assign(orphans);
      stopPoint('orphans/assigned');
      await Promise.all(orphans.map((orphan) => this.#move(orphan)));
      stopPoint('orphans/given');
      const failed = orphans.filter(({ failure }) => failure !== null);
      const kept = new Set(failed.map(({ left }) => left.seq));
      const seqs = page.entries.map(({ seq }) => seq).filter((seq) => !kept.has(seq));
      // Also beside one that failed: what has another member must not be moved once more with it.
      if (seqs.length > 0) await store.removeOrphans(clientId, page.life, seqs);
      if (failed.length > 0) throw failed[0]!.failure;
    }
  }

  /** Null for what goes to nobody else: it is dropped. */
  #read(bytes: Buffer, wasSent: boolean): Entry | null {
    const entry = this.#decode(bytes);
    if (entry === null || entry.pubrel || entry.group === null || (entry.qos === 2 && wasSent)) {
      this.#drop(entry, Drop.SESSION_ENDED);
      return null;
    }
    if (entry.expiresAt === 0 || this.#options.store.nowMs() < entry.expiresAt) return entry;
    this.#drop(entry, Drop.EXPIRED);
    return null;
  }

  /** Writes down who gets those of QoS 2; where somebody stands there already, that it is the member that it is now. */
  async #assign(orphans: readonly Orphan[]): Promise<void> {
    const { groups, store } = this.#options;
    let open = orphans.filter(({ mark }) => mark !== null);
    while (open.length > 0) {
      const turns: OrphanTurn[] = [];
      const assigned: Orphan[] = [];
      for (const orphan of open) {
        const { filter, member: instead, publisher, topic, left } = orphan;
        orphan.choice =
          instead === ''
            ? groups.candidate(filter, publisher, topic)
            : groups.choiceOfClient(filter, instead);
        if (orphan.choice === null) continue;
        turns.push({ seq: left.seq, instead, member: orphan.choice.clientId });
        assigned.push(orphan);
      }
      if (turns.length === 0) return;
      const { clientId, life } = (assigned[0] as Orphan).left;
      const members = await store.assignOrphans(clientId, life, turns);
      for (const [at, orphan] of assigned.entries()) {
        orphan.member = members[at] as string;
        orphan.isGone = orphan.member === '';
      }
      open = assigned.filter(({ member, choice }) => member !== '' && member !== choice?.clientId);
    }
  }

  /** Resolves when another member has it, or nobody can get it; or when it failed, and stays where it is. */
  #move(orphan: Orphan): Promise<void> {
    const { groups, stats } = this.#options;
    // Another node has moved it on meanwhile, and counted it.
    if (orphan.isGone) return Promise.resolve();
    return new Promise((resolve) => {
      orphan.settled = (hasMember) => {
        if (hasMember) stats.messagesMovedOn++;
        else if (!orphan.isGone) stats.messagesDropped[Drop.SESSION_ENDED]++;
        resolve();
      };
      orphan.failed = resolve;
      const { filter, choice } = orphan;
      if (choice === null) groups.replace(orphan, filter);
      else groups.placeAt(orphan, choice);
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

  #drop(entry: Entry | null, reason: number): void {
    this.#options.stats.messagesDropped[reason]++;
    if (entry !== null && !entry.pubrel && entry.reference) {
      const { payloadId, index } = decodeReference(entry.body);
      this.#options.store.submit(new PayloadDone(payloadId, [index]));
    }
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
  readonly isRecorded: boolean;
  reasonCode = 0;
  readonly filter: string;
  readonly left: { readonly clientId: string; readonly life: number; readonly seq: number };
  /** Who gets it, as it is written down; '' for nobody yet. */
  member: string;
  /** The same, as it was confirmed there; null for nobody, and at QoS 1. */
  choice: GroupChoice | null = null;
  /** It lies no more where it was left. */
  isGone = false;
  settled: (hasMember: boolean) => void = () => {};
  failed: () => void = () => {};
  failure: unknown = null;
  readonly #store: Store;

  constructor(store: Store, left: Orphan['left'], entry: Entry, member: string) {
    const { body, qos, writesRetained, expiresAt, ownExpiry } = entry;
    const { clientId, life, seq } = left;
    this.left = left;
    this.filter = entry.group as string;
    this.member = member;
    this.#store = store;
    this.mark = qos === 2 ? { key: `orphan ${life} ${seq} ${clientId}`, mid: 1 } : null;
    this.isRecorded = this.mark !== null;
    this.topic = view.read(body).topic(body);
    this.body = body;
    this.qos = qos;
    this.retain = writesRetained === true;
    this.expiresAt = expiresAt;
    this.ownExpiry = ownExpiry;
  }

  recordChoice({ clientId: member }: GroupChoice, then: (clientId: string) => void): void {
    const { clientId, life, seq } = this.left;
    const stood = (members: readonly string[]): void => {
      this.member = members[0] as string;
      this.isGone = this.member === '';
      if (this.isGone) this.settled(false);
      else then(this.member);
    };
    this.#store
      .assignOrphans(clientId, life, [{ seq, instead: this.member, member }])
      .then(stood, (error: unknown) => {
        this.failure = error;
        this.failed();
      });
  }

  done(): void {
    this.settled(true);
  }

  noMember(): void {
    this.settled(false);
  }
}

class PayloadDone extends FinishPayloadOperation {
  override complete(): void {}
}
