// Order over a publisher's move to the node of its receivers. What it sent elsewhere, and was told to be committed, may
// lie unread in this node's inbox while what it sends here is delivered at once: so the first message of each line that
// live receivers here get waits until all that lay in the inbox by then has been delivered [MQTT-4.6.0-6]. A mark that
// overtook its predecessor would even keep that away for good. Lines that ask while a look is under way share the next.
// Invariant: a line is told once, unless the store is closed; what a loss of the inbox took is waited for by nobody.

import type { LocalTarget } from '../routing/local-routes.ts';
import type { Store } from '../store/store.ts';
import { SwarmqError } from '../util/errors.ts';

/** A line whose messages wait. */
export interface FenceWaiter {
  /** All that lay in the inbox when it asked has been delivered. */
  passFence(): void;
}

export class InboxFence {
  readonly #store: Pick<Store, 'inboxEnd' | 'waitInbox'>;
  readonly #onFault: (error: unknown) => void;
  #asking: FenceWaiter[] = [];
  #isLooking = false;

  /** `onFault` is told what else than a closed store kept somebody waiting. */
  constructor(store: Pick<Store, 'inboxEnd' | 'waitInbox'>, onFault: (error: unknown) => void) {
    this.#store = store;
    this.#onFault = onFault;
  }

  ask(waiter: FenceWaiter): void {
    this.#asking.push(waiter);
    if (!this.#isLooking) this.#background(this.#look());
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    try {
      while (this.#asking.length > 0) {
        const waiters = this.#asking;
        this.#asking = [];
        const end = await this.#store.inboxEnd();
        this.#background(this.#pass(end, waiters));
      }
    } finally {
      this.#isLooking = false;
    }
  }

  async #pass(end: string, waiters: readonly FenceWaiter[]): Promise<void> {
    await this.#store.waitInbox(end);
    for (const waiter of waiters) waiter.passFence();
  }

  #background(work: Promise<void>): void {
    work.catch((error: unknown) => {
      const isClosed = error instanceof SwarmqError && error.code === 'SWARMQ_ERR_STORE_CLOSED';
      if (!isClosed) this.#onFault(error);
    });
  }
}

/** Whether one of them gets messages of QoS 1 and 2 of `publisher` here and now, and not by a queue. */
export function hasLive(targets: readonly LocalTarget[], publisher: string): boolean {
  for (let index = 0; index < targets.length; index++) {
    const target = targets[index];
    const isOwn = target.receiver.clientId === publisher;
    if ((isOwn ? target.grantOthers : target.grant) === null) continue;
    if (!(isOwn ? target.queuedOthers : target.queued)) return true;
  }
  return false;
}
