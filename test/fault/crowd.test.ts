// A crowd on a node that nothing happens to: it comes, does all it can, comes to rest, and the checker has nothing to say;
// of the same history with one thing changed it has.

import t from 'tap';
import { seededRandom } from '../../src/util/random.ts';
import { eventually } from '../helpers/eventually.ts';
import { startNode } from '../helpers/swarmq-node.ts';
import { check } from './checker.ts';
import { Crowd } from './crowd.ts';
import { type DeliverEvent, History } from './history.ts';

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
  const versions = [...history].flatMap((event) => (event.kind === 'connect' ? [event.version] : []));
  t.same([...new Set(versions)].sort(), [3, 4, 5], 'every version of MQTT is in it');

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

  // The members of the first group are there to the end, so that nothing excuses what none of them gets, or two.
  const members = ['crowd-g0', 'crowd-g3', 'crowd-g6'];
  const shared = [...history].filter(
    (event) => event.kind === 'deliver' && event.qos === 2 && members.includes(event.client),
  ) as DeliverEvent[];
  const one = shared[shared.length >> 1]!;
  const [lost, doubled] = [new History(), new History()];
  // A delivery to a connection that its client has left is another fault.
  const connections = new Map<string, number>();
  for (const event of history) {
    if (event.kind === 'connack') connections.set(event.client, event.connection);
    const isIt = event.kind === 'deliver' && event.id === one.id && members.includes(event.client);
    if (!isIt) lost.add(event);
    doubled.add(event);
    if (!isIt) continue;
    const client = members.find((member) => member !== one.client)!;
    doubled.add({ ...event, client, connection: connections.get(client)! });
  }
  t.match(check(lost), [{ rule: 'sharedDelivered' }], 'of one that no member of a group got');
  // If that client was away just then, another rule speaks as well.
  t.ok(
    check(doubled).some(({ rule }) => rule === 'sharedOnce'),
    'of one that two members got',
  );
});
