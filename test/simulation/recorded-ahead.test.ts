// QoS 2 messages that were recorded before they came, since their identifiers were expected: what the next node makes of
// such records, and what a node that was frozen may still do with them.

import t from 'tap';
import type { Cluster } from './cluster.ts';
import type { Device } from './device.ts';
import type { Message } from './history.ts';
import { expect, messagesOf, publish, send, subscribe, tell } from './story.ts';
import { LEASE_MS } from './world.ts';

/** One after the other, so that the identifiers of those behind them are expected. */
async function settleSome(cluster: Cluster, sender: Device, topic: string): Promise<Message[]> {
  const messages: Message[] = [];
  for (let round = 0; round < 3; round++) {
    messages.push(await publish(cluster, sender, topic, 2));
    await cluster.until('PUBCOMP', () => sender.outgoing.size === 0);
  }
  return messages;
}

const timesOf = (cluster: Cluster, members: readonly Device[], message: Message): number =>
  members.flatMap((member) => messagesOf(cluster, member)).filter((id) => id === message.id).length;

t.test('on the next node a message with an expected identifier is a new one', async (t) => {
  await tell(t, { seeds: 12 }, async (cluster, [first, second, third], seed) => {
    const members: Device[] = [];
    for (let index = 0; index < 2; index++) {
      const member = await cluster.connected(`m${index}`, third);
      await subscribe(cluster, member, ['$share/g/x'], 2);
      members.push(member);
    }
    const plain = await cluster.connected('plain', third);
    await subscribe(cluster, plain, ['x'], 2);
    const sender = await cluster.connected('sender', first);
    await cluster.pass(2 * LEASE_MS);
    const messages = await settleSome(cluster, sender, 'x');
    for (let round = 0; round < seed % 3; round++) messages.push(send(sender, 'x', 2));
    await cluster.pass(seed % 4);
    let turn = 0;
    first.kill(() => turn++ % 2 === 0);
    await cluster.connected('sender', second);
    for (let round = 0; round < 4; round++) messages.push(await publish(cluster, sender, 'x', 2));
    await cluster.until('the answers', () => sender.outgoing.size === 0, 10 * LEASE_MS);
    const isThere = (message: Message) =>
      timesOf(cluster, members, message) > 0 && timesOf(cluster, [plain], message) > 0;
    await cluster.until('each has come', () => messages.every(isThere), 10 * LEASE_MS);
    await cluster.pass(4 * LEASE_MS);
    for (const message of messages) {
      expect(timesOf(cluster, members, message) === 1, `${message.id} once to the group`);
      expect(timesOf(cluster, [plain], message) === 1, `${message.id} once to the subscriber`);
    }
  });
});

t.test('interleaving 9: a frozen node has a retained message whose identifier was expected', async (t) => {
  await tell(t, { seeds: 12 }, async (cluster, [first, second, third], seed) => {
    const sender = await cluster.connected('sender', first);
    await cluster.pass(2 * LEASE_MS);
    await settleSome(cluster, sender, 'v');
    // It comes to the node when that is frozen: nothing of it is on the way to the store.
    send(sender, 'v', 2, { retain: true });
    await cluster.freeze(first);
    const again = await cluster.connected('sender', second, {}, { cleanStart: true });
    const newest = await publish(cluster, again, 'v', seed % 2 === 0 ? 1 : 2, { retain: true });
    cluster.thaw(first);
    await cluster.pass(4 * LEASE_MS);
    const late = await cluster.connected('late', third);
    await subscribe(cluster, late, ['v'], 2);
    await cluster.until('the retained one', () => messagesOf(cluster, late).length > 0);
    expect(messagesOf(cluster, late).includes(newest.id), 'the newest is retained');
  });
});
