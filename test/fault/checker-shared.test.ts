// The checker's rules of shared subscriptions: each finds a history that breaks it, and says nothing of its lawful
// neighbours.

import { type Connecting, rule, type Story } from './story.ts';

const GROUP = '$share/g/a/#';

/** A publisher p and two members: x, which stays, and y. */
function group(story: Story, y: Connecting = {}, qos: 1 | 2 = 2): void {
  story.connect('p');
  for (const [client, options] of [['x', {}] as const, ['y', y] as const]) {
    story.connect(client, options);
    story.subscribe(client, GROUP, client === 'x' ? 2 : qos);
  }
}

rule('sharedDelivered', {
  broken: {
    'to no member of two': (story) => {
      group(story);
      story.publish('p', 'a/1');
      story.rest('x', 'y');
    },
    'though one was away and is back': (story) => {
      group(story);
      story.close('x');
      story.publish('p', 'a/1', 1);
      story.connect('x', { present: true });
      story.rest('x', 'y');
    },
    'though the session that had it at QoS 1 has ended': (story) => {
      group(story, { clean: true, expirySec: 0 }, 1);
      story.publish('p', 'a/1');
      story.close('y');
      story.rest('x');
    },
    'though a session ended that had left the group': (story) => {
      group(story);
      story.unsubscribe('y', GROUP);
      story.publish('p', 'a/1');
      story.close('y');
      story.connect('y', { clean: true });
      story.rest('x', 'y');
    },
    'though somebody else got it by a subscription of his own': (story) => {
      group(story);
      story.connect('s');
      story.subscribe('s', 'a/#');
      story.deliver('s', story.publish('p', 'a/1'));
      story.rest('s', 'x', 'y');
    },
    'and another group got it': (story) => {
      group(story);
      story.connect('z');
      story.subscribe('z', '$share/h/a/#');
      story.deliver('z', story.publish('p', 'a/1'));
      story.rest('x', 'y', 'z');
    },
    'to a member that has subscribed once more': (story) => {
      group(story);
      story.publish('p', 'a/1');
      story.subscribe('x', GROUP, 1);
      story.rest('x', 'y');
    },
  },
  lawful: {
    'one of them has it': (story) => {
      group(story);
      story.deliver('y', story.publish('p', 'a/1'));
      story.deliver('x', story.publish('p', 'a/1', 1));
      story.rest('x', 'y');
    },
    'it was not acknowledged, or expires': (story) => {
      group(story);
      story.send('p', 'a/1');
      story.publish('p', 'a/1', 1, { expirySec: 1 });
      story.publish('p', 'a/1', 0);
      story.rest('x', 'y');
    },
    'one that may have seen it at QoS 2 has ended': (story) => {
      group(story);
      story.publish('p', 'a/1');
      story.close('y');
      story.connect('y', { clean: true });
      story.rest('x', 'y');
    },
    'one may have had it at QoS 0': (story) => {
      group(story);
      story.subscribe('y', GROUP, 0);
      story.publish('p', 'a/1', 1);
      story.rest('x', 'y');
    },
    'nobody was a member all the time': (story) => {
      group(story);
      story.publish('p', 'a/1', 1);
      story.unsubscribe('x', GROUP);
      story.rest('x');
    },
    'it was sent before the first of them': (story) => {
      story.connect('p');
      story.connect('x');
      story.connect('y');
      story.publish('p', 'a/1', 1);
      story.subscribe('x', GROUP);
      story.rest('x');
    },
    'it was in the tail that was lost': (story) => {
      group(story);
      story.wait(1000);
      story.publish('p', 'a/1');
      story.fault('store', 1000, story.now - 500);
      story.rest('x', 'y');
    },
  },
});

rule('sharedOnce', {
  broken: {
    'to two members': (story) => {
      group(story);
      const id = story.publish('p', 'a/1');
      story.deliver('x', id);
      story.deliver('y', id);
    },
    'twice to one': (story) => {
      group(story);
      const id = story.publish('p', 'a/1');
      story.deliver('x', id);
      story.close('x');
      story.connect('x', { present: true });
      story.deliver('x', id, { dup: true });
    },
    'to one that got it in the session before': (story) => {
      group(story);
      const id = story.publish('p', 'a/1');
      story.deliver('y', id);
      story.close('y');
      story.connect('y', { clean: true });
      story.subscribe('y', GROUP);
      story.deliver('y', id);
    },
    'at QoS 2 and at QoS 1, and nobody has gone': (story) => {
      group(story, {}, 1);
      const id = story.publish('p', 'a/1');
      story.deliver('x', id);
      story.deliver('y', id, { qos: 1 });
      story.rest('x', 'y');
    },
  },
  lawful: {
    'to one member of each of two groups': (story) => {
      group(story);
      story.connect('z');
      story.subscribe('z', '$share/h/a/#');
      const id = story.publish('p', 'a/1');
      story.deliver('z', id);
      story.deliver('y', id);
    },
    'to a subscriber and to a member': (story) => {
      group(story);
      story.connect('s');
      story.subscribe('s', 'a/#');
      const id = story.publish('p', 'a/1');
      story.deliver('s', id);
      story.deliver('y', id);
    },
    'twice to one who is both, or in two groups': (story) => {
      group(story);
      story.subscribe('x', 'a/1');
      story.subscribe('y', '$share/h/a/1');
      const id = story.publish('p', 'a/1');
      for (const client of ['x', 'x', 'y', 'y']) story.deliver(client, id);
    },
    'published at QoS 1': (story) => {
      group(story);
      const id = story.publish('p', 'a/1', 1);
      story.deliver('x', id);
      story.deliver('y', id);
    },
    'at QoS 1, and one that had it at QoS 1 has ended': (story) => {
      group(story, { clean: true, expirySec: 0 }, 1);
      const id = story.publish('p', 'a/1');
      story.deliver('y', id, { qos: 1 });
      story.close('y');
      story.deliver('x', id, { qos: 1 });
      story.rest('x');
    },
    'at QoS 1 with DUP': (story) => {
      group(story, {}, 1);
      const id = story.publish('p', 'a/1');
      story.deliver('y', id, { qos: 1 });
      story.deliver('y', id, { qos: 1, dup: true });
      story.rest('x', 'y');
    },
  },
});

rule('sharedAsked', {
  broken: {
    'sent after it had left the group': (story) => {
      group(story);
      story.unsubscribe('y', GROUP);
      story.deliver('y', story.publish('p', 'a/1'));
    },
    'at a QoS that was not granted': (story) => {
      group(story, {}, 1);
      story.deliver('y', story.publish('p', 'a/1'));
    },
    'a retained copy': (story) => {
      group(story);
      story.deliver('y', story.publish('p', 'a/1', 1, { retain: true }), { retain: true });
    },
  },
  lawful: {
    'sent before it left': (story) => {
      group(story);
      const id = story.publish('p', 'a/1');
      story.unsubscribe('y', GROUP);
      story.deliver('y', id);
    },
    'what another session has left, sent before it came': (story) => {
      story.connect('p');
      story.connect('x');
      story.subscribe('x', GROUP);
      const id = story.publish('p', 'a/1');
      story.close('x');
      story.connect('y');
      story.subscribe('y', GROUP);
      story.connect('x', { clean: true });
      story.deliver('y', id);
    },
  },
});

rule('asked', {
  broken: {
    'of a group by one who is no member': (story) => {
      group(story);
      story.connect('z');
      story.subscribe('z', '$share/h/b/#');
      story.deliver('z', story.publish('p', 'a/1'));
    },
  },
  lawful: {},
});

rule('sent', {
  broken: {
    'to a member, at a higher QoS': (story) => {
      group(story);
      story.deliver('y', story.publish('p', 'a/1', 1), { qos: 2 });
    },
  },
  lawful: {},
});
