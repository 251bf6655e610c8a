// Topic aliases towards a client: which topic gets which number, and what leaves on the wire for them.

import t from 'tap';
import { parsePacket } from '../../src/mqtt/codec.ts';
import { buildBody } from '../../src/mqtt/message.ts';
import { TopicAliases } from '../../src/mqtt/topic-aliases.ts';
import { newSending, sendMessage } from '../../src/session/sending.ts';
import { FakeLink } from '../helpers/fake-link.ts';

const SENDING = newSending(0);

class AliasLink extends FakeLink {
  override aliases = new TopicAliases(2);
  readonly packets: Buffer[] = [];
  override send(packet: Buffer): void {
    this.packets.push(packet);
  }
}

t.test('the topic not sent for longest gives its number away', async (test) => {
  const aliases = new TopicAliases(2);
  const send = (topic: string) => {
    const known = aliases.find(topic);
    const alias = known || aliases.next(Buffer.byteLength(topic));
    if (alias !== 0) aliases.use(topic, alias);
    return [alias, known !== 0];
  };
  test.same(send('long/a'), [1, false]);
  test.same(send('long/b'), [2, false]);
  test.same(send('long/a'), [1, true]);
  test.same(send('long/c'), [2, false], 'b was sent before a');
  test.same(send('long/a'), [1, true]);
  test.same(send('long/b'), [2, false]);
  test.same(send('abc'), [0, false], 'shorter than its alias');
  test.same(send('x'.repeat(1025)), [0, false], 'what is kept is bounded');
});

t.test('on the wire: once with the topic, then without; what is not sent takes no number', async (test) => {
  const link = new AliasLink('c', 5);
  const send = (topic: string, payload: string) =>
    sendMessage(link, buildBody(topic, Buffer.from(payload)), SENDING, 0);
  link.maximumPacketBytes = 40;
  test.equal(send('room/temperature', 'x'.repeat(100)), false, 'too large');
  for (const topic of ['room/temperature', 'room/temperature', 'räume/ü', 'räume/ü', 'a']) send(topic, '1');
  const seen = link.packets.map((packet) => {
    const publish = parsePacket(5, packet);
    return publish.cmd === 'publish' ? [publish.topic, publish.properties?.topicAlias] : [];
  });
  test.same(seen, [
    ['room/temperature', 1],
    ['', 1],
    ['räume/ü', 2],
    ['', 2],
    ['a', undefined],
  ]);
  test.equal(link.packets[1]!.length, link.packets[0]!.length - 'room/temperature'.length);
});
