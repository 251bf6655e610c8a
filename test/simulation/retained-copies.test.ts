// A retained copy waits for the client's acks, and a message at QoS 0 does not: what is newer passes it by.

import t from 'tap';
import { NEVER } from './call.ts';
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
import { laneOf } from './world.ts';

for (const expirySec of [NEVER, 0]) {
  const whose = expirySec === 0 ? 'a session that ends with its connection' : 'a persistent session';
  t.test(`a retained copy that waits for acks is not given behind a newer message at QoS 0: ${whose}`, (t) =>
    tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
      const sender = await cluster.connected('sender', second);
      const reader = await cluster.connected('reader', first, { receiveMaximum: 1, expirySec });
      const topics = ['r/1', 'r/2', 'r/3', 'r/4', 'r/5', 'r/6'];
      for (const topic of topics) await publish(cluster, sender, topic, 1, { retain: true });
      reader.isMuted = true;
      await subscribe(cluster, reader, ['r/#'], 1);
      await cluster.until('the first copy', () => messagesOf(cluster, reader).length === 1);
      await cluster.pass(500);
      const newer = new Set(topics.map((topic) => send(sender, topic, 0, { retain: true }).id));
      await cluster.until('the newer ones', () => messagesOf(cluster, reader).length === 1 + topics.length);
      reader.unmute();
      await cluster.pass(1000);
      // What waited has made room.
      const last = await publish(cluster, sender, 'r/7', 1);
      await cluster.until('the last one', () => timesGot(cluster, reader, last) === 1);
      const ids = messagesOf(cluster, reader);
      expect(newer.has(ids[1]!), 'the copy that was under way came first');
      expect(ids.length === 2 + topics.length, 'the others did not come');
    }),
  );
}

t.test('what came at QoS 0 by another subscription follows as the copy that a new one asks for', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', second);
    const reader = await cluster.connected('reader', first);
    await subscribe(cluster, reader, ['r/+'], 0);
    // The record of the subscription takes its time, and notes are being taken.
    cluster.stand(laneOf('sreader'), 300);
    reader.subscribe([wish('#', 1)]);
    await cluster.pass(50);
    const message = await publish(cluster, sender, 'r/1', 1, { retain: true });
    // Both may have come before the PUBACK.
    await cluster.until('it comes', () => timesGot(cluster, reader, message) >= 1);
    await cluster.until('its copy', () => timesGot(cluster, reader, message) === 2);
    const [live, copy] = cluster.history.deliveries;
    expect(live!.qos === 0 && !live!.isRetained, 'live at QoS 0');
    expect(copy!.qos === 1 && copy!.isRetained, 'the copy at QoS 1');
  }),
);

t.test('a copy is not held back for a message at QoS 0 that came before it was made', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', second);
    const reader = await cluster.connected('reader', first, { receiveMaximum: 1 });
    for (const topic of ['r/1', 'r/2', 'r/3', 'r/4'])
      await publish(cluster, sender, topic, 1, { retain: true });
    reader.isMuted = true;
    await subscribe(cluster, reader, ['r/#'], 1);
    await cluster.until('the first copy', () => messagesOf(cluster, reader).length === 1);
    await cluster.pass(500);
    const topic = topicsOf(cluster, reader)[0] === 'r/1' ? 'r/2' : 'r/1';
    const live = send(sender, topic, 0, { retain: true });
    await cluster.until('what passes by', () => timesGot(cluster, reader, live) === 1);
    await unsubscribe(cluster, reader, ['r/#']);
    const last = await publish(cluster, sender, topic, 1, { retain: true });
    // What waited is still to come, so that what came at QoS 0 is still held against it.
    await subscribe(cluster, reader, [topic], 1);
    await cluster.pass(500);
    reader.unmute();
    await cluster.until('the value that stands', () => timesGot(cluster, reader, last) === 1);
  }),
);

for (const qos of [0, 1] as const) {
  for (const where of ['another', 'the same'] as const) {
    t.test(
      `at QoS ${qos}, who subscribes as others did gets what is being retained just then, from ${where} node`,
      (t) =>
        tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
          const sender = await cluster.connected('sender', where === 'another' ? second : first);
          const watcher = await cluster.connected('watcher', first, { expirySec: 0 });
          await subscribe(cluster, watcher, ['r/1'], qos);
          // It is matched, and not retained yet: whoever subscribes now changes no route of the node.
          cluster.stand(laneOf('rr/1'), 1000);
          const message = send(sender, 'r/1', 1, { retain: true });
          await cluster.pass(100);
          expect(timesGot(cluster, watcher, message) === (where === 'another' ? 1 : 0), 'it is on its way');
          const later = await cluster.connected('later', first, { expirySec: 0 });
          await subscribe(cluster, later, ['r/1'], qos);
          await cluster.until('its copy', () => timesGot(cluster, later, message) === 1);
        }),
    );
  }
}

t.test('a SUBSCRIBE between the reading of a page and its copies does not lose them', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', second);
    const reader = await cluster.connected('reader', first, { receiveMaximum: 1 });
    const topics = ['r/1', 'r/2', 'r/3', 'r/4', 'r/5'];
    for (const topic of topics) await publish(cluster, sender, topic, 1, { retain: true });
    await subscribe(cluster, reader, ['x'], 1);
    reader.isMuted = true;
    for (let left = 12; left > 0; left--) await publish(cluster, sender, 'x', 1);
    // The reading waits for room, then its page until the inbox has been read to here.
    await subscribe(cluster, reader, ['r/#'], 1);
    cluster.hold(first, 'inbox');
    send(sender, 'x', 0);
    await cluster.pass(100);
    reader.unmute();
    await cluster.pass(1000);
    reader.subscribe([wish('y', 1)]);
    await cluster.pass(300);
    cluster.unhold(first, 'inbox');
    await cluster.until('all copies', () =>
      topics.every((topic) => topicsOf(cluster, reader).includes(topic)),
    );
  }),
);

t.test('a reading that UNSUBSCRIBE ends is over for the store as well', (t) =>
  tell(t, { seeds: 12, nodes: 2 }, async (cluster, [first, second]) => {
    const sender = await cluster.connected('sender', second);
    const reader = await cluster.connected('reader', first, { receiveMaximum: 1 });
    for (let topic = 0; topic < 40; topic++)
      await publish(cluster, sender, `r/${topic}`, 1, { retain: true });
    reader.isMuted = true;
    await subscribe(cluster, reader, ['r/#'], 1);
    await cluster.until('the first copy', () => messagesOf(cluster, reader).length === 1);
    await unsubscribe(cluster, reader, ['r/#']);
    reader.unmute();
    await cluster.pass(3000);
    const session = cluster.store.world.state.sessions.get('reader')!;
    expect(session.reading === null, 'no reading is left');
    expect(session.noted === null, 'nothing is noted');
  }),
);
