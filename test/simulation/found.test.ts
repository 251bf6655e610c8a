// Faults that random runs found, each as the smallest story that showed it.

import t from 'tap';
import { Cluster } from './cluster.ts';
import type { SimNode } from './sim-node.ts';
import {
  expect,
  messagesOf,
  publish,
  send,
  subscribe,
  tell,
  timesGot,
  topicsOf,
  unsubscribe,
  wish,
} from './story.ts';
import { LEASE_MS, laneOf } from './world.ts';

t.test('a subscription made again is given the retained messages again [MQTT-3.8.4-3]', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = [cluster.nodes[0]!, cluster.nodes[1]!];
  const sender = await cluster.connected('sender', first);
  const reader = await cluster.connected('reader', second);
  await publish(cluster, sender, 'r/1', 1, { retain: true });
  await subscribe(cluster, reader, ['r/#'], 1);
  await cluster.until('the retained message', () => topicsOf(cluster, reader).length === 1);
  await subscribe(cluster, reader, ['r/#'], 1);
  await cluster.until('it comes again', () => topicsOf(cluster, reader).length === 2);
  t.ok(cluster.history.deliveries.every(({ isRetained }) => isRetained));
});

t.test('what a dead incarnation has not committed does not count against the next one', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 3 }).start();
  t.teardown(() => cluster.close());
  const [node] = cluster.nodes as [SimNode];
  const sender = await cluster.connected('sender', node);
  const reader = await cluster.connected('reader', node);
  await subscribe(cluster, reader, ['a'], 1);
  cluster.cut(node);
  for (let left = 5; left > 0; left--) send(sender, 'a', 1);
  await cluster.until('they are uncommitted', () => node.stats.uncommittedMessages === 5);
  await cluster.pass(4 * LEASE_MS);
  cluster.reconnect(node);
  await cluster.until('a new incarnation', () => node.deaths === 1 && node.isServing);
  t.equal(node.stats.uncommittedMessages, 0);
  t.equal(node.stats.uncommittedBytes, 0);
});

t.test('what a client has acknowledged does not come back with a lost tail', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = cluster.nodes as [SimNode, SimNode];
  const sender = await cluster.connected('sender', first);
  const reader = await cluster.connected('reader', second);
  await subscribe(cluster, reader, ['a'], 2);
  const messages = [];
  for (let left = 3; left > 0; left--) messages.push(await publish(cluster, sender, 'a', 2));
  const { state } = cluster.store.world;
  await cluster.until('all is acknowledged', () => state.totals().queuedMessages === 0);
  cluster.loseTail(6);
  t.not(cluster.store.world.state.totals().queuedMessages, 0, 'the queue has them back');
  await cluster.until('they go again', () => cluster.store.world.state.totals().queuedMessages === 0);
  await cluster.connected('reader', first);
  await cluster.pass(1000);
  t.same(
    messagesOf(cluster, reader),
    messages.map(({ id }) => id),
    'each came once',
  );
});

t.test('what came live before a subscription does not keep its retained copy away', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = cluster.nodes as [SimNode, SimNode];
  const sender = await cluster.connected('sender', first);
  const reader = await cluster.connected('reader', second, { expirySec: 0 });
  await subscribe(cluster, reader, ['r/#'], 1);
  await cluster.pass(500);
  const message = await publish(cluster, sender, 'r/1', 1, { retain: true });
  await cluster.until('it comes live', () => timesGot(cluster, reader, message) === 1);
  await subscribe(cluster, reader, ['#'], 1);
  await cluster.until('its copy', () => timesGot(cluster, reader, message) === 2, 2000);
  t.equal(cluster.history.deliveries.at(-1)?.isRetained, true);
});

t.test('who was given up claims nothing, and what it had prepared is cleaned up after', async (t) => {
  for (const seed of [1, 2, 3, 4]) {
    const cluster = await new Cluster({ seed, nodes: 3 }).start();
    const [first, second] = cluster.nodes as [SimNode, SimNode];
    const device = cluster.device('device', { expirySec: 30 });
    // A CONNECT reaches the process while it stands still: the claim is made when it goes on.
    await cluster.pass(2 * LEASE_MS);
    await cluster.freeze(first);
    device.connect(first, { cleanStart: false, will: null, willDelaySec: 0 });
    await cluster.pass(4 * LEASE_MS);
    const { leases, sessions } = cluster.store.world.state;
    const dead = leases.list().find(({ deadAt }) => deadAt > 0)!;
    t.equal(dead.cleaned, true);
    await cluster.connected('device', second, { expirySec: 30 });
    cluster.thaw(first);
    await cluster.pass(4 * LEASE_MS);
    t.same(sessions.page(dead.incarnation, '').clientIds, [], 'it holds nothing');
    t.equal(device.isConnected, true, 'and has taken nothing from a node that lives');
    await cluster.close();
  }
});

t.test('the shared payload of a message that goes nowhere is freed', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = cluster.nodes as [SimNode, SimNode];
  const sender = await cluster.connected('sender', first);
  for (const id of ['a', 'b', 'c', 'd']) {
    await subscribe(cluster, await cluster.connected(id, second), ['x'], 1);
  }
  cluster.cut(first);
  const message = send(sender, 'x', 2);
  // Another node serves the publisher meanwhile: what the first one has in hand is refused.
  await cluster.pass(100);
  await cluster.connected('sender', second);
  await cluster.until('the answer', () => message.ackedAt > 0);
  cluster.reconnect(first);
  await cluster.pass(1000);
  t.equal(cluster.store.world.state.payloads.size, 0);
});

t.test('the shared payload of a message whose enqueues were answered to nobody is kept', async (t) => {
  const readers = ['a', 'b', 'c', 'd'];
  // Some of the answers may have come before the cut: whoever comes last finds what the others have left.
  for (const comers of [readers, readers.toReversed()]) {
    const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
    const [first, second] = cluster.nodes as [SimNode, SimNode];
    const { state } = cluster.store.world;
    const sender = await cluster.connected('sender', first);
    for (const id of readers) {
      const reader = await cluster.connected(id, second);
      await subscribe(cluster, reader, ['x'], 1);
      reader.disconnect(false);
    }
    await cluster.pass(1000);
    const message = send(sender, 'x', 2);
    while (state.totals().queuedMessages < readers.length) await cluster.pass(0.1);
    t.equal(message.ackedAt, 0, 'all is queued and not all is answered');
    cluster.cut(first);
    await cluster.pass(10);
    cluster.reconnect(first);
    await cluster.until('the answer', () => message.ackedAt > 0);
    for (const id of comers) {
      await cluster.pass(1000);
      const reader = await cluster.connected(id, second);
      await cluster.pass(1000);
      t.equal(timesGot(cluster, reader, message), 1, id);
      // What it has read is not at hand for the next one.
      await cluster.stop(second);
      await cluster.restart(second);
    }
    await cluster.close();
  }
});

t.test(
  'a message matched anew for one session is still refused by the fence of a retained reading',
  async (t) => {
    const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
    t.teardown(() => cluster.close());
    const [first, second] = cluster.nodes as [SimNode, SimNode];
    const sender = await cluster.connected('sender', first);
    const changing = await cluster.connected('changing', second);
    const late = await cluster.connected('late', second, { expirySec: 0 });
    const topic = ['r/1', 'r/2', 'r/3'].find((one) => laneOf(`r${one}`) !== laneOf('schanging'))!;
    await subscribe(cluster, changing, ['r/#'], 1);
    await publish(cluster, sender, topic, 1, { retain: true });
    // Matched before both changes of subscriptions, and on its way to the session for longer than they take.
    cluster.stand(laneOf('schanging'), 500);
    const message = send(sender, topic, 1, { retain: true });
    await cluster.pass(3);
    cluster.stand(laneOf('schanging'), 0);
    await Promise.all([subscribe(cluster, changing, ['r/#'], 2), subscribe(cluster, late, ['r/#'], 1)]);
    t.equal(message.ackedAt, 0, 'it is under way still');
    await cluster.until('it is retained', () => message.ackedAt > 0);
    await cluster.pass(1000);
    t.equal(timesGot(cluster, changing, message), 1);
    t.equal(timesGot(cluster, late, message), 1, 'who read what was retained before it is sent it');
  },
);

t.test(
  'a connection that sent nothing does not make earlier ones forgotten: DUP is set [MQTT-3.3.1-1]',
  async (t) => {
    const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
    t.teardown(() => cluster.close());
    const [first, second] = cluster.nodes as [SimNode, SimNode];
    const sender = await cluster.connected('sender', first);
    const reader = await cluster.connected('reader', first);
    await subscribe(cluster, reader, ['x'], 1);
    reader.isMuted = true;
    const message = await publish(cluster, sender, 'x', 1);
    await cluster.until('it comes', () => timesGot(cluster, reader, message) === 1);
    reader.drop();
    await cluster.pass(100);
    // It calls and hangs up before its session has been claimed.
    cluster.stand(laneOf('sreader'), 50);
    reader.connect(second, { cleanStart: false, will: null, willDelaySec: 0 });
    await cluster.pass(20);
    reader.drop();
    await cluster.pass(200);
    await cluster.connected('reader', first);
    await cluster.until('it comes again', () => timesGot(cluster, reader, message) === 2);
    t.equal(cluster.history.deliveries.at(-1)?.isDup, true);
  },
);

t.test('no older retained copy at QoS 0 follows a newer message that came by the queue', async (t) => {
  const cluster = await new Cluster({ seed: 1, nodes: 2 }).start();
  t.teardown(() => cluster.close());
  const [first, second] = cluster.nodes as [SimNode, SimNode];
  const sender = await cluster.connected('sender', first);
  const other = await cluster.connected('other', second);
  const reader = await cluster.connected('reader', first);
  const topics = ['r/1', 'r/2', 'r/3', 'r/4', 'r/5', 'r/6'];
  for (const topic of topics) await publish(cluster, sender, topic, 1, { retain: true });
  await subscribe(cluster, reader, ['r/#'], 1, { retainHandling: 2 });
  await subscribe(cluster, reader, ['#'], 0);
  await cluster.until('the first copy', () => messagesOf(cluster, reader).length > 0);
  // A page waits for the inbox; the messages that come by the queue do not.
  cluster.hold(first, 'inbox');
  send(other, 'x', 0);
  await cluster.pass(200);
  const newer = new Set<string>();
  for (const topic of topics) newer.add((await publish(cluster, sender, topic, 1, { retain: true })).id);
  await cluster.until('the newer ones', () => messagesOf(cluster, reader).some((id) => newer.has(id)));
  await cluster.pass(200);
  cluster.unhold(first, 'inbox');
  await cluster.pass(1000);
  const seen = new Set<string>();
  for (const { message } of cluster.history.deliveries) {
    t.ok(!seen.has(message.topic) || newer.has(message.id), `${message.id} behind a newer one`);
    if (newer.has(message.id)) seen.add(message.topic);
  }
  t.equal(seen.size, topics.length);
});

t.test('a node that starts publishes no will before it knows to whom', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
    cluster.kill(second);
    const witness = await cluster.connected('witness', first);
    await cluster.pass(4 * LEASE_MS);
    await subscribe(cluster, witness, ['w/+'], 2);
    witness.disconnect(false);
    const device = cluster.device('device');
    const message = { topic: 'w/device', qos: 2, retain: false, isEmpty: false, expirySec: 0, isWill: true };
    const will = device.newMessage({ ...message, qos: 2 });
    await cluster.connected('device', first, {}, { will, willDelaySec: 2 });
    device.drop();
    await cluster.pass(500);
    // Its tombstone stands when the other one starts, and nobody has cleaned up after it.
    await cluster.stop(first);
    await cluster.pass(3000);
    await cluster.restart(second);
    await cluster.until('it serves', () => second.isServing);
    await cluster.connected('witness', second);
    await cluster.until('the will', () => timesGot(cluster, witness, will) === 1);
  }),
);

t.test('a node that came back to its tombstone is cleaned up after again, however soon', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first]) => {
    await cluster.pass(3 * LEASE_MS);
    const { leases } = cluster.store.world.state;
    const { id } = first.incarnation!;
    first.freeze(false);
    const isCleaned = () => leases.list().find((lease) => lease.incarnation === id)!.cleaned;
    await cluster.until('it is cleaned up after', isCleaned);
    cluster.thaw(first);
    await cluster.until('it finds its tombstone', () => first.deaths === 1);
    await cluster.until('it is cleaned up after again', isCleaned, 3000);
  }),
);

t.test('a QoS 2 flow ends with PUBREL also when its shared payload has expired', (t) =>
  tell(t, { seeds: 3 }, async (cluster, [first, second, third]) => {
    const sender = await cluster.connected('sender', first);
    const reader = await cluster.connected('reader', second);
    for (const id of ['a', 'b', 'c']) await subscribe(cluster, await cluster.connected(id, first), ['x'], 1);
    await subscribe(cluster, reader, ['x'], 2);
    reader.isMuted = true;
    const message = await publish(cluster, sender, 'x', 2, { expirySec: 1 });
    await cluster.until('it comes', () => timesGot(cluster, reader, message) === 1);
    cluster.kill(second);
    await cluster.pass(3000);
    reader.isMuted = false;
    await cluster.connected('reader', third);
    await cluster.until('its release', () => reader.receivedCount === 0, 2000);
  }),
);

t.test('a CONNECT that its node held while it was cut off takes nothing from a later one elsewhere', (t) =>
  tell(t, { seeds: 12 }, async (cluster, [first, second, third]) => {
    const sender = await cluster.connected('sender', third);
    const reader = cluster.device('reader');
    await cluster.connected('reader', second);
    await cluster.pass(2 * LEASE_MS);
    cluster.cut(first);
    reader.connect(first, { cleanStart: true, will: null, willDelaySec: 0 }, true);
    await cluster.pass(800);
    await cluster.connected('reader', second, {}, { cleanStart: true });
    const { epoch } = cluster.store.world.state.sessions.get('reader')!;
    // Answered when the node that is cut off has been given up.
    await subscribe(cluster, reader, ['x'], 1);
    cluster.reconnect(first);
    await cluster.pass(1000);
    expect(cluster.store.world.state.sessions.get('reader')?.epoch === epoch, 'its session goes on');
    expect(reader.isConnected, 'nobody has closed its connection');
    const message = await publish(cluster, sender, 'x', 1);
    await cluster.until('it comes', () => timesGot(cluster, reader, message) === 1);
  }),
);

t.test(
  'what came live with the retain flag has come: a repetition of it at QoS 1 may come behind newer ones',
  (t) =>
    tell(t, { seeds: 12 }, async (cluster, [first, second, third]) => {
      const sender = await cluster.connected('sender', first);
      const reader = await cluster.connected('reader', second);
      await subscribe(cluster, reader, ['r/#'], 1, { retainAsPublished: true });
      await subscribe(cluster, reader, ['x'], 1);
      // What the first node matches is too old for the reader's queue from here on, and waits for the log.
      cluster.hold(first, 'log');
      await unsubscribe(cluster, reader, ['x']);
      const message = send(sender, 'r/1', 1, { retain: true });
      await cluster.pass(100);
      expect(timesGot(cluster, reader, message) === 0, 'the first node waits');
      // It is sent again on another node, which delivers it.
      await cluster.connected('sender', third);
      await cluster.until('its answer', () => message.ackedAt > 0);
      await cluster.until('it comes', () => timesGot(cluster, reader, message) === 1);
      reader.subscribe([wish('r/#', 1)]);
      await cluster.pass(100);
      const newer = await publish(cluster, sender, 'r/1', 1, { retain: true });
      await cluster.until('the newer one', () => timesGot(cluster, reader, newer) === 1);
      cluster.unhold(first, 'log');
      await cluster.until('the repetition', () => timesGot(cluster, reader, message) === 2);
      expect(cluster.history.deliveries.at(-1)?.isRetained === false, 'without the flag');
    }),
);

t.test(
  'no retained copy of an older message follows what its publisher has sent on a later connection',
  (t) => {
    const calm = laneOf('readings');
    const topic = ['r/1', 'r/2', 'r/3'].find((one) => laneOf(`r${one}`) !== calm)!;
    const [from, to] = ['a', 'b', 'c', 'd'].filter((one) => laneOf(`s${one}`) === calm) as [string, string];
    const lane = laneOf(`r${topic}`);
    const story =
      (home: 0 | 1): Parameters<typeof tell>[2] =>
      async (cluster, nodes) => {
        const sender = await cluster.connected(from, nodes[0]);
        const reader = await cluster.connected(to, nodes[2]);
        // Matched before the subscription that reads, so that its retained write will be refused.
        cluster.stand(lane, 400);
        const older = send(sender, topic, 1, { retain: true });
        await cluster.pass(50);
        await subscribe(cluster, reader, ['r/#'], 1);
        cluster.stand(lane, 5000);
        await cluster.connected(from, nodes[home]);
        const newer = send(sender, topic, 1, { retain: true });
        await cluster.until('the newer one', () => timesGot(cluster, reader, newer) === 1, 200);
        expect(timesGot(cluster, reader, older) === 1, 'the older one was sent again');
        cluster.stand(lane, 0);
        await cluster.pass(1000);
        expect(newer.ackedAt === 0, 'only the first connection has written');
        expect(timesGot(cluster, reader, older) === 1, 'no copy');
        await cluster.until('the answer', () => newer.ackedAt > 0);
      };
    return tell(t, { seeds: 6 }, story(0)).then(() => tell(t, { seeds: 6 }, story(1)));
  },
);

t.test('what no later connection sends again is copied: the session began anew', (t) => {
  const calm = laneOf('readings');
  const topic = ['r/1', 'r/2', 'r/3'].find((one) => laneOf(`r${one}`) !== calm)!;
  const [from, to] = ['a', 'b', 'c', 'd'].filter((one) => laneOf(`s${one}`) === calm) as [string, string];
  return tell(t, { seeds: 6 }, async (cluster, [first, second, third]) => {
    const sender = await cluster.connected(from, first);
    const reader = await cluster.connected(to, third);
    cluster.stand(laneOf(`r${topic}`), 400);
    const message = send(sender, topic, 1, { retain: true });
    await cluster.pass(50);
    await subscribe(cluster, reader, ['r/#'], 1);
    cluster.stand(laneOf(`r${topic}`), 0);
    await cluster.connected(from, second, {}, { cleanStart: true });
    await cluster.until('the copy', () => timesGot(cluster, reader, message) === 1);
    expect(cluster.history.deliveries.at(-1)?.isRetained === true, 'a retained one');
  });
});

t.test('what a publisher sends to the node of a live receiver does not overtake that inbox', async (t) => {
  for (const qos of [1, 2] as const) {
    await tell(t, { seeds: 3 }, async (cluster, [first, second]) => {
      const sender = await cluster.connected('sender', first);
      const live = await cluster.connected('live', second, { expirySec: 0 });
      await subscribe(cluster, live, ['x'], qos);
      cluster.hold(second, 'inbox');
      const earlier = await publish(cluster, sender, 'x', qos);
      await cluster.connected('sender', second);
      const later = send(sender, 'x', qos);
      await cluster.pass(300);
      cluster.unhold(second, 'inbox');
      await cluster.until('the answer', () => later.ackedAt > 0, 1000);
      await cluster.until('both', () => messagesOf(cluster, live).length === 2, 1000);
      expect(messagesOf(cluster, live).join() === [earlier.id, later.id].join(), 'they are in order');
    });
  }
});

t.test('who waits for an inbox that the store has lost goes on', (t) =>
  tell(t, { seeds: 6 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', first);
    const live = await cluster.connected('live', second, { expirySec: 0 });
    await subscribe(cluster, live, ['x'], 1);
    await cluster.connected('sender', second);
    cluster.hold(second, 'inbox');
    const other = await cluster.connected('other', first);
    for (let left = 5; left > 0; left--) await publish(cluster, other, 'x', 1);
    const message = send(sender, 'x', 1);
    await cluster.pass(300);
    expect(message.ackedAt === 0, 'it waits');
    cluster.loseTail(20);
    await cluster.pass(1000);
    cluster.unhold(second, 'inbox');
    await cluster.until('the answer', () => message.ackedAt > 0, 2 * LEASE_MS);
  }),
);

t.test('SUBACK waits for a node that an emptied store does not know yet', (t) =>
  tell(t, { seeds: 6 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', second);
    await publish(cluster, sender, 'x', 1);
    const device = cluster.device('device');
    cluster.slow(second, 300);
    cluster.loseTail(100_000);
    await cluster.connected('device', first);
    await subscribe(cluster, device, ['x'], 1);
    const message = send(sender, 'x', 1);
    await cluster.until('the answer', () => message.ackedAt > 0, 5 * LEASE_MS);
    await cluster.until('the message', () => timesGot(cluster, device, message) > 0, 5 * LEASE_MS);
  }),
);
