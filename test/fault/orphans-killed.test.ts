// What a session leaves to the other members of its group is moved on by a node that is killed, or freezes, in the middle
// of it, and then by another one, which finds other members connected. Nothing is lost, and at QoS 2 nothing comes to two
// members: neither to one who was away when it was moved again, nor from the first node when it goes on.

import t, { type Test } from 'tap';
import { eventually } from '../helpers/eventually.ts';
import { MqttClient, type Qos } from '../helpers/mqtt-client.ts';
import { startRedis } from '../helpers/redis-server.ts';
import { frozen, type Stop, startStoppingNode } from '../helpers/stop-at.ts';
import { startNode } from '../helpers/swarmq-node.ts';

t.setTimeout(300_000);

const CONFIG = 'cluster:\n  lease: 1500ms\n  renewEvery: 300ms\n  sweepEvery: 200ms\n';
const MESSAGES = 30;

let redis: Awaited<ReturnType<typeof startRedis>>;

t.before(async () => {
  redis = await startRedis(t, { appendonly: true });
});

// Most of it is waiting for a lease to end, and for what the first node holds.
t.jobs = 4;
for (const [point, action, qos] of [
  ['orphans/assigned', 'kill', 2],
  ['orphans/assigned', 'pause', 2],
  ['orphans/given', 'kill', 2],
  ['orphans/given', 'pause', 2],
  ['orphans/given', 'kill', 1],
] as const) {
  t.test(`${point}, ${action}, QoS ${qos}`, { buffered: true }, (t) => story(t, { point, action }, qos));
}

async function story(t: Test, stop: Required<Pick<Stop, 'point' | 'action'>>, qos: Qos): Promise<void> {
  const name = `${stop.point.replace('/', '-')}-${stop.action}-${qos}`;
  const options = { redis: redis.url, config: `redis:\n  prefix: ${name}\n${CONFIG}` };
  const other = await startNode(t, { ...options, name: 'other' });
  const victim = await startStoppingNode(t, stop, { ...options, name: 'victim' });
  const [leaver, early, late] = await Promise.all(
    ['leaver', 'early', 'late'].map(async (clientId) => {
      const member = new MqttClient(t, { clientId, version: 5, clean: false });
      await member.connect(other.port);
      await member.subscribe('$share/g/a', qos);
      await member.disconnect();
      return member;
    }),
  );
  const publisher = new MqttClient(t, { clientId: 'publisher' });
  await publisher.connect(other.port);
  const sent = Array.from({ length: MESSAGES }, (_none, seq) => `${seq}`);
  for (const text of sent) await publisher.publish('a', text, { qos });
  await early!.connect(victim.port);
  await eventually('it has its own', () => early!.received.length === MESSAGES / 3);
  publisher.cut();

  // So that the other node does not move them.
  other.sigstop();
  await leaver!.connect(victim.port, { clean: true });
  leaver!.cut();
  await (stop.action === 'kill' ? victim.ended() : frozen(victim));
  other.sigcont();
  early!.cut();
  await late!.connect(other.port, { withinMs: 15_000 });
  const moved = async () => (await other.metric('swarmq_shared_messages_moved_total')) ?? 0;
  await eventually('the rest is moved on', async () => (await moved()) > 0, 30_000);
  if (stop.action === 'pause') victim.sigcont();
  await early!.connect(other.port);
  const received = () =>
    [early!, late!].flatMap((member) =>
      member.received.filter(({ isRepeat }) => !isRepeat).map(({ payload }) => payload.toString()),
    );
  await eventually('all come to somebody', () => new Set(received()).size === MESSAGES);
  if (stop.action === 'pause') {
    const probe = new MqttClient(t, { clientId: 'probe' });
    await eventually('the thawed node serves', () => probe.connect(victim.port), 20_000);
  }
  await publisher.connect(other.port);
  await publisher.publish('a', 'end', { qos });
  await eventually('and what is sent then', () => received().includes('end'));
  if (qos === 2) t.same(received().sort(), [...sent, 'end'].sort(), 'each to one of them, once');
  else t.same([...new Set(received())].sort(), [...sent, 'end'].sort(), 'each to one of them');
}
