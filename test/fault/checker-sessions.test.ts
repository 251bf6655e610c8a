// The checker's rules of sessions, retained messages and wills: each finds a history that breaks it, and says nothing of
// its lawful neighbours.

import { rule, type Story } from './story.ts';

rule('presence', {
  broken: {
    'true for a client that was never there': (story) => {
      story.connect('s', { present: true });
    },
    'true after a clean start': (story) => {
      story.connect('s');
      story.close('s');
      story.connect('s', { clean: true, present: true });
    },
    'true when it ended with its connection': (story) => {
      story.connect('s', { clean: true, expirySec: 0 });
      story.close('s');
      story.connect('s', { present: true });
    },
    'false before its expiry': (story) => {
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.wait(5000);
      story.connect('s', { expirySec: 10 });
    },
    'false when it never expires, whatever fault': (story) => {
      story.connect('s');
      story.fault('node', 1000);
      story.close('s');
      story.wait(100_000);
      story.connect('s');
    },
    'true after its expiry': (story) => {
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.wait(15_000);
      story.connect('s', { expirySec: 10, present: true });
    },
    'true long after its expiry and a dead node': (story) => {
      story.connect('s', { expirySec: 2 });
      story.fault('node', 3000);
      story.close('s');
      story.wait(20_000);
      story.connect('s', { expirySec: 2, present: true });
    },
  },
  lawful: {
    'as it has to be': (story) => {
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.connect('s', { expirySec: 10, present: true });
      story.close('s');
      story.wait(15_000);
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.connect('s', { clean: true, expirySec: 10 });
    },
    'either, where the end of the session is near': (story) => {
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.wait(9500);
      story.connect('s', { expirySec: 10 });
      story.close('s');
      story.wait(9500);
      story.connect('s', { expirySec: 10, present: true });
    },
    'either, behind a clean start that was not answered': (story) => {
      story.connect('s');
      story.close('s');
      story.connect('s', { clean: true, answered: false });
      story.close('s');
      story.connect('s');
    },
    'anything at MQTT 3.1, which does not tell it': (story) => {
      story.connect('s', { version: 3 });
      story.close('s');
      story.connect('s', { version: 3 });
      story.close('s');
      story.connect('s', { version: 3, present: true });
    },
    'true for one that was not answered': (story) => {
      story.connect('s', { answered: false });
      story.close('s');
      story.connect('s', { present: true });
    },
    'expired while its node was frozen': (story) => {
      story.connect('s', { expirySec: 2 });
      story.fault('node', 8000);
      story.close('s');
      story.connect('s', { expirySec: 2 });
    },
    'lost with the tail of the store': (story) => {
      story.connect('s');
      story.fault('store', 500, 0);
      story.close('s');
      story.connect('s');
    },
  },
});

rule('takeover', {
  broken: {
    'the old one gets a message': (story) => {
      story.connect('p');
      story.connect('s');
      story.subscribe('s', 'a/#');
      story.close('s', 'left');
      story.connect('s', { present: true });
      story.wait(2000);
      story.deliver('s', story.publish('p', 'a/1'), { connection: 0 });
      story.close('s', 'broker', 0);
    },
    'the old one stays open': (story) => {
      story.connect('s');
      story.close('s', 'left');
      story.connect('s', { present: true });
      story.wait(3000);
      story.close('s', 'broker', 0);
    },
    'the old one is never closed, long after a fault': (story) => {
      story.connect('s');
      story.close('s', 'left');
      story.fault('node', 3000);
      story.connect('s', { present: true });
      story.wait(20_000);
      story.publish('s', 'a/1');
    },
  },
  lawful: {
    'the old one ends soon': (story) => {
      story.connect('p');
      story.connect('s');
      story.subscribe('s', 'a/#');
      story.close('s', 'left');
      story.connect('s', { present: true });
      story.deliver('s', story.publish('p', 'a/1'), { connection: 0 });
      story.close('s', 'broker', 0);
      story.wait(5000);
      story.publish('p', 'a/1');
    },
    'a frozen node holds it': (story) => {
      story.connect('s');
      story.close('s', 'left');
      story.connect('s', { present: true });
      story.fault('node', 8000);
      story.close('s', 'broker', 0);
    },
    'nobody took over': (story) => {
      story.connect('s');
      story.close('s', 'left');
      story.connect('s', { answered: false });
      story.close('s');
      story.wait(5000);
      story.close('s', 'broker', 0);
    },
  },
});

const RETAINED = { retain: true };

rule('retainedFresh', {
  broken: {
    'older than the last acknowledged': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.deliver('s', first, RETAINED);
    },
    'what was cleared': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.publish('p', 'r', 1, { ...RETAINED, isEmpty: true });
      story.connect('s');
      story.subscribe('s', 'r');
      story.deliver('s', first, RETAINED);
    },
  },
  lawful: {
    'newer than the last acknowledged': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      const second = story.send('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.deliver('s', second, RETAINED);
    },
    'two publishers': (story) => {
      story.connect('p');
      story.connect('q');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.publish('q', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.deliver('s', first, RETAINED);
    },
    'asked for before the later write was acknowledged': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      const second = story.send('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.ack(second);
      story.deliver('s', first, RETAINED);
      story.deliver('s', second);
    },
  },
});

rule('retainedForward', {
  broken: {
    'a copy behind a newer message': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      const second = story.publish('p', 'r', 1, RETAINED);
      story.deliver('s', second);
      story.deliver('s', first, RETAINED);
    },
  },
  lawful: {
    'a copy before it, and again with DUP': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      const second = story.publish('p', 'r', 1, RETAINED);
      story.deliver('s', first, RETAINED);
      story.deliver('s', second);
      story.deliver('s', first, { ...RETAINED, dup: true });
    },
    'one that was under way while a filter was subscribed to again': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      const second = story.send('p', 'r', 1, RETAINED);
      story.subscribe('s', 'r');
      story.deliver('s', second);
      story.deliver('s', first, RETAINED);
      story.ack(second);
    },
    'at QoS 0 on another connection': (story) => {
      story.connect('p');
      const first = story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r', 0);
      const second = story.send('p', 'r', 1, RETAINED);
      story.deliver('s', second, { qos: 0 });
      story.close('s');
      story.connect('s', { present: true });
      story.deliver('s', first, { ...RETAINED, qos: 0 });
      story.ack(second);
    },
  },
});

rule('retainedSeen', {
  broken: {
    'by a session that stayed': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.rest('s');
    },
    'by a session without a queue': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      story.connect('s', { clean: true, expirySec: 0 });
      story.subscribe('s', '#');
      story.wait(4000);
      story.close('s');
    },
  },
  lawful: {
    'it or a later one came': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      const second = story.send('p', 'r', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r');
      story.deliver('s', second, RETAINED);
      story.ack(second);
      story.rest('s');
    },
    'it was cleared, or not acknowledged yet': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      story.publish('p', 'r', 1, { ...RETAINED, isEmpty: true });
      story.send('p', 'r/2', 1, RETAINED);
      story.connect('s');
      story.subscribe('s', 'r/#');
      story.rest('s');
    },
    'the session went soon': (story) => {
      story.connect('p');
      story.publish('p', 'r', 1, RETAINED);
      story.connect('s', { clean: true, expirySec: 0 });
      story.subscribe('s', '#');
      story.close('s');
    },
  },
});

/** A witness w of all wills, and m with a will of the given delay. */
function mortal(story: Story, delaySec = 0, expirySec = 60): number {
  story.connect('w');
  story.subscribe('w', 'will/#');
  return story.connect('m', { expirySec, will: { topic: 'will/m', qos: 1, retain: false, delaySec } });
}

rule('wills', {
  broken: {
    'none for a lost connection': (story) => {
      mortal(story);
      story.close('m');
      story.rest('w');
    },
    'none when the client came back late': (story) => {
      mortal(story, 2);
      story.close('m');
      story.wait(30_000);
      story.connect('m', { present: true, expirySec: 60 });
      story.rest('w', 'm');
    },
    'none though nothing happened, and the client was away for long enough': (story) => {
      mortal(story, 2);
      story.close('m');
      story.wait(7000);
      story.connect('m', { present: true, expirySec: 60 });
      story.rest('w', 'm');
    },
    'none when a clean start ended the session': (story) => {
      mortal(story, 10);
      story.close('m');
      story.connect('m', { clean: true, expirySec: 60 });
      story.rest('w', 'm');
    },
    'two for one': (story) => {
      const will = mortal(story);
      story.close('m');
      story.deliver('w', will);
      story.deliver('w', will);
      story.rest('w');
    },
    'one after DISCONNECT': (story) => {
      const will = mortal(story);
      story.disconnect('m');
      story.deliver('w', will);
      story.rest('w');
    },
    'one after DISCONNECT, and a CONNECT to another node later on': (story) => {
      const will = mortal(story);
      story.disconnect('m');
      story.wait(2000);
      story.connect('m', { present: true, expirySec: 60, port: 2 });
      story.deliver('w', will);
      story.rest('w', 'm');
    },
    'one of a client that is connected': (story) => {
      const will = mortal(story);
      story.deliver('w', will);
      story.rest('w', 'm');
    },
    'one though the session went on in time': (story) => {
      const will = mortal(story, 10);
      story.close('m');
      story.connect('m', { present: true, expirySec: 60 });
      story.wait(20_000);
      story.deliver('w', will);
      story.rest('w', 'm');
    },
    'one before its delay': (story) => {
      const will = mortal(story, 10);
      story.close('m');
      story.deliver('w', will);
      story.rest('w');
    },
    'one though another connection took over': (story) => {
      const will = mortal(story);
      story.wait(5000);
      story.close('m', 'left');
      story.connect('m', { present: true, expirySec: 60 });
      story.close('m', 'broker', 0);
      story.deliver('w', will);
      story.rest('w', 'm');
    },
    'one after DISCONNECT, though its client was elsewhere at once': (story) => {
      const will = mortal(story);
      story.disconnect('m');
      story.connect('m', { present: true, expirySec: 60, port: 2 });
      story.deliver('w', will);
      story.rest('w', 'm');
    },
  },
  lawful: {
    'one for a lost connection': (story) => {
      const will = mortal(story);
      story.close('m');
      story.deliver('w', will);
      story.deliver('w', will, { dup: true });
      story.rest('w');
    },
    'none after DISCONNECT': (story) => {
      mortal(story);
      story.disconnect('m');
      story.rest('w');
    },
    'one or none where DISCONNECT met a fault': (story) => {
      const will = mortal(story);
      story.disconnect('m');
      story.fault('node', 1000);
      story.deliver('w', will);
      story.rest('w');
    },
    'one or none when the client came back at once': (story) => {
      const will = mortal(story);
      story.close('m');
      story.connect('m', { present: true, expirySec: 60 });
      story.deliver('w', will);
      story.rest('w', 'm');
    },
    'either where a CONNECT was not answered': (story) => {
      mortal(story);
      story.close('m');
      story.connect('m', { answered: false });
      story.close('m');
      story.rest('w');
    },
    'none yet when the client came back, its node being dead': (story) => {
      mortal(story);
      story.fault('node', 3000);
      story.close('m');
      story.wait(5000);
      story.connect('m', { present: true, expirySec: 60 });
      story.rest('w', 'm');
    },
    'nobody who was there could tell': (story) => {
      story.connect('m', { will: { topic: 'will/m', qos: 2, retain: false, delaySec: 0 } });
      story.close('m');
      story.connect('w');
      story.subscribe('w', 'will/#');
      story.rest('w');
    },
  },
});
