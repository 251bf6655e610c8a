// The embedded store against the contract: once in memory with an injected clock, once in a directory in real time.

import type { Test } from 'tap';
import { LevelJournal } from '../../src/store/embedded/journal.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import type { StoreEvents } from '../../src/store/store.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { temporaryFolder } from '../helpers/owner.ts';
import { storeContract } from './store-contract.ts';
import { type ContractWorld, DEFAULT_LIMITS, type OpenWorld } from './store-world.ts';

/** Real time, which a case can set forward. */
class ForwardClock implements Clock {
  #aheadMs = 0;
  wallMs = () => systemClock.wallMs() + this.#aheadMs;
  monotonicMs = () => systemClock.monotonicMs() + this.#aheadMs;
  after = systemClock.after;
  every = systemClock.every;
  soon = systemClock.soon;
  forward(ms: number): void {
    this.#aheadMs += ms;
  }
}

const openWorld =
  (label: string, isOnDisk: boolean): OpenWorld =>
  async (t: Test, given: Partial<StoreLimits>): Promise<ContractWorld> => {
    const limits = { ...DEFAULT_LIMITS, ...given };
    const clock = new ForwardClock();
    const directory = isOnDisk ? temporaryFolder(t, label) : null;
    // In memory, a restart finds what the journal of the world before has: the level store is the same object.
    let journal = new LevelJournal(directory);
    let world = new MemoryWorld({ clock, limits, journal });
    let stores: { close(): Promise<void> }[] = [];
    const closeAll = async () => {
      for (const store of stores.splice(0)) await store.close();
    };
    t.teardown(closeAll);
    return {
      async connect(events: StoreEvents) {
        const store = world.connect();
        stores.push(store);
        await store.open(events);
        return store;
      },
      async pass(ms) {
        clock.forward(ms);
      },
      async restart() {
        await closeAll();
        stores = [];
        if (isOnDisk) journal = new LevelJournal(directory);
        world = new MemoryWorld({ clock, limits, journal });
      },
    };
  };

storeContract('embedded, in a directory', openWorld('contract', true));
