// Interleavings that break the obvious way, by the numbers they have in the design: outages, routes, takeovers and wills.
// Each is told on a cluster in virtual time, with several seeds for the delays that the story leaves to chance.

import t from 'tap';
import type { Device } from './device.ts';
import type { Message } from './history.ts';
import { expect, messagesOf, publish, send, subscribe, tell, timesGot, unsubscribe, wish } from './story.ts';
import { LEASE_MS, laneOf } from './world.ts';

const willOf = (device: Device, qos: 0 | 1 | 2 = 2) =>
  device.newMessage({
    topic: `w/${device.id}`,
    qos,
    retain: false,
    isEmpty: false,
    expirySec: 0,
    isWill: true,
  });
const plan = { cleanStart: false, will: null, willDelaySec: 0 };

t.test('interleaving 1: the store is away for three leases, and nobody dies of it', async (t) => {
  for (const way of ['cut', 'pause'] as const) {
    await tell(t, { seeds: 3 }, async (cluster, nodes) => {
      const witness = await cluster.connected('witness', nodes[0]);
      await subscribe(cluster, witness, ['w/+'], 2);
      const devices: Device[] = [];
      for (const [index, node] of nodes.entries()) {
        const device = cluster.device(`d${index}`);
        await cluster.connected(device.id, node, {}, { will: willOf(device) });
        devices.push(device);
      }
      await cluster.pass(3 * LEASE_MS);
      if (way === 'cut') for (const node of nodes) cluster.cut(node);
      else cluster.pause();
      await cluster.pass(3 * LEASE_MS);
      cluster.resume();
      for (const node of nodes) {
        cluster.reconnect(node);
        await cluster.pass(1000);
      }
      await cluster.pass(4 * LEASE_MS);
      expect(
        devices.every((device) => device.isConnected),
        'all are connected still',
      );
      expect(
        cluster.store.world.state.leases.list().every(({ deadAt }) => deadAt === 0),
        'no node died',
      );
      expect(messagesOf(cluster, witness).length === 0, 'no will came');
    });
  }
});

t.test('interleaving 2: a node lags in the log while others subscribe', async (t) => {
  await t.test('SUBACK waits for it, and what it publishes then arrives', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, lagging]) => {
      const sender = await cluster.connected('sender', lagging);
      const reader = await cluster.connected('reader', first);
      const live = await cluster.connected('live', second, { expirySec: 0 });
      cluster.hold(lagging, 'log');
      reader.subscribe([wish('x', 1)]);
      live.subscribe([wish('x', 1)]);
      await cluster.pass(1000);
      expect(reader.era!.subscriptions[0]!.ackedAt === 0, 'no SUBACK yet');
      expect(live.era!.subscriptions[0]!.ackedAt === 0, 'nor one for a session without a queue');
      cluster.unhold(lagging, 'log');
      await cluster.until('SUBACK', () => reader.era!.subscriptions[0]!.ackedAt > 0, 2000);
      await cluster.until('SUBACK', () => live.era!.subscriptions[0]!.ackedAt > 0, 2000);
      const message = await publish(cluster, sender, 'x', 1);
      await cluster.until('both get it', () =>
        [reader, live].every((one) => timesGot(cluster, one, message) === 1),
      );
    }),
  );

  await t.test('UNSUBACK does not wait, and nothing comes behind it', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, lagging]) => {
      const sender = await cluster.connected('sender', lagging);
      const reader = await cluster.connected('reader', first);
      const other = await cluster.connected('other', second);
      await subscribe(cluster, reader, ['x'], 1);
      await subscribe(cluster, other, ['x'], 1);
      cluster.hold(lagging, 'log');
      await unsubscribe(cluster, reader, ['x']);
      const message = send(sender, 'x', 1);
      await cluster.pass(500);
      cluster.unhold(lagging, 'log');
      await cluster.until('the other one gets it', () => timesGot(cluster, other, message) === 1);
      await cluster.pass(1000);
      expect(timesGot(cluster, reader, message) === 0, 'who unsubscribed does not');
    }),
  );

  await t.test('a clean start ends the subscriptions of the life before', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, lagging]) => {
      const sender = await cluster.connected('sender', lagging);
      const reader = await cluster.connected('reader', first);
      await subscribe(cluster, reader, ['x'], 1);
      cluster.hold(lagging, 'log');
      await cluster.connected('reader', second, {}, { cleanStart: true });
      const message = await publish(cluster, sender, 'x', 1);
      await cluster.pass(500);
      expect(timesGot(cluster, reader, message) === 0, 'nothing for the life that ended');
      cluster.unhold(lagging, 'log');
      await subscribe(cluster, reader, ['x'], 1);
      const next = await publish(cluster, sender, 'x', 1);
      await cluster.until('the new life gets it', () => timesGot(cluster, reader, next) === 1);
    }),
  );

  await t.test('a session that expired and was made again gets nothing of its earlier life', (t) =>
    tell(t, { seeds: 3 }, async (cluster, [first, second, lagging]) => {
      const sender = await cluster.connected('sender', lagging);
      const reader = await cluster.connected('reader', first, { expirySec: 1 });
      await subscribe(cluster, reader, ['x'], 1);
      reader.drop();
      cluster.hold(lagging, 'log');
      await cluster.pass(2500);
      await cluster.connected('reader', second);
      expect(reader.attempt?.isPresent === false, 'it is a new session');
      const message = send(sender, 'x', 1);
      await cluster.pass(500);
      cluster.unhold(lagging, 'log');
      await cluster.until('the answer', () => message.ackedAt > 0);
      expect(timesGot(cluster, reader, message) === 0, 'nothing for the life that ended');
    }),
  );

  await t.test("messages that a node had matched before it was cut off find today's subscribers", (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, cutOff]) => {
      const sender = await cluster.connected('sender', cutOff);
      const leaving = await cluster.connected('leaving', first);
      const staying = await cluster.connected('staying', second);
      await subscribe(cluster, leaving, ['x'], 1);
      await subscribe(cluster, staying, ['x'], 1);
      cluster.cut(cutOff);
      const message = send(sender, 'x', 1);
      await cluster.pass(4 * LEASE_MS);
      await unsubscribe(cluster, leaving, ['x']);
      cluster.reconnect(cutOff);
      await cluster.until('its node begins anew', () => cutOff.deaths === 1 && cutOff.isServing);
      await cluster.connected('sender', cutOff);
      await cluster.until('the answer', () => message.ackedAt > 0);
      await cluster.until('who stayed gets it', () => timesGot(cluster, staying, message) > 0);
      await cluster.pass(1000);
      expect(timesGot(cluster, leaving, message) === 0, 'who unsubscribed does not');
    }),
  );

  await t.test('the appender dies in the barrier, and an unchanged SUBSCRIBE elsewhere waits for it', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [appender, second, lagging]) => {
      const sender = await cluster.connected('sender', lagging);
      const reader = await cluster.connected('reader', appender);
      cluster.hold(lagging, 'log');
      reader.subscribe([wish('x', 1)]);
      await cluster.pass(100);
      cluster.kill(appender);
      await cluster.pass(50);
      await cluster.connected('reader', second);
      reader.subscribe([wish('x', 1)]);
      await cluster.pass(500);
      expect(reader.era!.subscriptions.at(-1)!.ackedAt === 0, 'a node does not know it yet');
      cluster.unhold(lagging, 'log');
      await cluster.until('SUBACK', () => reader.era!.subscriptions.at(-1)!.ackedAt > 0, 3 * LEASE_MS);
      const message = await publish(cluster, sender, 'x', 1);
      await cluster.until('it arrives', () => timesGot(cluster, reader, message) === 1);
    }),
  );
});

t.test('interleaving 4: tables equal the records, whoever wrote what when', async (t) => {
  await t.test('a node starts between the record and its log entry', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, third]) => {
      cluster.kill(third);
      const reader = await cluster.connected('reader', first);
      const sender = await cluster.connected('sender', second);
      reader.subscribe([wish('x', 1)]);
      const { sessions } = cluster.store.world.state;
      await cluster.until('the record', () => sessions.get('reader')!.row !== null);
      first.freeze(false);
      await cluster.restart(third);
      await cluster.until('it serves', () => third.isServing);
      cluster.thaw(first);
      await cluster.until('SUBACK', () => reader.era!.subscriptions[0]!.ackedAt > 0, 5 * LEASE_MS);
      const message = await publish(cluster, sender, 'x', 1);
      await cluster.until('it arrives', () => timesGot(cluster, reader, message) === 1);
    }),
  );

  await t.test('a frozen node writes an UNSUBSCRIBE after its session went on elsewhere', (t) =>
    tell(t, { seeds: 6 }, async (cluster, [frozen, second, third], seed) => {
      const reader = await cluster.connected('reader', frozen);
      const sender = await cluster.connected('sender', third);
      await subscribe(cluster, reader, ['x', 'y'], 1);
      reader.unsubscribe(['x']);
      await cluster.pass(seed);
      await cluster.freeze(frozen);
      await cluster.connected('reader', second);
      await cluster.pass(4 * LEASE_MS);
      await subscribe(cluster, reader, ['x'], 1);
      cluster.thaw(frozen);
      await cluster.pass(4 * LEASE_MS);
      const message = await publish(cluster, sender, 'x', 1);
      await cluster.until('it arrives', () => timesGot(cluster, reader, message) === 1);
    }),
  );
});

t.test('interleaving 8: an old owner thaws after its session expired and was made and claimed again', (t) =>
  tell(t, { seeds: 4 }, async (cluster, [frozen, second, third]) => {
    const sender = await cluster.connected('sender', third);
    const reader = await cluster.connected('reader', frozen, { expirySec: 2 });
    await subscribe(cluster, reader, ['x'], 2);
    reader.isMuted = true;
    send(sender, 'x', 2);
    await cluster.pass(100);
    reader.unmute();
    await cluster.freeze(frozen);
    await cluster.pass(5 * LEASE_MS);
    await cluster.connected('reader', second);
    expect(reader.attempt?.isPresent === false, 'the session has expired');
    await subscribe(cluster, reader, ['x'], 2);
    await cluster.connected('reader', third);
    cluster.thaw(frozen);
    await cluster.pass(2 * LEASE_MS);
    expect(reader.isConnected, 'the old owner closes nothing');
    const message = await publish(cluster, sender, 'x', 2);
    await cluster.until('it arrives', () => timesGot(cluster, reader, message) === 1);
  }),
);

t.test('interleaving 9: a node that is back before its death is noticed', async (t) => {
  await t.test('killed and started within its lease, with wills and routes', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second]) => {
      const witness = await cluster.connected('witness', second);
      await subscribe(cluster, witness, ['w/+'], 2);
      const [back, away] = [cluster.device('back'), cluster.device('away')];
      const [backWill, awayWill] = [willOf(back), willOf(away)];
      await cluster.connected('back', first, {}, { will: backWill, willDelaySec: 30 });
      await cluster.connected('away', first, {}, { will: awayWill });
      await subscribe(cluster, back, ['x'], 0);
      await cluster.pass(2 * LEASE_MS);
      cluster.kill(first);
      await cluster.pass(100);
      await cluster.restart(first);
      await cluster.until('it serves', () => first.isServing);
      await cluster.connected('back', first);
      await cluster.pass(4 * LEASE_MS);
      expect(timesGot(cluster, witness, awayWill) === 1, 'who stayed away has left a will');
      expect(timesGot(cluster, witness, backWill) === 0, 'who is back has not');
    }),
  );

  await t.test('frozen with a retained message in hand, while its publisher goes on elsewhere', (t) =>
    tell(t, { seeds: 6 }, async (cluster, [frozen, second]) => {
      const sender = await cluster.connected('sender', frozen);
      await publish(cluster, sender, 'r/1', 1, { retain: true });
      send(sender, 'r/1', 1, { retain: true });
      await cluster.until('it is on its way', () => frozen.stats.uncommittedMessages > 0);
      frozen.freeze(false);
      await cluster.connected('sender', second);
      const last = await publish(cluster, sender, 'r/1', 1, { retain: true });
      cluster.thaw(frozen);
      await cluster.pass(3 * LEASE_MS);
      const reader = await cluster.connected('reader', second);
      await subscribe(cluster, reader, ['r/1'], 1);
      await cluster.until('what is retained', () => messagesOf(cluster, reader).length > 0);
      expect(messagesOf(cluster, reader)[0] === last.id, 'the newest value stands');
    }),
  );
});

t.test('interleaving 10: a will whose sweeper dies before it is done', async (t) => {
  for (const comesBack of [true, false]) {
    await tell(t, { seeds: 4 }, async (cluster, [first, second, third]) => {
      const witness = await cluster.connected('witness', third);
      await subscribe(cluster, witness, ['w/+'], 2);
      const device = cluster.device('device');
      const will = willOf(device);
      await cluster.connected('device', first, {}, { will });
      await cluster.pass(2 * LEASE_MS);
      const { state } = cluster.store.world;
      device.drop();
      await cluster.until('the will is taken', () => state.wills.size === 1);
      first.kill(() => false);
      if (comesBack) {
        await cluster.connected('device', second);
        expect(state.wills.size === 0, 'finished before CONNACK');
        await publish(cluster, device, 'w/device', 1, { retain: true });
      }
      await cluster.pass(5 * LEASE_MS);
      expect(timesGot(cluster, witness, will) === 1, 'it comes once');
      if (comesBack)
        expect(messagesOf(cluster, witness)[0] === will.id, 'and before what its client says now');
    });
  }
});

t.test('interleaving 10: a will before, and after, 5,000 QoS 2 messages of the same session', (t) =>
  tell(t, { seeds: 1 }, async (cluster, [first, second, third]) => {
    const witness = await cluster.connected('witness', third);
    await subscribe(cluster, witness, ['w/+'], 2);
    const device = cluster.device('device');
    const wills = [willOf(device), willOf(device)];
    await cluster.connected('device', first, {}, { will: wills[0]! });
    device.drop();
    const { deliveries } = cluster.history;
    const counts = new Map<Message, number>();
    let counted = 0;
    // Asked after each task, while thousands wait for the witness.
    const times = (message: Message): number => {
      for (; counted < deliveries.length; counted++) {
        const one = deliveries[counted]!.message;
        counts.set(one, (counts.get(one) ?? 0) + 1);
      }
      return counts.get(message) ?? 0;
    };
    await cluster.until('the first will', () => times(wills[0]!) > 0);
    await cluster.connected('device', second, {}, { will: wills[1]! });
    await cluster.pass(2 * LEASE_MS);
    const messages: Message[] = [];
    const fill = () => {
      while (messages.length < 5000 && device.outgoing.size < 20) messages.push(send(device, 'w/device', 2));
    };
    for (; messages.length < 5000; fill()) {
      await cluster.until('room for more', () => device.outgoing.size <= 10);
      // The last ones are recorded and not queued when their node dies.
      if (messages.length < 4980) continue;
      await cluster.until('the answers', () => device.outgoing.size === 0);
      cluster.stand(laneOf('switness'), 200);
    }
    await cluster.pass(100);
    expect(device.outgoing.size > 10 && messages.at(-1)!.ackedAt === 0, 'the last ones are unfinished');
    expect(laneOf('switness') !== laneOf('sdevice'), 'only the queue stands');
    // The will is newer than what comes again behind it; neither may be taken for a repetition of the other.
    second.kill(() => false);
    await cluster.until('the second will', () => times(wills[1]!) > 0);
    await cluster.connected('device', first);
    await cluster.until('the answers', () => device.outgoing.size === 0);
    await cluster.pass(2 * LEASE_MS);
    const wrong = [...wills, ...messages].filter((message) => times(message) !== 1);
    expect(wrong.length === 0, `each came once, not ${wrong.map((one) => `${one.id} ${times(one)}`)}`);
  }),
);

t.test('interleaving 24: a clean session is claimed by a node that dies at once, and by a third one', (t) =>
  tell(t, { seeds: 6 }, async (cluster, [first, second, third], seed) => {
    const options = { expirySec: 0 };
    const device = await cluster.connected('device', first, options);
    const [session] = [...first.incarnation!.sessions.all()];
    const { sessions } = cluster.store.world.state;
    cluster.hold(first, 'inbox');
    const epoch = sessions.get('device')!.epoch;
    device.connect(second, plan, true);
    await cluster.until('the second one has it', () => sessions.get('device')!.epoch > epoch);
    second.kill(() => seed % 2 === 0);
    await cluster.connected('device', third, options);
    cluster.unhold(first, 'inbox');
    await cluster.until('the first one lets go', () => session!.isEnded, LEASE_MS + 12_000);
  }),
);
