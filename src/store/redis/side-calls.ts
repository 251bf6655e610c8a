// Calls that must not wait behind a batch or a WAIT: leases, readings, sweeps. They go on the connection beside the lane,
// in no order among each other, and are repeated until they are answered: each of them is harmless to repeat. Only an
// error that repeating does not cure, or the end of the store, fails them.

import type { Timer } from '../../util/clock.ts';
import { SwarmqError } from '../../util/errors.ts';
import type { RedisStoreOptions } from './options.ts';
import { classifyRefusal } from './refusal.ts';
import type { Reply } from './resp.ts';
import type { Topology } from './topology.ts';

const RETRY_FIRST_MS = 20;
const RETRY_MOST_MS = 500;

export class SideCalls {
  readonly #options: RedisStoreOptions;
  readonly #topology: Topology;
  readonly #waiting = new Set<() => void>();
  #isClosed = false;

  constructor(options: RedisStoreOptions, topology: Topology) {
    this.#options = options;
    this.#topology = topology;
  }

  /** Slots with the same answer may share a write, and a script call: all of them but in a Cluster, where each stands alone. */
  groupOf(slot: number): number {
    return this.#topology.isCluster ? slot : 0;
  }

  /** Runs one command on the master of a slot. `encode` is given the history id of the connection. */
  async run(slot: number, encode: (history: string) => Buffer): Promise<Reply> {
    const [reply] = await this.runAll(slot, (history) => [encode(history)]);
    return reply as Reply;
  }

  /** Runs several commands of one slot in one write; all again if one of them must be repeated. */
  async runAll(slot: number, encode: (history: string) => Buffer[]): Promise<Reply[]> {
    for (let attempt = 0; ; attempt++) {
      if (this.#isClosed) throw new SwarmqError('SWARMQ_ERR_STORE_CLOSED', 'no answer came before');
      const replies = await this.#attempt(slot, encode);
      const error = replies.find((reply): reply is Error => reply instanceof Error);
      if (!error) return replies;
      const refusal = classifyRefusal(error);
      if (refusal === 'broken')
        throw new SwarmqError('SWARMQ_ERR_STORE_REPLY', error.message, { cause: error });
      if (refusal === 'moved') this.#topology.refresh();
      const master = this.#topology.masterOf(slot);
      if (refusal === 'demoted') master?.side.cut(error.message);
      if (refusal === 'no-script' && master) {
        await new Promise<void>((resolve) => this.#topology.loadScripts(master, () => resolve()));
      }
      await this.#pause(Math.min(RETRY_FIRST_MS * 2 ** Math.min(attempt, 8), RETRY_MOST_MS));
    }
  }

  #attempt(slot: number, encode: (history: string) => Buffer[]): Promise<Reply[]> {
    const master = this.#topology.masterOf(slot);
    if (!master?.isFit || !master.side.isReady) return Promise.resolve([new Error('not connected')]);
    return new Promise((resolve) => {
      // The end of the store must not leave anybody waiting for a connection that is gone.
      const stop = () => resolve([new Error('closed')]);
      this.#waiting.add(stop);
      master.side.run(encode(master.side.history), (replies) => {
        this.#waiting.delete(stop);
        resolve(replies);
      });
    });
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | null = null;
      const stop = () => {
        timer?.cancel();
        this.#waiting.delete(stop);
        resolve();
      };
      this.#waiting.add(stop);
      timer = this.#options.clock.after(ms, stop);
    });
  }

  close(): void {
    this.#isClosed = true;
    for (const stop of [...this.#waiting]) stop();
  }
}
