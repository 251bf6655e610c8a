// Interleavings that break the obvious way, by the numbers they have in the design: the way of messages at QoS 1 and 2,
// shared payloads, retained values and clocks. What every story ends with, that QoS 2 comes once, in order, and nothing
// that was acknowledged is missing, is the model's to say.

import t from 'tap';
import type { Cluster } from './cluster.ts';
import type { Device } from './device.ts';
import { expect, messagesOf, publish, send, subscribe, tell, timesGot } from './story.ts';
import { LEASE_MS, laneOf } from './world.ts';

const plan = { cleanStart: false, will: null, willDelaySec: 0 };

/** Calls again until it is let in, as devices do. */
async function comeBack(
  cluster: Cluster,
  device: Device,
  node: (typeof cluster.nodes)[number],
): Promise<void> {
  await cluster.connected(device.id, node);
  await cluster.until(`${device.id} has its answers`, () => device.outgoing.size === 0);
}

t.test('interleaving 3: a message that nobody tells the owner of is found all the same', async (t) => {
  await t.test("the publisher's node dies between commit and inbox entry", (t) =>
    tell(t, { seeds: 6 }, async (cluster, [first, second]) => {
      const sender = await cluster.connected('sender', first);
      const reader = await cluster.connected('reader', second);
      await subscribe(cluster, reader, ['x'], 1);
      await cluster.pass(2 * LEASE_MS);
      const message = send(sender, 'x', 1);
      const { sessions } = cluster.store.world.state;
      await cluster.until('it is queued', () => sessions.get('reader')!.queue !== null);
      first.kill(() => false);
      await cluster.until('it arrives', () => timesGot(cluster, reader, message) > 0, LEASE_MS + 2000);
    }),
  );

  await t.test('pushes overtake answers to pulls and meet full windows', (t) =>
    tell(t, { seeds: 6 }, async (cluster, [first, second]) => {
      const sender = await cluster.connected('sender', first);
      const reader = await cluster.connected('reader', second, { receiveMaximum: 2 });
      await subscribe(cluster, reader, ['x'], 2);
      for (let round = 0; round < 4; round++) {
        for (let left = 10; left > 0; left--) send(sender, 'x', 1);
        await cluster.pass(5);
        if (round === 2) await cluster.connected('reader', first);
        await cluster.until('the answers', () => sender.outgoing.size === 0);
      }
      await cluster.until('all have come', () => new Set(messagesOf(cluster, reader)).size === 40);
    }),
  );

  await t.test('the inbox is trimmed unread', (t) =>
    tell(t, { seeds: 3, limits: { maxInboxBytes: 500 } }, async (cluster, [first, second]) => {
      const sender = await cluster.connected('sender', first);
      const reader = await cluster.connected('reader', second);
      const live = await cluster.connected('live', second, { expirySec: 0 });
      await subscribe(cluster, reader, ['x'], 1);
      await subscribe(cluster, live, ['x'], 1);
      cluster.hold(second, 'inbox');
      for (let round = 0; round < 15; round++) await publish(cluster, sender, 'x', 1, { bytes: 100 });
      cluster.unhold(second, 'inbox');
      await cluster.until('the queue is read', () => messagesOf(cluster, reader).length === 15, 1000);
      await cluster.until('who has no queue is told to go', () => !live.isConnected, 1000);
    }),
  );
});

t.test("interleaving 7: the publisher's node dies anywhere in a QoS 2 exchange", async (t) => {
  // Large before small: the large one is stored once and needs a step more.
  for (const sizes of [[10], [400, 10]]) {
    await tell(t, { seeds: 14 }, async (cluster, [first, second, third], seed) => {
      const sender = await cluster.connected('sender', first);
      const readers: Device[] = [];
      for (const [index, qos] of ([2, 2, 1] as const).entries()) {
        const reader = await cluster.connected(`r${index}`, index === 0 ? second : third);
        await subscribe(cluster, reader, ['x'], qos);
        readers.push(reader);
      }
      const messages = sizes.map((bytes) => send(sender, 'x', 2, { bytes }));
      await cluster.pass(seed * 0.9);
      cluster.kill(first);
      await comeBack(cluster, sender, second);
      // The packet identifiers are used again.
      for (let left = 50; left > 0; left--) messages.push(await publish(cluster, sender, 'x', 2));
      await cluster.until('all have come', () =>
        readers.every((reader) => messages.every((message) => timesGot(cluster, reader, message) > 0)),
      );
    });
  }
});

t.test("interleaving 14: the subscriber's node dies anywhere in a QoS 2 exchange", async (t) => {
  await tell(t, { seeds: 16 }, async (cluster, [first, second, third], seed) => {
    const sender = await cluster.connected('sender', first);
    const reader = await cluster.connected('reader', second);
    await subscribe(cluster, reader, ['x'], 2);
    const messages = [send(sender, 'x', 2), send(sender, 'x', 2), send(sender, 'x', 2)];
    await cluster.until('the first one', () => messagesOf(cluster, reader).length > 0);
    await cluster.pass(seed * 0.8);
    cluster.kill(second);
    await cluster.pass(seed % 3 === 0 ? 2 * LEASE_MS : 1);
    await cluster.connected('reader', third);
    await cluster.until(
      'all are released',
      () => reader.receivedCount === 0 && messagesOf(cluster, reader).length >= 3,
    );
    await cluster.until('the answers', () => sender.outgoing.size === 0);
    expect(
      messages.every((message) => timesGot(cluster, reader, message) === 1),
      'each came once',
    );
  });

  await t.test('a full queue drops its oldest, but nothing of a flow that has begun', (t) =>
    tell(
      t,
      { seeds: 4, limits: { maxQueuedMessages: 12 }, isHalfDone: true },
      async (cluster, [first, second, third]) => {
        const sender = await cluster.connected('sender', first);
        const reader = await cluster.connected('reader', second, { receiveMaximum: 3 });
        await subscribe(cluster, reader, ['x'], 2);
        reader.isMuted = true;
        const begun = [await publish(cluster, sender, 'x', 2), await publish(cluster, sender, 'x', 2)];
        await cluster.until('they have come', () => messagesOf(cluster, reader).length === 2);
        for (let left = 40; left > 0; left--) await publish(cluster, sender, 'x', 2);
        cluster.kill(second);
        reader.isMuted = false;
        await cluster.connected('reader', third);
        await cluster.until(
          'the flow ends',
          () => reader.receivedCount === 0 && messagesOf(cluster, reader).length >= 12,
        );
        expect(
          begun.every((message) => timesGot(cluster, reader, message) === 1),
          'what had begun came once',
        );
        // The model would miss those that the limit dropped.
        reader.era!.subscriptions[0]!.endSentAt = 0;
      },
    ),
  );
});

t.test('interleaving 15: a retained counter while many subscribe, a lane being slow', async (t) => {
  await tell(t, { seeds: 10 }, async (cluster, nodes, seed) => {
    const sender = await cluster.connected('sender', nodes[0]);
    const readers: Device[] = [];
    for (let index = 0; index < 8; index++) {
      const node = nodes[index % nodes.length]!;
      readers.push(await cluster.connected(`r${index}`, node, { expirySec: index % 2 === 0 ? 0 : 1000 }));
    }
    const counts = [];
    for (const [index, reader] of readers.entries()) {
      if (index % 3 === 1) cluster.stand(1 + (seed % 2), 30);
      await cluster.until('there is room', () => sender.outgoing.size < 16);
      for (let left = 3; left > 0; left--) counts.push(send(sender, 'r/1', 1, { retain: true }));
      const filter = ['r/1', 'r/#', '+/1'][index % 3]!;
      reader.subscribe([{ filter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }]);
      await cluster.pass(seed * 2);
    }
    await cluster.until('the answers', () => sender.outgoing.size === 0);
    await cluster.pass(2000);
    const last = counts.at(-1)!;
    expect(
      readers.every((reader) => messagesOf(cluster, reader).at(-1) === last.id),
      'all end on the last value',
    );
  });
});

t.test('interleaving 16: shared payloads dangle nowhere', async (t) => {
  await t.test('acks are repeated', (t) =>
    tell(t, { seeds: 6 }, async (cluster, [first, second, third]) => {
      const sender = await cluster.connected('sender', first);
      const readers: Device[] = [];
      for (let index = 0; index < 5; index++) {
        const reader = await cluster.connected(`r${index}`, index < 3 ? second : third);
        await subscribe(cluster, reader, ['x'], index % 2 === 0 ? 2 : 1);
        readers.push(reader);
      }
      for (let left = 6; left > 0; left--) send(sender, 'x', 1, { bytes: 400 });
      for (let round = 0; round < 5; round++) {
        await cluster.pass(3);
        cluster.cut(second);
        await cluster.pass(3);
        cluster.reconnect(second);
      }
      const { state } = cluster.store.world;
      await cluster.until(
        'all is done',
        () => sender.outgoing.size === 0 && state.totals().queuedMessages === 0,
      );
      await cluster.until('no payload is left', () => state.payloads.size === 0, 1000);
    }),
  );

  await t.test('a session stays away for longer than a message may wait', (t) =>
    tell(t, { seeds: 2, isHalfDone: true }, async (cluster, nodes) => {
      const [first, second] = nodes;
      const sender = await cluster.connected('sender', first);
      const ids = ['a', 'b', 'c', 'd'];
      for (const id of ids) {
        const reader = await cluster.connected(id, second);
        await subscribe(cluster, reader, ['x'], 1);
        reader.drop();
      }
      await cluster.pass(1000);
      await publish(cluster, sender, 'x', 1, { bytes: 400 });
      const { state } = cluster.store.world;
      expect(state.payloads.size === 1, 'it is stored once');
      for (const node of nodes) cluster.kill(node);
      await cluster.pass(31 * 86_400_000);
      await cluster.restart(second);
      await cluster.until('it serves', () => second.isServing);
      const readers = [];
      for (const id of ids) readers.push(await cluster.connected(id, second));
      await cluster.until('the queues are empty', () => state.totals().queuedMessages === 0);
      await cluster.until('the payload is gone', () => state.payloads.size === 0);
      expect(
        readers.every((reader) => messagesOf(cluster, reader).length === 0),
        'it has expired',
      );
      // The model would miss it.
      for (const reader of readers) reader.era!.subscriptions[0]!.endSentAt = 0;
    }),
  );
});

t.test('interleaving 20: clocks of nodes differ and step, and the store is away for long', async (t) => {
  await t.test("deadlines hold in the store's time", (t) =>
    tell(t, { seeds: 3 }, async (cluster, nodes, seed) => {
      const [first, second, third] = nodes;
      for (const [index, node] of nodes.entries()) node.process.wallOffsetMs = (index - 1) * 240_000 * seed;
      const witness = await cluster.connected('witness', third);
      await subscribe(cluster, witness, ['w/+'], 2);
      const device = cluster.device('device', { expirySec: 20 });
      const message = { qos: 2, retain: false, isEmpty: false, expirySec: 0, isWill: true } as const;
      const will = device.newMessage({ topic: 'w/device', ...message });
      await cluster.connected('device', first, {}, { will, willDelaySec: 5 });
      await cluster.pass(1000);
      first.process.wallOffsetMs -= 3_600_000;
      await cluster.pass(2 * LEASE_MS);
      device.drop();
      await cluster.pass(4000);
      expect(timesGot(cluster, witness, will) === 0, 'the delay is not over');
      await cluster.pass(3000);
      expect(timesGot(cluster, witness, will) === 1, 'the delay is over');
      await cluster.connected('device', second, { expirySec: 20 });
      expect(device.attempt?.isPresent === true, 'the session has not expired');
      expect(
        cluster.store.world.state.leases.list().every(({ deadAt }) => deadAt === 0),
        'no node died',
      );
    }),
  );

  await t.test('keep-alive goes on while the store is away', (t) =>
    tell(t, { seeds: 2 }, async (cluster, nodes) => {
      const devices: Device[] = [];
      for (const [index, node] of nodes.entries()) {
        devices.push(await cluster.connected(`d${index}`, node, {}, { keepAliveSec: 10 }));
      }
      await cluster.pass(2 * LEASE_MS);
      cluster.pause();
      for (let leftMs = 120_000; leftMs > 0; leftMs -= 8000) {
        for (const device of devices) device.ping();
        await cluster.pass(8000);
      }
      cluster.resume();
      for (const device of devices) device.ping();
      await cluster.pass(5000);
      expect(
        devices.every((device) => device.isConnected),
        'all are connected still',
      );
    }),
  );
});

t.test('interleaving 22: QoS 0 and 1 meet subscriptions of the other kind on another node', (t) =>
  tell(t, { seeds: 4 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', first);
    const queued = await cluster.connected('queued', second);
    const plainly = await cluster.connected('plainly', second);
    const both = await cluster.connected('both', second);
    await subscribe(cluster, queued, ['x'], 1);
    await subscribe(cluster, plainly, ['x'], 0);
    await subscribe(cluster, both, ['x'], 0);
    await subscribe(cluster, both, ['+'], 1);
    const messages = [send(sender, 'x', 0), send(sender, 'x', 1), send(sender, 'x', 0), send(sender, 'x', 1)];
    await cluster.until('all have come', () =>
      [queued, plainly, both].every((one) =>
        messages.every((message) => timesGot(cluster, one, message) > 0),
      ),
    );
    await cluster.pass(1000);
    for (const one of [queued, plainly, both]) {
      expect(
        messages.every((message) => timesGot(cluster, one, message) === 1),
        `${one.id} gets each once`,
      );
    }
  }),
);

t.test('interleaving 26: after a resume a new message comes before the unfinished one', (t) =>
  tell(t, { seeds: 8 }, async (cluster, [first, second, third], seed) => {
    const sender = await cluster.connected('sender', first);
    const readers = [await cluster.connected('r1', second), await cluster.connected('r2', third)];
    for (const reader of readers) await subscribe(cluster, reader, ['+'], 2);
    cluster.stand(laneOf('sr1'), 40);
    const unfinished = send(sender, 'x', 2);
    await cluster.pass(seed);
    cluster.kill(first);
    let next = unfinished;
    sender.beforeRepeating = () => {
      next = send(sender, 'y', 2);
    };
    await cluster.pass(20);
    sender.connect(second, plan);
    await cluster.until('both are answered', () => next !== unfinished && sender.outgoing.size === 0);
    sender.beforeRepeating = () => {};
    await cluster.until('both have come', () =>
      readers.every((reader) => [unfinished, next].every((one) => timesGot(cluster, reader, one) === 1)),
    );
  }),
);
