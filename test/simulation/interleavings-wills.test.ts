// Wills of connections that another node takes over: the claim may reach the store before the release of a connection
// that had ended with DISCONNECT [MQTT-3.14.4-3], or meet one that is there still. Each way the will is published as
// often as its connection deserves, and before what its client says next.

import t from 'tap';
import type { Cluster } from './cluster.ts';
import type { Device } from './device.ts';
import type { Message } from './history.ts';
import type { SimNode } from './sim-node.ts';
import { expect, messagesOf, publish, subscribe, tell, timesGot, wish } from './story.ts';
import { LEASE_MS } from './world.ts';

/** How long a node's line to the store is, where it is long. */
const LINE_MS = 150;
const plan = { cleanStart: false, will: null, willDelaySec: 0 };

type Nodes = readonly [SimNode, SimNode, SimNode];

interface Scene {
  readonly cluster: Cluster;
  readonly nodes: Nodes;
  readonly seed: number;
  readonly device: Device;
  readonly will: Message;
  /** How often the witness, connected to the third node, got the will. */
  times(): number;
}

/** A device on the first node whose session ends with its connection, and who sees its will. */
async function scene(cluster: Cluster, nodes: Nodes, seed: number): Promise<Scene> {
  const witness = await cluster.connected('witness', nodes[2]);
  await subscribe(cluster, witness, ['w/+'], 2);
  const device = cluster.device('device', { expirySec: 0 });
  const content = { topic: 'w/device', qos: 2, retain: true, isEmpty: false, expirySec: 0 } as const;
  const will = device.newMessage({ ...content, isWill: true });
  // A delay of the will ends with its session.
  const willDelaySec = seed % 2 === 0 ? 30 : 0;
  await cluster.connected('device', nodes[0], {}, { will, willDelaySec });
  return { cluster, nodes, seed, device, will, times: () => timesGot(cluster, witness, will) };
}

const story = (run: (scene: Scene) => Promise<void>) => (cluster: Cluster, nodes: Nodes, seed: number) =>
  scene(cluster, nodes, seed).then(run);

/** Says something on the topic of the will: it comes behind that. */
async function speaks({ cluster, device, will, times }: Scene, wills: number): Promise<void> {
  const next = await publish(cluster, device, 'w/device', 2, { retain: true });
  await cluster.pass(5 * LEASE_MS);
  expect(times() === wills, `the will came ${times()} times`);
  const heard = messagesOf(cluster, cluster.device('witness'));
  expect(
    heard.at(-1) === next.id,
    `${heard.join(' ')}: what the client says now is the last word on ${will.topic}`,
  );
}

t.test('the CONNECT elsewhere overtakes DISCONNECT on the way to the store', (t) =>
  tell(
    t,
    { seeds: 6 },
    story(async (scene) => {
      const { cluster, nodes, device, times } = scene;
      const [first, second] = nodes;
      cluster.slow(first, LINE_MS);
      device.disconnect(false);
      await cluster.until('the first node has heard it', () => device.attempt?.isGoodbyeHeard === true);
      await cluster.connected('device', second);
      expect(
        cluster.time.nowMs - device.attempt!.sentMs < LINE_MS,
        'CONNACK does not wait for the first node',
      );
      expect(times() === 0, 'nor is the will published before it');
      await speaks(scene, 0);
    }),
  ),
);

t.test('a lost connection that is told of as late leaves its will', (t) =>
  tell(
    t,
    { seeds: 6 },
    story(async (scene) => {
      const { cluster, nodes, device } = scene;
      cluster.slow(nodes[0], LINE_MS);
      device.drop();
      await cluster.pass(LINE_MS / 2);
      await cluster.connected('device', nodes[1]);
      await speaks(scene, 1);
    }),
  ),
);

t.test('a connection that is there is taken over, and its will is published at once', (t) =>
  tell(
    t,
    { seeds: 6 },
    story(async (scene) => {
      const { cluster, nodes, device, times } = scene;
      device.connect(nodes[1], plan, true);
      await cluster.until('the will', () => times() === 1, 700);
      await cluster.until('CONNACK', () => device.isConnected);
      await speaks(scene, 1);
    }),
  ),
);

t.test('the node before is killed, or stands still: its will waits a second and no longer', async (t) => {
  for (const end of ['kill', 'freeze'] as const) {
    await tell(
      t,
      { seeds: 4 },
      story(async (scene) => {
        const { cluster, nodes, times } = scene;
        if (end === 'kill') cluster.kill(nodes[0]);
        else await cluster.freeze(nodes[0]);
        await cluster.connected('device', nodes[1]);
        await cluster.until('the will', () => times() === 1, 1500);
        if (end === 'freeze') cluster.thaw(nodes[0]);
        await speaks(scene, 1);
      }),
    );
  }
});

t.test(
  'while a will is in doubt its client connects again and is lost: both wills come, in their order',
  (t) =>
    tell(
      t,
      { seeds: 6 },
      story(async (scene) => {
        const { cluster, nodes, seed, device, will, times } = scene;
        cluster.kill(nodes[0]);
        const content = { topic: 'w/device', qos: 2, retain: true, isEmpty: false, expirySec: 0 } as const;
        const second = device.newMessage({ ...content, isWill: true });
        await cluster.connected('device', nodes[1], {}, { will: second, willDelaySec: 0 });
        expect(times() === 0, 'the first one is in doubt');
        device.drop();
        // Its release, or the claim of a third connection, takes the second will behind the first.
        if (seed % 3 > 0) await cluster.connected('device', nodes[seed % 3]!);
        await cluster.pass(5 * LEASE_MS);
        const heard = messagesOf(cluster, cluster.device('witness'));
        expect(heard.join() === [will.id, second.id].join(), `${heard.join(' ')}: the wills in their order`);
      }),
    ),
);

t.test(
  'the node that took over dies before it knows, and others finish the will, or let it be',
  async (t) => {
    for (const goodbye of [true, false]) {
      await tell(
        t,
        { seeds: 6 },
        story(async (scene) => {
          const { cluster, nodes, device, times, seed } = scene;
          const [first, second, third] = nodes;
          cluster.slow(first, LINE_MS);
          if (goodbye) device.disconnect(false);
          else device.drop();
          await cluster.pass(LINE_MS / 2);
          const { wills } = cluster.store.world.state;
          device.connect(second, plan);
          await cluster.until('the will is taken', () => wills.size === 1);
          cluster.kill(second);
          // The next one finds it as the second one left it.
          if (seed % 2 === 0) {
            await cluster.connected('device', third);
            await speaks(scene, goodbye ? 0 : 1);
          }
          await cluster.pass(5 * LEASE_MS);
          expect(times() === (goodbye ? 0 : 1), `it came ${times()} times`);
        }),
      );
    }
  },
);

t.test('DISCONNECT lies at the node behind a SUBSCRIBE that is not answered yet', async (t) => {
  for (const elsewhere of [true, false]) {
    await tell(
      t,
      { seeds: 4 },
      story(async (scene) => {
        const { cluster, nodes, device } = scene;
        const [first, second, third] = nodes;
        cluster.hold(third, 'log');
        device.subscribe([wish('x', 1)]);
        device.disconnect(false);
        await cluster.pass(200);
        expect(device.attempt?.isGoodbyeHeard === false, 'it waits');
        await cluster.connected('device', elsewhere ? second : first);
        cluster.unhold(third, 'log');
        await speaks(scene, 0);
      }),
    );
  }
});

t.test('a session that goes on has its will called off, however late the release', (t) =>
  tell(t, { seeds: 4 }, async (cluster, [first, second, third], seed) => {
    const witness = await cluster.connected('witness', third);
    await subscribe(cluster, witness, ['w/+'], 2);
    const device = cluster.device('device');
    const content = { topic: 'w/device', qos: 1, retain: false, isEmpty: false, expirySec: 0 } as const;
    const will = device.newMessage({ ...content, isWill: true });
    await cluster.connected('device', first, {}, { will, willDelaySec: 5 });
    cluster.slow(first, LINE_MS);
    if (seed % 2 === 0) device.disconnect(false);
    else device.drop();
    await cluster.pass(LINE_MS / 2);
    await cluster.connected('device', second);
    expect(device.attempt?.isPresent === true, 'it goes on');
    await cluster.pass(5 * LEASE_MS);
    expect(timesGot(cluster, witness, will) === 0, 'no will of a connection before');
  }),
);
