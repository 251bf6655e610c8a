// A crowd on a node that nothing happens to: it comes, does all it can, comes to rest, and the checker has nothing to say;
// of the same history with one thing changed it has.

import t from 'tap';
import { seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { startNode } from '../helpers/swarmq-node.ts';
import { check } from './checker.ts';
import { Crowd } from './crowd.ts';
import { History } from './history.ts';

t.setTimeout(120_000);

const SEED = Number(process.env.SWARMQ_SEED ?? 1);
const MESSAGES = 1000;

t.test('a crowd without faults', async (t) => {
  const node = await startNode(t, { env: { SWARMQ_DATA__MEMORY: 'true' } });
  const history = new History();
  const profile = { ratePerSecond: 200, patience: 0.3 };
  const crowd = new Crowd(t, { random: seededRandom(SEED), ports: () => [node.port], history, profile });
  crowd.start();
  await crowd.gathered();
  await eventually('messages were sent', () => crowd.figures.published >= MESSAGES, 60_000);
  await crowd.finish(30_000);
  t.comment(`seed ${SEED}: ${JSON.stringify(crowd.figures)}, ${history.length} events`);
  t.same(check(history), []);

  // Two sessions have everything, so that any message but one of QoS 0 is missed where it does not come.
  const collector = 'crowd-a1';
  const got = [...history].flatMap((event) =>
    event.kind === 'deliver' && event.client === collector && event.qos > 0 ? [event.id] : [],
  );
  // Not the first ones, which may have been sent before its SUBACK.
  const id = got[got.length >> 1];
  const changed = new History();
  for (const event of history) {
    if (event.kind !== 'deliver' || event.client !== collector || event.id !== id) changed.add(event);
  }
  t.match(check(changed), [{ rule: 'delivered', client: collector }], 'of a delivery that is left out');
});
