// The rules of the checker: each finds a history that breaks it, and says nothing of its lawful neighbours.

import t from 'tap';
import { check } from './checker.ts';
import { type Connecting, rule, Story } from './story.ts';

/** A publisher p and a subscriber s to a/# at QoS 2. */
function pair(story: Story, subscriber: Connecting = {}): void {
  story.connect('p');
  story.connect('s', subscriber);
  story.subscribe('s', 'a/#');
}

rule('delivered', {
  broken: {
    'a session that was there': (story) => {
      pair(story);
      story.publish('p', 'a/1', 1);
      story.rest('s');
    },
    'a session that was away': (story) => {
      pair(story);
      story.close('s');
      story.publish('p', 'a/1');
      story.connect('s', { present: true });
      story.rest('s');
    },
    'a subscription that took the place of another': (story) => {
      pair(story);
      const id = story.send('p', 'a/1');
      story.subscribe('s', 'a/#', 1);
      story.ack(id);
      story.rest('s');
    },
    'a session without a queue that stayed long enough': (story) => {
      pair(story, { clean: true, expirySec: 0 });
      story.publish('p', 'a/1');
      story.wait(6000);
      story.close('s');
    },
    'an unsubscribing that came after the ack': (story) => {
      pair(story);
      story.publish('p', 'a/1');
      story.unsubscribe('s', 'a/#');
      story.rest('s');
    },
    'though a fault came, and nothing was lost by it': (story) => {
      pair(story);
      story.fault('node', 1000);
      story.publish('p', 'a/1');
      story.rest('s');
    },
  },
  lawful: {
    'a session that may have ended before a CONNECT that nobody heard the answer of': (story) => {
      story.connect('p');
      story.connect('s', { expirySec: 5 });
      story.subscribe('s', 'a/#');
      story.close('s');
      story.publish('p', 'a/1', 1);
      story.wait(8000);
      story.connect('s', { expirySec: 5, answered: false });
      story.close('s');
      story.connect('s', { expirySec: 5, present: true });
      story.rest('s');
    },
    'it came': (story) => {
      pair(story);
      story.deliver('s', story.publish('p', 'a/1'));
      story.rest('s');
    },
    'it was not acknowledged, or refused, or at QoS 0': (story) => {
      pair(story);
      story.send('p', 'a/1');
      story.ack(story.send('p', 'a/1'), 0x97);
      story.publish('p', 'a/1', 0);
      story.rest('s');
    },
    'the SUBACK came after it was sent': (story) => {
      story.connect('p');
      story.connect('s');
      const id = story.send('p', 'a/1');
      story.subscribe('s', 'a/#');
      story.ack(id);
      story.rest('s');
    },
    'UNSUBSCRIBE was sent before the ack': (story) => {
      pair(story);
      const id = story.send('p', 'a/1');
      story.unsubscribe('s', 'a/#', false);
      story.ack(id);
      story.rest('s');
    },
    'the session has not come to rest, or was thrown away': (story) => {
      pair(story);
      story.publish('p', 'a/1');
      story.close('s');
      story.connect('s', { clean: true });
      story.rest('s');
    },
    'a clean start was not answered and may have thrown the session away': (story) => {
      pair(story);
      story.publish('p', 'a/1');
      story.close('s');
      story.connect('s', { clean: true, answered: false });
      story.close('s');
      story.connect('s', { present: true });
      story.rest('s');
    },
    'a session without a queue that went soon after': (story) => {
      pair(story, { clean: true, expirySec: 0 });
      story.publish('p', 'a/1');
      story.close('s');
    },
    'another topic': (story) => {
      pair(story);
      story.publish('p', 'b/1');
      story.rest('s');
    },
    'it has an expiry': (story) => {
      pair(story);
      story.publish('p', 'a/1', 1, { expirySec: 1 });
      story.rest('s');
    },
    'its ack is in the tail that was lost': (story) => {
      pair(story);
      story.wait(1000);
      story.publish('p', 'a/1');
      story.fault('store', 1000, story.now - 500);
      story.rest('s');
    },
  },
});

t.test('what was acknowledged outside of the lost tail is delivered', async (t) => {
  const story = new Story();
  pair(story);
  story.publish('p', 'a/1');
  story.wait(5000);
  story.fault('store', 1000, story.now - 500);
  story.rest('s');
  t.same(
    check(story.history).map((breach) => breach.rule),
    ['delivered'],
  );
});

t.test('a queue that holds little may have dropped it', async (t) => {
  const story = new Story();
  pair(story);
  story.publish('p', 'a/1');
  for (let later = 0; later < 10; later++) story.deliver('s', story.publish('p', 'a/1'));
  story.rest('s');
  t.equal(check(story.history).length, 1);
  t.same(check(story.history, { maxQueued: 10 }), []);
});

rule('sent', {
  broken: {
    'nobody sent it': (story) => {
      pair(story);
      story.deliver('s', 99, { topic: 'a/1', qos: 1 });
    },
    'on another topic': (story) => {
      pair(story);
      story.deliver('s', story.publish('p', 'a/1'), { topic: 'a/2' });
    },
    'at a higher QoS': (story) => {
      pair(story);
      story.deliver('s', story.publish('p', 'a/1', 1), { qos: 2 });
    },
    'as retained': (story) => {
      pair(story);
      story.deliver('s', story.publish('p', 'a/1'), { retain: true });
    },
  },
  lawful: {
    'at a lower QoS, before its ack': (story) => {
      pair(story);
      const id = story.send('p', 'a/1');
      story.deliver('s', id, { qos: 1 });
      story.ack(id);
    },
  },
});

rule('asked', {
  broken: {
    'never subscribed': (story) => {
      pair(story);
      story.deliver('s', story.publish('p', 'b/1'));
    },
    'sent after UNSUBACK': (story) => {
      pair(story);
      story.unsubscribe('s', 'a/#');
      story.deliver('s', story.publish('p', 'a/1'));
    },
    'sent after UNSUBACK, on a filter that was subscribed to twice': (story) => {
      pair(story);
      story.subscribe('s', 'a/#', 1);
      story.unsubscribe('s', 'a/#');
      story.deliver('s', story.publish('p', 'a/1', 1));
    },
    'sent after UNSUBACK and acknowledged before the next SUBSCRIBE': (story) => {
      pair(story);
      story.unsubscribe('s', 'a/#');
      const id = story.publish('p', 'a/1');
      story.subscribe('s', 'a/#');
      story.deliver('s', id);
    },
    'of a session that was thrown away': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.close('s');
      story.connect('s', { clean: true });
      story.deliver('s', id);
    },
    'at a QoS that was not granted': (story) => {
      story.connect('p');
      story.connect('s');
      story.subscribe('s', 'a/#', 1);
      story.deliver('s', story.publish('p', 'a/1'));
    },
  },
  lawful: {
    'sent before UNSUBACK': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.unsubscribe('s', 'a/#');
      story.deliver('s', id);
    },
    'UNSUBACK never came': (story) => {
      pair(story);
      story.unsubscribe('s', 'a/#', false);
      story.deliver('s', story.publish('p', 'a/1'));
    },
    'another filter stands': (story) => {
      pair(story);
      story.subscribe('s', 'a/+');
      story.unsubscribe('s', 'a/#');
      story.deliver('s', story.publish('p', 'a/1'));
    },
    'subscribed to again, and the message under way': (story) => {
      pair(story);
      story.unsubscribe('s', 'a/#');
      const id = story.send('p', 'a/1');
      story.subscribe('s', 'a/#');
      story.ack(id);
      story.deliver('s', id);
    },
    'a retained copy for a later SUBSCRIBE': (story) => {
      story.connect('p');
      const id = story.publish('p', 'a/1', 1, { retain: true });
      story.connect('s');
      story.subscribe('s', 'a/#');
      story.deliver('s', id, { retain: true });
    },
  },
});

rule('once', {
  broken: {
    'at QoS 2': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.deliver('s', id);
      story.deliver('s', id);
    },
    'at QoS 2 after a resume': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.deliver('s', id);
      story.close('s');
      story.connect('s', { present: true });
      story.deliver('s', id, { dup: true });
    },
    'at QoS 1, and no retransmission': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.deliver('s', id, { qos: 1 });
      story.deliver('s', id, { qos: 1 });
    },
    'though its publisher gave it up': (story) => {
      pair(story);
      const id = story.send('p', 'a/1');
      story.giveUp(id);
      story.deliver('s', id);
      story.deliver('s', id);
    },
  },
  lawful: {
    'published at QoS 1': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1);
      story.deliver('s', id);
      story.deliver('s', id);
    },
    'at QoS 1 with DUP': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.deliver('s', id, { qos: 1 });
      story.deliver('s', id, { qos: 1, dup: true });
    },
    'a retained copy beside it': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 2, { retain: true });
      story.deliver('s', id);
      story.subscribe('s', 'a/1');
      story.deliver('s', id, { retain: true });
    },
    'by two sessions of one client, and on a connection that was left': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1');
      story.close('s', 'left');
      story.deliver('s', id);
      story.connect('s', { present: true });
      story.close('s', 'broker', 0);
      story.deliver('s', id, { dup: true });
    },
  },
});

rule('ordered', {
  broken: {
    'within a connection': (story) => {
      pair(story);
      const [first, second] = [story.publish('p', 'a/1', 1), story.publish('p', 'a/1', 1)];
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'over connections': (story) => {
      pair(story);
      const [first, second] = [story.publish('p', 'a/1'), story.publish('p', 'a/1')];
      story.deliver('s', second);
      story.close('s');
      story.connect('s', { present: true });
      story.deliver('s', first);
    },
    'over connections, before it was over': (story) => {
      pair(story);
      const first = story.publish('p', 'a/1', 1, { expirySec: 2 });
      const second = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.wait(1000);
      story.deliver('s', second);
      story.close('s');
      story.wait(2000);
      story.connect('s', { present: true });
      story.deliver('s', first, { dup: true });
    },
    'sent again, though no lost tail had the subscription': (story) => {
      pair(story);
      story.wait(1000);
      story.fault('store', 1000, story.now);
      const [first, second] = [story.send('p', 'a/1', 1), story.publish('p', 'a/1', 1)];
      story.resend(first);
      story.ack(first);
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'sent again, and the subscription had only changed its terms': (story) => {
      pair(story);
      const first = story.send('p', 'a/1', 1);
      story.subscribe('s', 'a/#', 1);
      const second = story.publish('p', 'a/1', 1);
      story.resend(first);
      story.ack(first);
      for (const id of [second, first]) story.deliver('s', id);
    },
    'at QoS 0 on one connection': (story) => {
      pair(story);
      const [first, second] = [story.send('p', 'a/1', 0), story.send('p', 'a/1', 0)];
      story.deliver('s', second);
      story.deliver('s', first);
    },
  },
  lawful: {
    'topics and QoS beside each other': (story) => {
      pair(story);
      const ids = [story.publish('p', 'a/1', 1), story.publish('p', 'a/2', 1), story.publish('p', 'a/1', 2)];
      for (const id of ids.reverse()) story.deliver('s', id);
    },
    'passed over when it was over, and sent by the next connection, which cannot know': (story) => {
      pair(story);
      const first = story.publish('p', 'a/1', 1, { expirySec: 2 });
      const second = story.publish('p', 'a/1', 1, { expirySec: 9 });
      story.wait(3000);
      story.deliver('s', second);
      story.close('s');
      story.connect('s', { present: true });
      story.deliver('s', first, { dup: true });
    },
    'a repetition behind later ones': (story) => {
      pair(story);
      const [first, second] = [story.publish('p', 'a/1', 1), story.publish('p', 'a/1', 1)];
      for (const id of [first, second, first]) story.deliver('s', id);
    },
    'a message that was given up': (story) => {
      pair(story);
      const first = story.send('p', 'a/1', 1);
      story.giveUp(first);
      const second = story.publish('p', 'a/1', 1);
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'sent again behind a subscription that was made meanwhile': (story) => {
      story.connect('p');
      story.connect('s');
      const first = story.send('p', 'a/1', 1);
      story.subscribe('s', 'a/#');
      const second = story.publish('p', 'a/1', 1);
      story.resend(first);
      story.ack(first);
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'sent again behind a subscription of a lost tail that was written back meanwhile': (story) => {
      const began = story.now;
      pair(story);
      story.fault('store', 1000, began);
      const [first, second] = [story.send('p', 'a/1', 1), story.publish('p', 'a/1', 1)];
      story.resend(first);
      story.ack(first);
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'sent again behind a subscription that brings more than QoS 0': (story) => {
      story.connect('p');
      story.connect('s');
      story.subscribe('s', 'a/#', 0);
      const first = story.send('p', 'a/1', 2);
      story.subscribe('s', 'a/1');
      const second = story.publish('p', 'a/1', 2);
      story.resend(first);
      story.ack(first);
      story.deliver('s', second);
      story.deliver('s', first);
    },
    'sent while the subscription was gone, or brought QoS 0, and again behind it': (story) => {
      story.connect('p');
      story.connect('s');
      for (const change of [() => story.unsubscribe('s', 'a/1'), () => story.subscribe('s', 'a/1', 0)]) {
        story.subscribe('s', 'a/1');
        change();
        const first = story.send('p', 'a/1', 1);
        story.subscribe('s', 'a/1');
        const second = story.publish('p', 'a/1', 1);
        story.resend(first);
        story.ack(first);
        for (const id of [second, first]) story.deliver('s', id);
      }
    },
    'a retained copy': (story) => {
      pair(story);
      const first = story.publish('p', 'a/1', 1, { retain: true });
      const second = story.publish('p', 'a/1', 1);
      story.subscribe('s', 'a/1');
      story.deliver('s', second);
      story.deliver('s', first, { retain: true });
    },
  },
});

rule('expired', {
  broken: {
    'in quiet times': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.wait(4000);
      story.deliver('s', id);
    },
    'longer than a fault can have held it': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.fault('node', 1000);
      story.wait(6000);
      story.deliver('s', id);
    },
  },
  lawful: {
    'in time': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.wait(1500);
      story.deliver('s', id);
    },
    'held by a fault': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.fault('node', 5000);
      story.deliver('s', id);
    },
    'again, with DUP': (story) => {
      pair(story);
      const id = story.publish('p', 'a/1', 1, { expirySec: 2 });
      story.deliver('s', id);
      story.wait(9000);
      story.deliver('s', id, { dup: true });
    },
  },
});
