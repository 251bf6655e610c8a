// Interleaving 21 of the design: a shared group whose members come and go while a QoS 2 publisher retransmits. Each message
// reaches one member once, none is refused, and nothing that was acknowledged is missing.

import t from 'tap';
import type { Cluster } from './cluster.ts';
import type { Device } from './device.ts';
import type { Message } from './history.ts';
import { expect, messagesOf, publish, send, subscribe, tell, unsubscribe, wish } from './story.ts';
import { LEASE_MS, laneOf } from './world.ts';

const FILTER = '$share/g/x';

/** How often the members together got each message. */
function times(cluster: Cluster, members: readonly Device[], messages: readonly Message[]): number[] {
  const got = members.flatMap((member) => messagesOf(cluster, member));
  return messages.map((message) => got.filter((id) => id === message.id).length);
}

/** All messages are answered, and each has come once to one member. */
async function onceEach(
  cluster: Cluster,
  members: readonly Device[],
  messages: readonly Message[],
): Promise<void> {
  await cluster.until(
    'each message has come',
    () => times(cluster, members, messages).every((count) => count > 0),
    10 * LEASE_MS,
  );
  await cluster.pass(4 * LEASE_MS);
  expect(
    times(cluster, members, messages).every((count) => count === 1),
    `each once: ${times(cluster, members, messages)}`,
  );
  expect(
    messages.every((message) => !message.isRefused),
    'none was refused',
  );
}

t.test('interleaving 21: members come and go while a QoS 2 publisher retransmits', async (t) => {
  await t.test("the publisher's node dies after the record and before the answer", (t) =>
    tell(t, { seeds: 8 }, async (cluster, [first, second, third], seed) => {
      const members: Device[] = [];
      for (let index = 0; index < 4; index++) {
        const member = await cluster.connected(`m${index}`, index % 2 === 0 ? second : third);
        await subscribe(cluster, member, [FILTER], 2);
        members.push(member);
      }
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      const messages = [await publish(cluster, sender, 'x', 2)];
      for (let round = 0; round < 6; round++) messages.push(send(sender, 'x', 2));
      await cluster.pass(seed);
      // Half of what is under way has run, and nobody hears of it.
      let turn = 0;
      first.kill(() => turn++ % 2 === 0);
      members[seed % 4]!.drop();
      await cluster.connected('sender', second);
      await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
      await cluster.connected(members[seed % 4]!.id, third);
      await onceEach(cluster, members, messages);
    }),
  );

  await t.test('the member that was chosen ends its session before the repetition', (t) =>
    tell(t, { seeds: 8 }, async (cluster, [first, second, third], seed) => {
      const leaver = await cluster.connected('leaver', second);
      await subscribe(cluster, leaver, [FILTER], 2);
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      const message = send(sender, 'x', 2);
      await cluster.pass(seed % 3);
      first.kill(() => seed % 2 === 0);
      await cluster.pass(500);
      const stayer = await cluster.connected('stayer', third);
      await subscribe(cluster, stayer, [FILTER], 2);
      leaver.drop();
      await cluster.connected('leaver', third, {}, { cleanStart: true });
      await cluster.connected('sender', second);
      await cluster.until('the answer', () => sender.outgoing.size === 0, 10 * LEASE_MS);
      await onceEach(cluster, [leaver, stayer], [message]);
    }),
  );

  await t.test('members leave the group, and come, between the attempts', (t) =>
    tell(t, { seeds: 8 }, async (cluster, [first, second, third], seed) => {
      const members: Device[] = [];
      for (let index = 0; index < 3; index++) {
        const member = await cluster.connected(`m${index}`, third);
        if (index < 2) await subscribe(cluster, member, [FILTER], 2);
        members.push(member);
      }
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      const messages: Message[] = [];
      for (let round = 0; round < 8; round++) messages.push(send(sender, 'x', 2));
      await cluster.pass(seed % 4);
      let turn = 0;
      first.kill(() => turn++ % 3 !== 0);
      members[seed % 2]!.unsubscribe([FILTER]);
      await subscribe(cluster, members[2]!, [FILTER], 2);
      await cluster.connected('sender', second);
      await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
      await onceEach(cluster, members, messages);
    }),
  );

  await t.test(
    'the publisher goes elsewhere while another member is written down: order on the old node',
    (t) =>
      tell(t, { seeds: 24 }, async (cluster, [first, second, third], seed) => {
        const watcher = await cluster.connected('watcher', first, { expirySec: 0 });
        await subscribe(cluster, watcher, ['#'], 2);
        const stayer = await cluster.connected('stayer', third);
        const leaver = await cluster.connected('leaver', second, { expirySec: 0 });
        await subscribe(cluster, stayer, [FILTER], 2);
        await subscribe(cluster, leaver, [FILTER], 2);
        const sender = await cluster.connected('sender', first);
        await cluster.pass(2 * LEASE_MS);
        leaver.disconnect(false);
        const messages: Message[] = [];
        for (let round = 0; round < 8; round++) {
          messages.push(send(sender, 'x', 2));
          await cluster.pass((seed % 10) / 10);
        }
        await cluster.pass(seed / 10);
        await cluster.connected('sender', second);
        await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
        await cluster.pass(1000);
        const got = messagesOf(cluster, watcher);
        const places = messages.map(({ id }) => got.indexOf(id));
        expect(
          places.every((at, index) => at >= 0 && (index === 0 || at > places[index - 1]!)),
          `in order: ${places}`,
        );
      }),
  );

  for (const leaves of ['ends its session', 'leaves the group'] as const) {
    await t.test(`the chosen member ${leaves} and comes back while two attempts are held up`, (t) =>
      tell(t, { seeds: 4 }, async (cluster, [first, second, third], seed) => {
        // Where the bodies lie that are stored once stands still; receivers and publisher are elsewhere.
        const lane = 3 - laneOf('ssender');
        const names = Array.from({ length: 26 }, (_none, at) => `m${at}`);
        const [one, other, leaver, stayer] = names.filter((name) => laneOf(`s${name}`) !== lane);
        const readers = [await cluster.connected(one!, third), await cluster.connected(other!, third)];
        for (const reader of readers) await subscribe(cluster, reader, ['x'], 2);
        const expirySec = leaves === 'ends its session' ? 0 : 60;
        const member = await cluster.connected(leaver!, second, { expirySec });
        await subscribe(cluster, member, [FILTER], 2);
        // Away, so that it is not chosen first.
        const heir = await cluster.connected(stayer!, third);
        await subscribe(cluster, heir, [FILTER], 2);
        heir.drop();
        const sender = await cluster.connected('sender', first);
        await cluster.pass(2 * LEASE_MS);
        cluster.stand(lane, 2 * LEASE_MS);
        const messages: Message[] = [];
        for (let round = 0; round < 4; round++) messages.push(send(sender, 'x', 2, { bytes: 400 }));
        await cluster.pass(100);
        if (seed % 2 === 0) await cluster.connected('sender', second);
        await cluster.pass(100);
        if (leaves === 'ends its session') member.disconnect(false);
        else await unsubscribe(cluster, member, [FILTER]);
        // One receiver only: the next attempt has no body to store.
        await unsubscribe(cluster, readers[1]!, ['x']);
        await cluster.connected(stayer!, third);
        await cluster.connected('sender', third);
        await cluster.until('the answers', () => sender.outgoing.size === 0, LEASE_MS);
        if (leaves === 'ends its session') await cluster.connected(leaver!, second, { expirySec });
        await subscribe(cluster, member, [FILTER], 2);
        await onceEach(cluster, [member, heir], messages);
      }),
    );
  }

  await t.test('who gets what a session has left goes and comes back while a node stalls with it', (t) =>
    tell(t, { seeds: 4 }, async (cluster, [first, second, third]) => {
      const doomed = await cluster.connected('doomed', first);
      await subscribe(cluster, doomed, [FILTER], 2);
      doomed.drop();
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      const messages = [await publish(cluster, sender, 'x', 2), await publish(cluster, sender, 'x', 2)];
      const member = await cluster.connected('member', second, { expirySec: 0 });
      const heir = await cluster.connected('heir', third);
      for (const one of [heir, member]) await subscribe(cluster, one, [FILTER], 2);
      heir.drop();
      let goOn = (): void => {};
      let isHeld = false;
      for (const { store } of [first, second, third]) {
        const assign = store!.assignOrphans.bind(store!);
        store!.assignOrphans = async (...asked) => {
          const answer = await assign(...asked);
          if (isHeld) return answer;
          isHeld = true;
          return new Promise((resolve) => {
            goOn = () => resolve(answer);
          });
        };
      }
      await cluster.connected('doomed', first, {}, { cleanStart: true });
      await cluster.until('it is written down who gets them', () => isHeld, 2 * LEASE_MS);
      member.disconnect(false);
      await cluster.connected('heir', third);
      await cluster.until('another node has moved them', () => messagesOf(cluster, heir).length === 2);
      await cluster.connected('member', second, { expirySec: 0 });
      await subscribe(cluster, member, [FILTER], 2);
      goOn();
      await onceEach(cluster, [member, heir], messages);
    }),
  );

  await t.test('the group begins between the record and the enqueue', (t) =>
    tell(t, { seeds: 24 }, async (cluster, [first, second, third], seed) => {
      const members: Device[] = [];
      for (let index = 0; index < 3; index++) {
        members.push(await cluster.connected(`m${index}`, index === 0 ? second : third));
      }
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      for (const member of members) member.subscribe([wish(FILTER, 2)]);
      const messages: Message[] = [];
      for (let round = 0; round < 20; round++) {
        messages.push(send(sender, 'x', 2));
        await cluster.pass(1);
      }
      first.kill(() => true);
      const away = members[seed % 3]!;
      away.drop();
      await cluster.connected('sender', second);
      await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
      await cluster.connected(away.id, third);
      await cluster.pass(4 * LEASE_MS);
      const counts = times(cluster, members, messages);
      // Those before SUBACK need not come at all.
      expect(
        counts.every((count) => count <= 1),
        `none twice: ${counts}`,
      );
    }),
  );

  await t.test('the node that publishes a will dies, and the next one publishes it', (t) =>
    tell(t, { seeds: 16 }, async (cluster, [first, second, third], seed) => {
      const members: Device[] = [];
      for (let index = 0; index < 4; index++) {
        const member = await cluster.connected(`m${index}`, third);
        await subscribe(cluster, member, [FILTER], 2);
        members.push(member);
      }
      await cluster.connected('other', second);
      const mortals: Device[] = [];
      for (let index = 0; index < 4; index++) {
        const mortal = cluster.device(`mortal${index}`, { expirySec: 60 });
        const content = { topic: 'x', qos: 2 as const, retain: false, isEmpty: false, expirySec: 0 };
        const will = mortal.newMessage({ ...content, isWill: true });
        mortals.push(await cluster.connected(mortal.id, first, {}, { will }));
      }
      await cluster.pass(2 * LEASE_MS);
      for (const mortal of mortals) mortal.drop();
      await cluster.pass(seed);
      let turn = 0;
      first.kill(() => turn++ % 4 !== 3);
      await cluster.until(
        'all wills have come',
        () => new Set(members.flatMap((member) => messagesOf(cluster, member))).size === mortals.length,
        20 * LEASE_MS,
      );
      await cluster.pass(4 * LEASE_MS);
      const got = members.flatMap((member) => messagesOf(cluster, member));
      expect(got.length === mortals.length, `each once: ${got}`);
    }),
  );

  await t.test('a member whose node dies: QoS 1 goes to another one, whatever it had', (t) =>
    tell(t, { seeds: 6 }, async (cluster, [first, second, third], seed) => {
      const doomed = await cluster.connected('doomed', second, { expirySec: 0 });
      await subscribe(cluster, doomed, [FILTER], 1);
      const sender = await cluster.connected('sender', first);
      await cluster.pass(2 * LEASE_MS);
      const messages: Message[] = [];
      for (let round = 0; round < 10; round++) messages.push(send(sender, 'x', 1));
      await cluster.pass(seed);
      second.kill(() => false);
      const heir = await cluster.connected('heir', third);
      await subscribe(cluster, heir, [FILTER], 1);
      await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
      await cluster.until(
        'all have come',
        () => times(cluster, [doomed, heir], messages).every((count) => count > 0),
        10 * LEASE_MS,
      );
    }),
  );
});
