// The embedded store against the contract: in a directory and in memory, both with a clock that is set forward.

import type { Test } from 'tap';
import { type Journal, LevelJournal } from '../../src/store/embedded/journal.ts';
import { MemoryImage } from '../../src/store/embedded/memory-image.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import type { StoreLimits } from '../../src/store/limits.ts';
import type { Store, StoreEvents } from '../../src/store/store.ts';
import { type Clock, systemClock } from '../../src/util/clock.ts';
import { temporaryFolder } from '../helpers/owner.ts';
import { storeContract } from './store-contract.ts';
import { type ContractWorld, DEFAULT_LIMITS, type OpenWorld } from './store-world.ts';

/** Real time, which a case can set forward. */
class ForwardClock implements Clock {
  #aheadMs = 0;
  wallMs = () => systemClock.wallMs() + this.#aheadMs;
  monotonicMs = () => systemClock.monotonicMs() + this.#aheadMs;
  turnMs = () => this.monotonicMs();
  after = systemClock.after;
  every = systemClock.every;
  soon = systemClock.soon;
  forward(ms: number): void {
    this.#aheadMs += ms;
  }
}

type MakeJournal = (t: Test) => () => Journal;

const openWorld =
  (makeJournal: MakeJournal): OpenWorld =>
  async (t: Test, given: Partial<StoreLimits>): Promise<ContractWorld> => {
    const limits = { ...DEFAULT_LIMITS, ...given };
    const clock = new ForwardClock();
    const journalOf = makeJournal(t);
    let world = new MemoryWorld({ clock, limits, journal: journalOf() });
    const stores: Store[] = [];
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
        world = new MemoryWorld({ clock, limits, journal: journalOf() });
      },
    };
  };

/** The next world opens the directory that the one before has closed. */
const inDirectory: MakeJournal = (t) => {
  const directory = temporaryFolder(t, 'contract');
  return () => new LevelJournal(directory);
};

/** The next world finds the image that the one before has left. */
const inMemory: MakeJournal = () => {
  const image = new MemoryImage();
  return () => image;
};

storeContract('embedded, in a directory', openWorld(inDirectory), true);
storeContract('embedded, in memory', openWorld(inMemory), true);
