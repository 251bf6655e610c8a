// A process for the tests of the embedded store: enqueues numbered messages as fast as they are answered and tells each
// answered number on its standard output, until it is killed.

import { LevelJournal } from '../../src/store/embedded/journal.ts';
import { MemoryWorld } from '../../src/store/embedded/memory-world.ts';
import { systemClock } from '../../src/util/clock.ts';
import { ContractNode, DEFAULT_LIMITS, Enqueue, run } from './store-world.ts';

const [directory = '', from = '0'] = process.argv.slice(2);
const journal = new LevelJournal(directory);
const world = new MemoryWorld({ clock: systemClock, limits: DEFAULT_LIMITS, journal });
const node = new ContractNode();
node.store = world.connect();
await node.store.open(node);
node.incarnation = `child-${process.pid}`;
await node.store.register(node.incarnation, 'child', 3000);
const session = await node.claim('c');
let next = Number(from);
// What keeps the process alive: the store's own timers do not.
setInterval(() => {}, 1000);
for (let lane = 0; lane < 50; lane++) void loop();

async function loop(): Promise<void> {
  for (;;) {
    const text = `m${next++}`;
    const operation = await run(node.store, new Enqueue('c', session.life, text));
    process.stdout.write(`${operation.seq} ${text}\n`);
  }
}
