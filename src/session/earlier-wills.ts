// Taken wills, published in the order of their taking: the mark of a later one would have one before it taken for a
// repetition. Those that a claim has found are published before the client that comes says anything, so that what it says
// is the last word. One that was taken from a connection of another live node is in doubt: that node may have had a
// DISCONNECT, whose release is on its way to the store, and then there is no will [MQTT-3.14.4-3]. Nobody is asked for it:
// both ways of ending tell the store, which is looked at until it knows, or until the other node has been silent for
// too long. Invariant: a will stands in the store until it is published or called off, so any node can finish it.

import type { Store, TakenWill } from '../store/store.ts';
import { type Clock, delay } from '../util/clock.ts';
import { SwarmqError } from '../util/errors.ts';

/** When a will in doubt is looked at first; each time the pause doubles. */
const FIRST_LOOK_MS = 5;
/** The node before is dead, stands still or is cut off when it has said nothing for so long. */
const SILENCE_MS = 1000;

export interface EarlierWillsOptions {
  readonly store: Pick<Store, 'finishWill' | 'settleWill'>;
  readonly clock: Clock;
  /** Publishes a taken will and resolves when it is committed everywhere. */
  publishWill(will: TakenWill): Promise<void>;
  onFault(error: unknown): void;
}

export class EarlierWills {
  readonly #options: EarlierWillsOptions;

  constructor(options: EarlierWillsOptions) {
    this.#options = options;
  }

  /**
   * All wills of one client that are not done, in their order: publishes those that are due in the end, and resolves when
   * they are committed everywhere and gone from the store. Never rejects: what fails is left there, for other nodes.
   */
  async settle(wills: readonly TakenWill[]): Promise<void> {
    const { store, clock, publishWill, onFault } = this.#options;
    const untilMs = clock.monotonicMs() + SILENCE_MS;
    try {
      for (const will of wills) {
        if (will.isInDoubt && !(await this.#isDue(will, untilMs))) continue;
        await publishWill(will);
        await store.finishWill(will.clientId, will.id);
      }
    } catch (error) {
      if (!(error instanceof SwarmqError)) onFault(error);
    }
  }

  async #isDue({ clientId, id }: TakenWill, untilMs: number): Promise<boolean> {
    const { store, clock } = this.#options;
    for (let pauseMs = FIRST_LOOK_MS; ; pauseMs *= 2) {
      await delay(clock, Math.min(pauseMs, Math.max(0, untilMs - clock.monotonicMs())));
      const state = await store.settleWill(clientId, id, clock.monotonicMs() >= untilMs);
      if (state !== 'waits') return state === 'due';
    }
  }
}
